"""How a new chunk takes over from the plan that is being played."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LINEAR, ANGLE, NONE = "linear", "angle", "none"
ENSEMBLE_M = 0.01  # of ACT's temporal ensemble: exp(-m i), the oldest chunk first (arXiv:2304.13705)


def fade(times_s: NDArray[Any], fade_s: float) -> Floats:
    """Return how much of an offset is left: 1 at the seam, 0 from `fade_s` on, and flat at both ends."""
    x = np.clip(times_s / fade_s, 0.0, 1.0)
    return np.asarray(1 - x * x * (3 - 2 * x))


class Columns:
    """What each column of a plan is, when two plans are compared."""

    def __init__(self, aligns: Sequence[str]) -> None:
        self._angles = np.array([align == ANGLE for align in aligns])
        self.aligned = np.array([align != NONE for align in aligns])

    def difference(self, old: Floats, new: Floats) -> Floats:
        """Return old - new [..., A]: angles the short way round."""
        off = old - new
        if not self._angles.any():
            return off
        return np.where(self._angles, (off + math.pi) % (2 * math.pi) - math.pi, off)

    def align(self, new: Floats, offset: Floats, drift: Floats, step_s: float, fade_s: float) -> Floats:
        """Return the new steps [n, A], begun at the seam with the old value and speed.

        Args:
            offset: old - new at the first of them [A].
            drift: the same of the velocity, per second [A].
        """
        times_s = np.arange(len(new)) * step_s
        left = fade(times_s, fade_s)[:, None]
        return np.asarray(new + np.where(self.aligned, left * (offset + times_s[:, None] * drift), 0.0))

    def mixed(self, old: Floats, new: Floats, share: Floats | float) -> Floats:
        """Return old + share * (new - old) [n, A]; columns that are not aligned take the new value."""
        mixed = old - self.difference(old, new) * share
        return np.where(self.aligned, mixed, new)


def ensemble_share(counts: NDArray[np.int64]) -> Floats:
    """Return the share of the newest chunk in a step's mean, of which `counts` chunks are the older part."""
    weights = np.exp(-ENSEMBLE_M * np.arange(int(counts.max(initial=0)) + 1))
    total = np.cumsum(weights)
    return np.asarray(weights[counts] / total[counts])
