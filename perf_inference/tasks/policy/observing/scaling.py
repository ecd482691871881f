"""Offset, scale, clip and normalisation of a term's numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.contract.contract import Normalize, Term

Floats = NDArray[np.float64]
EPSILON = 1e-8  # as LeRobot's normalisers have it


class Scaling:
    """clip((x - offset) * scale), or a normalisation."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._offset, self._scale = np.array(term.offset), np.array(term.scale)
        self._plain = term.offset == (0.0,) and term.scale == (1.0,) and term.clip is None

    def check(self, width: int) -> None:
        """Raise ConfigError unless each list fits this many values."""
        term, n = self._term, self._term.normalize
        lists = {"offset": term.offset, "scale": term.scale}
        if n is not None:
            lists |= {"normalize.mean": n.mean, "normalize.std": n.std, "normalize.min": n.low, "normalize.max": n.high}
        for key, values in lists.items():
            if len(values) not in (0, 1, width):
                raise ConfigError(f"{key} of the observation {term.label} must be one number or {width}, one for each "
                                  f"value, got {len(values)}")  # fmt: skip

    def apply(self, values: Floats) -> Floats:
        """Return the values [..., n] as the model takes them."""
        if self._term.normalize is not None:
            return normalized(values, self._term.normalize)
        if self._plain:
            return values
        scaled = (values - self._offset) * self._scale
        return np.asarray(scaled if self._term.clip is None else np.clip(scaled, *self._term.clip))


def normalized(values: Floats, by: Normalize) -> Floats:
    """Return (x - mean) / (std + 1e-8), or from [min, max] to [-1, 1]."""
    if by.mean:
        return np.asarray((values - np.array(by.mean)) / (np.array(by.std) + EPSILON))
    low, high = np.array(by.low), np.array(by.high)
    return np.asarray((values - low) / (high - low + EPSILON) * 2 - 1)


def unnormalized(values: Floats, by: Normalize) -> Floats:
    """Return x * std + mean, or from [-1, 1] to [min, max]."""
    if by.mean:
        return np.asarray(values * np.array(by.std) + np.array(by.mean))
    low, high = np.array(by.low), np.array(by.high)
    return np.asarray((values + 1) / 2 * (high - low) + low)
