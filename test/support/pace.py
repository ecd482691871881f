"""How fast this machine is, so that a limit on time is a ratio and no absolute figure."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache


def cpu_s(work: Callable[[], object]) -> float:
    """Return the processor time of this process that the work takes [s]: others on the machine hardly count."""
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


@cache
def pace_s() -> float:
    """Return the processor time that a million turns of an empty loop take here [s], the best of three."""

    def turns() -> None:
        for _ in range(1_000_000):
            pass

    return min(cpu_s(turns) for _ in range(3))


def start_s() -> float:
    """Return how long a Python process with rclpy takes now to start and end [s], 0.3 s on an idle machine."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "import rclpy, numpy"], check=True)
    return time.monotonic() - began_s


def share_of_ticks(due_ns: list[int], rate_hz: float) -> float:
    """Return how many of the ticks of this rate came, from the first due time to the last; those lie on its grid.

    But the first ones may not: the earliest ticks fix the grid, and while processes start all are late.
    """
    steps = [(due_ns[-1] - due) * rate_hz / 1e9 for due in due_ns]
    on_grid = [abs(step - round(step)) < 0.1 for step in steps]
    before = len(on_grid) - on_grid[::-1].index(False) if False in on_grid else 0
    assert before < len(steps) / 5, steps
    assert len({round(step) for step in steps[before:]}) == len(steps) - before, "each once"
    return (len(steps) - 1) / round(steps[0])
