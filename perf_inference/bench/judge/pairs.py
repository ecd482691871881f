"""The ratio of two arms from paired measurements.

Each pair gives the logarithm of head over base. Their centre is Hodges and Lehmann's estimate (median of all averages
of two, Ann. Math. Stat. 34 (1963) 598), which one odd pair hardly moves; its interval is a percentile bootstrap over
the pairs (Efron, Ann. Statist. 7 (1979) 1); whether it differs from none is Wilcoxon's signed-rank test, exact for the
pairs at hand (Biometrics Bulletin 1 (1945) 80): under no difference a pair is as often up as down, whatever the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ALPHA = 0.001
"""One-sided: what is called slower is so by chance in one of a thousand comparisons of a thing with itself."""
MIN_PAIRS = 10
"""With fewer no outcome is rare enough: all of 10 pairs up is 1 of 1024."""
CONFIDENCE = 0.99
_RESAMPLES = 1000
_SEED = 20240229  # the same samples give the same interval
_EXACT = 200  # pairs; with more the normal approximation is as good


@dataclass(frozen=True)
class Ratio:
    """Head over base."""

    value: float
    low: float  # of the bootstrap interval
    high: float
    p_slower: float  # that pairs so far up come by chance
    p_faster: float
    pairs: int

    @property
    def slower(self) -> bool:
        """Whether head is significantly slower."""
        return self.p_slower < ALPHA and self.low > 1.0

    @property
    def faster(self) -> bool:
        """Whether head is significantly faster."""
        return self.p_faster < ALPHA and self.high < 1.0

    @property
    def half_width(self) -> float:
        """Half the interval, as a share of the ratio."""
        return (self.high - self.low) / 2 / self.value

    def __str__(self) -> str:
        return f"{self.value:.4f} ({100 * CONFIDENCE:.0f} % interval {self.low:.4f} to {self.high:.4f}, n {self.pairs})"


def ratio_of_pairs(base: Sequence[float], head: Sequence[float]) -> Ratio:
    """Return the ratio head/base of positive figures, the n-th of both measured as a pair.

    Raises:
        ValueError: there is no pair, the arms are of unlike length, or a figure is not above 0.
    """
    if not base or len(base) != len(head):
        raise ValueError(f"pairs need as many figures of both arms, got {len(base)} and {len(head)}")
    if min(*base, *head) <= 0 or not all(map(math.isfinite, (*base, *head))):
        raise ValueError("a ratio needs figures above 0")
    logs = np.log(np.asarray(head, np.float64) / np.asarray(base, np.float64))
    numbers = np.random.default_rng(_SEED)
    drawn = logs[numbers.integers(0, len(logs), (_RESAMPLES, len(logs)))]
    low, high = _interval(_centres(drawn))
    return Ratio(
        math.exp(float(_centres(logs[np.newaxis])[0])),
        math.exp(low),
        math.exp(high),
        signed_rank_p(logs),
        signed_rank_p(-logs),
        len(logs),
    )


def ratio_of_blocks(base: Sequence[float], head: Sequence[float]) -> Ratio:
    """Return the ratio of two arms that were not measured in pairs; each figure is of one process or block.

    The centre is the median of all head/base (Hodges and Lehmann's shift), the test is Mann and Whitney's (normal
    approximation with ties), the interval resamples each arm by itself.

    Raises:
        ValueError: an arm has fewer than two figures, or one that is not above 0.
    """
    if min(len(base), len(head)) < 2 or min(*base, *head) <= 0:
        raise ValueError("two arms need two figures above 0 each")
    a, b = np.log(np.asarray(base, np.float64)), np.log(np.asarray(head, np.float64))
    numbers = np.random.default_rng(_SEED)
    drawn_a, drawn_b = (arm[numbers.integers(0, len(arm), (_RESAMPLES, len(arm)))] for arm in (a, b))
    centres = [float(np.median(y[:, np.newaxis] - x)) for x, y in zip(drawn_a, drawn_b, strict=True)]
    low, high = _interval(np.asarray(centres))
    up = float((b[:, np.newaxis] > a).sum() + 0.5 * (b[:, np.newaxis] == a).sum())
    n, m = len(a), len(b)
    ties = np.unique(np.concatenate([a, b]), return_counts=True)[1].astype(np.float64)
    total = n + m
    variance = n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    z = (up - n * m / 2) / math.sqrt(variance) if variance else 0.0
    centre = float(np.median(b[:, np.newaxis] - a))
    return Ratio(math.exp(centre), math.exp(low), math.exp(high), _above(z), _above(-z), min(n, m))


def signed_rank_p(differences: Floats) -> float:
    """Return how often signs thrown by chance give ranks as high as these (one-sided; 1 where all are 0)."""
    values = differences[differences != 0]
    n = len(values)
    if not n:
        return 1.0
    size = np.abs(values)
    ordered = np.sort(size)
    ranks = (np.searchsorted(ordered, size, "left") + np.searchsorted(ordered, size, "right") + 1) / 2
    total = float(ranks[values > 0].sum())
    if n > _EXACT:
        z = (total - 0.5 - float(ranks.sum()) / 2) / math.sqrt(float((ranks**2).sum()) / 4)
        return _above(z)
    doubled = np.rint(2 * ranks).astype(np.int64)  # ties have half ranks
    counts = np.zeros(int(doubled.sum()) + 1)
    counts[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(counts)
        moved[rank:] = counts[: len(counts) - rank]
        counts = (counts + moved) / 2
    return float(counts[round(2 * total) :].sum())


def _centres(rows: Floats) -> Floats:
    """Return the median of all averages of two (each with itself too), row by row."""
    first, second = np.triu_indices(rows.shape[1])
    if rows.shape[0] * len(first) <= 4_000_000:
        return np.asarray(np.median((rows[:, first] + rows[:, second]) / 2, axis=1))
    return np.array([float(np.median((row[first] + row[second]) / 2)) for row in rows])


def _interval(centres: Floats) -> tuple[float, float]:
    low, high = np.quantile(centres, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _above(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
