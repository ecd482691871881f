"""Inferences after pauses of known length.

    ... infer ─ infer (not timed) ─ pause ─ INFER (timed) ─ infer (not timed) ─ pause ─ INFER ...

The lengths take turns in an order that changes from round to round, so that a drift hits all alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

GAPS_S = (0.0, 0.01, 0.1, 1.0, 10.0)
IDLE, WARM = "idle", "kept warm"
_SEED = 3
_BURST_S, _MOST_OF_A_BURST = 0.3, 20  # short pauses are cheap: more of them
_MOST_ROUNDS, _LEAST_ROUNDS = 40, 3


@dataclass(frozen=True)
class Cell:
    """A pause, and what happens in it."""

    gap_s: float
    mode: str

    @property
    def name(self) -> str:
        return f"{self.gap_s:g} s" if self.mode == IDLE else f"{self.gap_s:g} s, {self.mode}"

    @property
    def times(self) -> int:
        """How often it comes in a round."""
        return max(1, min(_MOST_OF_A_BURST, int(_BURST_S / self.gap_s))) if self.gap_s else _MOST_OF_A_BURST


@dataclass(frozen=True)
class Plan:
    """What will be measured, fixed before."""

    cells: tuple[Cell, ...]
    rounds: int
    expected_s: float

    @classmethod
    def within(cls, gaps_s: Sequence[float], budget_s: float, infer_s: float, warm: bool, rounds: int = 0) -> Plan:
        """Return the plan that fits into the budget [s], with at least three rounds; `rounds`: as many as that."""
        modes = (IDLE, WARM) if warm else (IDLE,)
        cells = tuple(Cell(gap, mode) for gap in gaps_s for mode in modes if gap or mode == IDLE)
        round_s = sum(cell.times * (cell.gap_s + 2 * infer_s) for cell in cells)
        rounds = rounds or max(_LEAST_ROUNDS, min(_MOST_ROUNDS, int(budget_s / round_s)))
        return cls(cells, rounds, rounds * round_s)


@dataclass(frozen=True)
class Burst:
    """The inferences of one cell in one round."""

    cell: Cell
    round: int
    begin_ns: int
    end_ns: int
    latencies_ns: tuple[int, ...]
    gaps_ns: tuple[int, ...]  # as they turned out: a sleep is never shorter, and now and then longer
    cpu_share: float  # of one core, over the pauses


def measure(
    infer: Callable[[], object],
    plan: Plan,
    warm_period_s: float = 0.02,
    monotonic_ns: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
    cpu_ns: Callable[[], int] = time.process_time_ns,
) -> Iterator[Burst]:
    """Yield each burst when it is over.

    Args:
        warm_period_s: from the begin of an inference that keeps the device warm to that of the next.
    """
    order = random.Random(_SEED)
    for number in range(plan.rounds):
        cells = list(plan.cells)
        order.shuffle(cells)
        for cell in cells:
            begin_ns = monotonic_ns()
            latencies, gaps, busy_ns = [], [], 0
            for _ in range(cell.times):
                infer()
                paused_ns, cpu_before = monotonic_ns(), cpu_ns()
                if cell.mode == WARM:
                    _keep_warm(infer, paused_ns + round(cell.gap_s * 1e9), warm_period_s, monotonic_ns, sleep)
                elif cell.gap_s:
                    sleep(cell.gap_s)
                busy_ns += cpu_ns() - cpu_before
                start_ns = monotonic_ns()
                infer()
                latencies.append(monotonic_ns() - start_ns)
                gaps.append(start_ns - paused_ns)
            share = busy_ns / max(1, sum(gaps))
            yield Burst(cell, number, begin_ns, monotonic_ns(), tuple(latencies), tuple(gaps), share)


def _keep_warm(
    infer: Callable[[], object], until_ns: int, period_s: float, monotonic_ns: Callable[[], int],
    sleep: Callable[[float], None],
) -> None:  # fmt: skip
    due_ns = monotonic_ns()
    while (now_ns := monotonic_ns()) < until_ns:
        if now_ns < due_ns:
            sleep(min(due_ns, until_ns) / 1e9 - now_ns / 1e9)
            continue
        infer()
        due_ns = max(due_ns + round(period_s * 1e9), monotonic_ns())
