"""What a column of durations comes to: exact, and no percentile that too few samples cannot carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perf_inference.measure.statistics import MIN_SAMPLES

PERCENTILES = tuple(MIN_SAMPLES)


@dataclass(frozen=True)
class Figures:
    """Durations [ms]; None: there was no sample."""

    n: int
    mean_ms: float | None
    min_ms: float | None
    max_ms: float | None
    percentiles_ms: Mapping[float, float]  # only those that n allows (MIN_SAMPLES)

    @classmethod
    def of(cls, values_ns: NDArray[np.int64]) -> Figures:
        """Return the figures of these samples [ns]."""
        n = len(values_ns)
        if n == 0:
            return cls(0, None, None, None, {})
        # the two halves of each number are summed apart: no sum of nanoseconds leaves 64 bits so
        total_ns = (int((values_ns >> 32).sum()) << 32) + int((values_ns & 0xFFFFFFFF).sum())
        ranks = {p: max(1, math.ceil(n * p / 100)) - 1 for p, least in MIN_SAMPLES.items() if n >= least}
        ordered = np.partition(values_ns, sorted({0, n - 1, *ranks.values()}))
        return cls(
            n=n,
            mean_ms=total_ns / n / 1e6,
            min_ms=int(ordered[0]) / 1e6,
            max_ms=int(ordered[-1]) / 1e6,
            percentiles_ms={percent: int(ordered[rank]) / 1e6 for percent, rank in ranks.items()},
        )

    @property
    def highest(self) -> float | None:
        """The highest percentile that the number of samples allows."""
        return max(self.percentiles_ms, default=None)

    def as_dict(self) -> dict[str, float | int | None]:
        """Return {n, mean, p50, ..., min, max} in ms; null where there are too few samples."""
        record: dict[str, float | int | None] = {"n": self.n, "mean": _rounded(self.mean_ms)}
        for percent in PERCENTILES:
            record[percent_name(percent)] = _rounded(self.percentiles_ms.get(percent))
        return {**record, "min": _rounded(self.min_ms), "max": _rounded(self.max_ms)}


def percent_name(percent: float) -> str:
    """Return p50, p99.9."""
    return f"p{percent:g}"


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 4)
