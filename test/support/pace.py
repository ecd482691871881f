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
    """Return how many of the ticks of this rate came, from the first due time to the last; those lie on its grid."""
    steps = [(due - due_ns[0]) * rate_hz / 1e9 for due in due_ns]
    assert max(abs(step - round(step)) for step in steps) < 0.1, steps
    assert len({round(step) for step in steps}) == len(steps), "each once"
    return (len(steps) - 1) / round(steps[-1])
