"""Runs of two commands in pairs: BASE, control (BASE again) and HEAD, and back again, in an order that changes.

    round 1   B C H H C B        round 2   B H C C H B        ... all six orders in turn

A drift that is even over a round hits all arms alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from perf_inference.bench.compare.command import Command, Run
from perf_inference.bench.judge.pairs import MIN_PAIRS
from perf_inference.bench.judge.verdict import Rounds

ARMS = ("base", "control", "head")
RUNS = 2 * len(ARMS)  # of a round
_MOST_PAIRS = 20
_BUDGET_S = 180.0
_ORDERS = tuple(permutations(ARMS))


def order_of(number: int) -> tuple[str, ...]:
    """Return the arms of a round (from 0 on) in the order in which they run."""
    there = _ORDERS[number % len(_ORDERS)]
    return (*there, *reversed(there))


def pairs_within(run_s: float) -> int:
    """Return how many pairs fit into three minutes, where a run takes so long: from 10 to 20."""
    return max(MIN_PAIRS, min(_MOST_PAIRS, int(_BUDGET_S / (RUNS * max(run_s, 1e-3)))))


@dataclass
class Measured:
    """The runs so far, by arm in the order of their time, and when each began [s from the first on]."""

    runs: dict[str, list[Run]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    at_s: dict[str, list[float]] = field(default_factory=lambda: {arm: [] for arm in ARMS})

    def rounds(self, figure: Callable[[Run], float]) -> Rounds:
        """Return the whole rounds, with this figure of each run."""
        whole = min(len(runs) for runs in self.runs.values()) // 2
        arms: Mapping[str, Sequence[tuple[float, float]]] = {
            arm: [(figure(runs[2 * i]), figure(runs[2 * i + 1])) for i in range(whole)]
            for arm, runs in self.runs.items()
        }
        return Rounds(**arms)


def measure(commands: Mapping[str, Command], pairs: int, measured: Measured) -> Iterator[tuple[str, Run]]:
    """Run all rounds into `measured`; each run is handed out as it is done.

    Raises:
        RunFailedError: a run did not end well.
    """
    begin_s = time.monotonic()
    for number in range(pairs):
        for arm in order_of(number):
            at_s = time.monotonic() - begin_s
            run = commands[arm].run()
            measured.runs[arm].append(run)
            measured.at_s[arm].append(at_s)
            yield arm, run


def figure_of(metric: str) -> Callable[[Run], float]:
    """Return what takes the figure out of a run; of several that a process printed it is their median."""
    if metric == "wall":
        return lambda run: run.wall_ms
    if metric == "cpu":
        return lambda run: max(run.cpu_ms, 1e-3)
    return lambda run: statistics.median(run.figures)
