"""What makes a single figure of many samples misleading: a drift over their time, and two modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TREND_P = 0.002  # two-sided
_LEAST_OF_MODES = 20  # samples
_LEAST_SHARE, _LEAST_COUNT = 0.05, 3  # of a mode
_APART = 4.5  # Ashman's D: 2 halves of one normal distribution are 2.7 apart, of an even one 3.5
_LEAST_STEP = 1.05  # from one mode to the other


@dataclass(frozen=True)
class Trend:
    """How far figures drift from the first to the last, as a share; `significant` by Mann and Kendall's test."""

    drift: float
    p: float

    @property
    def significant(self) -> bool:
        return self.p < _TREND_P


@dataclass(frozen=True)
class Modes:
    """Two modes: where they lie, and the share of the slower one."""

    fast: float
    slow: float
    slow_share: float
    n: int

    def text(self, unit: str) -> str:
        """Return it in words."""
        return (
            f"two modes: {100 * (1 - self.slow_share):.0f} % near {self.fast:.4g} {unit}, "
            f"{100 * self.slow_share:.0f} % near {self.slow:.4g} {unit} (n {self.n})"
        )


def trend(values: Sequence[float]) -> Trend:
    """Return the drift of figures above 0 in the order of their time: Theil and Sen's slope, Mann and Kendall's test.

    H. B. Mann, Econometrica 13 (1945) 245; P. K. Sen, JASA 63 (1968) 1379. With fewer than six figures it is none.
    """
    n = len(values)
    if n < 6:
        return Trend(0.0, 1.0)
    logs = np.log(np.asarray(values, np.float64))
    first, second = np.triu_indices(n, 1)
    rises = logs[second] - logs[first]
    slope = float(np.median(rises / (second - first)))
    sign = float(np.sign(rises).sum())
    ties = np.unique(logs, return_counts=True)[1].astype(np.float64)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    z = (abs(sign) - 1) / math.sqrt(variance) if variance > 0 and sign else 0.0
    return Trend(math.exp(slope * (n - 1)) - 1, min(1.0, math.erfc(max(0.0, z) / math.sqrt(2))))


def two_modes(values: Sequence[float]) -> Modes | None:
    """Return the two modes of figures above 0, or None where they are one heap.

    The split is where the variance within both parts is least (Otsu, IEEE Trans. SMC 9 (1979) 62), in logarithms; they
    are two modes where they are apart (Ashman et al., AJ 108 (1994) 2348), neither is a handful of outliers, and
    between them lies a gap wider than either is broad.
    """
    n = len(values)
    if n < _LEAST_OF_MODES:
        return None
    logs = np.sort(np.log(np.asarray(values, np.float64)))
    sums, squares = np.cumsum(logs), np.cumsum(logs**2)
    count = np.arange(1, n)
    left = squares[:-1] - sums[:-1] ** 2 / count
    right = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (n - count)
    cut = int(np.argmin(left + right)) + 1
    low, high = logs[:cut], logs[cut:]
    if min(cut, n - cut) < max(_LEAST_COUNT, _LEAST_SHARE * n):
        return None
    step = float(high.mean() - low.mean())
    spread = math.sqrt((float(low.var()) + float(high.var())) / 2)
    if step < math.log(_LEAST_STEP) or step < _APART * spread:
        return None
    gap = float(high[0] - low[-1])
    if gap < 0.3 * step:
        return None
    return Modes(math.exp(float(np.median(low))), math.exp(float(np.median(high))), (n - cut) / n, n)
