"""Whether a variant answers as the baseline does, and which one to take for what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.measure.statistics import Distribution

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Difference:
    """Of a variant's outputs from the baseline's."""

    relative: float  # largest difference over the baseline's largest value; nan: it cannot be compared
    same_best: bool  # class, in every row of every output

    def within(self, tolerance: float) -> bool:
        return self.relative <= tolerance and self.same_best


@dataclass(frozen=True)
class Row:
    """One cell's figures."""

    variant: str
    scenario: str
    device: str
    values_ms: Sequence[float]
    difference: Difference | None
    ranked: bool
    round_ms: Sequence[float] = ()  # the median of each round

    def always_faster_than(self, other: Row) -> bool:
        """Return whether it is in every round: what is so in some only is the machine's doing."""
        return all(own < others for own, others in zip(self.round_ms, other.round_ms, strict=False))

    @property
    def p50_ms(self) -> float:
        return sorted(self.values_ms)[(len(self.values_ms) - 1) // 2]


def difference(base: Outputs, other: Outputs) -> Difference:
    """Return how far outputs are from the baseline's; the first rows of a batch, where the two are of unlike length."""
    worst, same = 0.0, True
    if set(base) != set(other):
        return Difference(math.nan, False)
    for name, wanted in base.items():
        found = other[name]
        n = min(len(wanted), len(found)) if wanted.ndim and found.ndim else 1
        first, second = (np.atleast_1d(array)[:n].astype(np.float64) for array in (wanted, found))
        if first.shape != second.shape or not first.size:
            return Difference(math.nan, False)
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            return Difference(math.nan, False)
        largest = float(np.abs(first).max())
        apart = float(np.abs(first - second).max())
        worst = max(worst, apart / largest if largest else (math.inf if apart else 0.0))
        same = same and bool((_best(first) == _best(second)).all())
    return Difference(worst, same)


def _best(array: NDArray[Any]) -> NDArray[Any]:
    """Return the place of the largest value of each row."""
    return np.asarray(array.reshape(len(array), -1).argmax(axis=1))


BASELINE = "baseline"
_NOT_SLOWER = 2.0
USES = ("short", "long", "streaming", "CPU only", "stability first")


def recommend(rows: Sequence[Row], scenarios: Sequence[str]) -> dict[str, Row]:
    """Return the row to take for each use, of those whose outputs are within tolerance.

    short: the lowest median of the first scenario. long: that of the last. streaming: the lowest p90 of the first (the
    largest, where there are too few samples for it). CPU only: as short, on a CPU. stability first: the least
    deviation over the mean of the first scenario, among those that take at most twice the lowest median there.
    What is not faster than the baseline in every round is not taken: the baseline is.
    """
    first = [row for row in rows if row.ranked and row.values_ms and row.scenario == scenarios[0]]
    last = [row for row in rows if row.ranked and row.values_ms and row.scenario == scenarios[-1]]
    quick = [row for row in first if row.p50_ms <= _NOT_SLOWER * min(one.p50_ms for one in first)]
    on_cpu = [row for row in first if row.device.startswith("cpu")]
    found = {
        "short": min(first, key=lambda row: row.p50_ms, default=None),
        "long": min(last, key=lambda row: row.p50_ms, default=None),
        "streaming": min(first, key=_p90_ms, default=None),
        "CPU only": min(on_cpu, key=lambda row: row.p50_ms, default=None),
        "stability first": min(quick, key=_spread, default=None),
    }
    base = {row.scenario: row for row in rows if row.variant == BASELINE and row.values_ms}
    return {use: _or_baseline(row, base.get(row.scenario)) for use, row in found.items() if row is not None}


def _or_baseline(row: Row, base: Row | None) -> Row:
    return row if base is None or row.always_faster_than(base) else base


def _p90_ms(row: Row) -> float:
    p90 = Distribution.of(round(1e6 * value) for value in row.values_ms).percentile_ns(90.0)
    return max(row.values_ms) if p90 is None else p90 / 1e6


def _spread(row: Row) -> float:
    values = np.asarray(row.values_ms)
    return float(values.std() / values.mean())
