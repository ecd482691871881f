"""Shapes of a chart in numbers: scales with their ticks, and columns that keep every extreme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Maps values to 0..1."""

    low: float
    high: float
    log: bool = False

    def at(self, values: Floats) -> Floats:
        """Return where the values lie; what is outside lies on the edge."""
        if self.log:
            clipped = np.maximum(values, self.low)
            share = np.log(clipped / self.low) / math.log(self.high / self.low)
        else:
            share = (values - self.low) / (self.high - self.low)
        return np.asarray(np.clip(share, 0.0, 1.0), np.float64)

    def of(self, value: float) -> float:
        """Return where one value lies."""
        return float(self.at(np.array([value]))[0])

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values inside the scale, `most` at most."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            inside: list[float] = []
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
                inside = [tick for tick in found if self.low * 0.999 <= tick <= self.high * 1.001]
                if len(inside) <= most:
                    return inside
            return inside[:: math.ceil(len(inside) / most)]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        step *= next(factor for factor in (1, 2, 5, 10, 20) if (self.high - self.low) / (step * factor) <= most - 1)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def value_scale(values: Floats) -> Scale:
    """Return a scale from 0, or a logarithmic one where a few values would press the others flat."""
    positive = values[values > 0]
    if not len(positive):
        return Scale(0.0, 1.0)
    high = float(positive.max())
    if high > 4 * float(np.median(positive)):
        return Scale(float(positive.min()) / 1.15, high * 1.3, log=True)
    return Scale(0.0, high * 1.12)


def narrow_scale(values: Floats, least_share: float = 0.1) -> Scale:
    """Return a linear scale around the values, not narrower than a share of the largest."""
    low, high = float(values.min()), float(values.max())
    missing = max(0.0, least_share * max(abs(high), 1.0) - (high - low)) / 2
    margin = missing + 0.08 * (high - low)
    return Scale(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)


@dataclass(frozen=True)
class Columns:
    """Samples gathered into columns of equal width; empty columns are left out."""

    middle: Floats  # of the column, in units of the horizontal scale's 0..1
    low: Floats
    median: Floats
    high: Floats


def gather(shares: Floats, values: Floats, columns: int) -> Columns:
    """Return smallest, median and largest value of each column: no peak is lost."""
    index = np.minimum((shares * columns).astype(np.int64), columns - 1)
    order = np.lexsort((values, index))
    sorted_index, ordered = index[order], values[order]
    starts = np.flatnonzero(np.r_[True, np.diff(sorted_index) > 0]) if len(ordered) else np.empty(0, np.int64)
    ends = np.r_[starts[1:], len(ordered)] if len(ordered) else starts
    return Columns(
        middle=(sorted_index[starts] + 0.5) / columns,
        low=ordered[starts],
        median=ordered[(starts + ends - 1) // 2],
        high=ordered[ends - 1],
    )


@dataclass(frozen=True)
class TimeAxis:
    """The run's time, from its first event on, in a unit that suits its length."""

    begin_ns: int
    end_ns: int

    @property
    def unit(self) -> tuple[str, float]:
        """(name, nanoseconds)."""
        span_s = (self.end_ns - self.begin_ns) / 1e9
        return ("s", 1e9) if span_s < 600 else ("min", 60e9) if span_s < 36_000 else ("h", 3600e9)

    @property
    def scale(self) -> Scale:
        return Scale(0.0, max(1, self.end_ns - self.begin_ns) / self.unit[1])

    def at(self, times_ns: NDArray[np.int64]) -> Floats:
        """Return where these times lie."""
        return self.scale.at((times_ns - self.begin_ns) / self.unit[1])


def spread(positions_px: Sequence[float], distance_px: float, height_px: float) -> list[float]:
    """Return the positions of labels (ascending) moved apart so that none covers another."""
    placed: list[float] = []
    for position in positions_px:
        placed.append(max(position, placed[-1] + distance_px) if placed else position)
    over = placed[-1] - height_px if placed else 0.0
    if over > 0:
        placed[-1] -= over
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - distance_px)
    return placed
