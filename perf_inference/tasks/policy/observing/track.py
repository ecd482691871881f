"""The samples of one source by their time stamps, and the one resampler, for live messages and recordings alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stamps = NDArray[np.int64]
_FIRST = 64  # samples that room is made for
_MOST = 1 << 20  # samples that are kept: 7 kHz for 150 s


class Picked(NamedTuple):
    """Which samples stand in the slots of a grid: value = before + share * (after - before)."""

    before: Stamps  # [slots] indices
    after: Stamps
    share: Floats  # 0 where one sample stands alone
    filled: int  # slots whose sample is at most two periods away


def grid_ns(end_ns: int, rate_hz: float, length: int) -> Stamps:
    """Return the slots' times [ns], oldest first; the last one is `end_ns`, and no period is rounded twice."""
    return end_ns - np.round(np.arange(length - 1, -1, -1) * (1e9 / rate_hz)).astype(np.int64)


def pick(stamps_ns: Stamps, grid: Stamps, fill: str, near_ns: int) -> Picked:
    """Return which samples fill a grid; pure.

    Args:
        stamps_ns: of the samples, rising; at least one.
        fill: `hold`: the newest sample not younger than the slot; `linear`: between the two around it; `nearest`: the
            nearest, the older of two that are as near. Before the first sample and after the last, that one stands.
        near_ns: a slot counts as filled when its sample is no farther away.
    """
    last = len(stamps_ns) - 1
    older = np.searchsorted(stamps_ns, grid, side="right") - 1
    before, after = np.clip(older, 0, last), np.clip(older + 1, 0, last)
    share = np.zeros(len(grid))
    if fill == "linear":
        gap = stamps_ns[after] - stamps_ns[before]
        between = (older >= 0) & (older < last) & (gap > 0)
        share = np.where(between, (grid - stamps_ns[before]) / np.maximum(gap, 1), 0.0)
    elif fill == "nearest":
        nearer = (older >= 0) & (older < last) & (stamps_ns[after] - grid < grid - stamps_ns[before])
        before = np.where(nearer, after, before)
    away_ns = np.abs(grid - stamps_ns[before])
    known = older >= 0 if fill == "hold" else np.ones(len(grid), bool)
    after = np.where(share > 0, after, before)
    return Picked(before, after, share, int((known & (away_ns <= near_ns)).sum()))


class Track:
    """Samples of `width` numbers, in the order of their stamps whatever the order in which they came."""

    def __init__(self, width: int, keep_ns: int, disorder_ns: int) -> None:
        """Begin empty.

        Args:
            keep_ns: how long a sample is kept after the newest; so many as come in that time, whatever their rate.
            disorder_ns: a sample older than the newest by no more is put in order; one that is older is a step back
                in time (a restarted or replayed source), and all that came before it goes.
        """
        self._keep_ns, self._disorder_ns = keep_ns + disorder_ns, disorder_ns
        self._stamps = np.zeros(_FIRST, np.int64)
        self._values = np.zeros((_FIRST, width))
        self._tags: list[Any] = [None] * _FIRST
        self._from = self._to = 0
        self.steps_back = 0

    def keep_at_least(self, keep_ns: int) -> None:
        """Keep samples for so long after the newest, if that is longer than before."""
        self._keep_ns = max(self._keep_ns, keep_ns + self._disorder_ns)

    def __len__(self) -> int:
        return self._to - self._from

    @property
    def stamps_ns(self) -> Stamps:
        """Of the samples, rising (a view)."""
        return self._stamps[self._from : self._to]

    @property
    def values(self) -> Floats:
        """The samples [n, width] (a view)."""
        return self._values[self._from : self._to]

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample; None: none yet."""
        return int(self._stamps[self._to - 1]) if len(self) else None

    def tags(self, first: int, last: int) -> list[Any]:
        """Return what came with the samples `first` to `last`, both included."""
        return self._tags[self._from + first : self._from + last + 1]

    def clear(self) -> None:
        """Drop all samples."""
        self._from = self._to = 0

    def add(self, stamp_ns: int, values: Sequence[float] | Floats, tag: Any = None) -> bool:
        """Add a sample; return False where it is a step back in time, before which all others went.

        Of two with one stamp the one that came last counts as the newer.
        """
        newest, forward = self.newest_ns, True
        if newest is not None and stamp_ns < newest - self._disorder_ns:
            self.clear()
            self.steps_back += 1
            forward = False
        if self._to == len(self._stamps):
            self._make_room()
        place = self._to
        while place > self._from and self._stamps[place - 1] > stamp_ns:
            place -= 1
        if place < self._to:
            self._stamps[place + 1 : self._to + 1] = self._stamps[place : self._to].copy()
            self._values[place + 1 : self._to + 1] = self._values[place : self._to].copy()
            self._tags[place + 1 : self._to + 1] = self._tags[place : self._to]
        self._stamps[place], self._values[place], self._tags[place] = stamp_ns, values, tag
        self._to += 1
        self._forget()
        return forward

    def _forget(self) -> None:
        """Let go of what is too old, but of the one sample that stands before the time that is kept."""
        oldest_ns = int(self._stamps[self._to - 1]) - self._keep_ns
        while len(self) > 2 and self._stamps[self._from + 1] <= oldest_ns:
            self._from += 1
        self._from = max(self._from, self._to - _MOST)

    def _make_room(self) -> None:
        count = len(self)
        size = max(_FIRST, 2 * count)
        stamps, values = np.zeros(size, np.int64), np.zeros((size, self._values.shape[1]))
        stamps[:count], values[:count] = self.stamps_ns, self.values
        self._tags = self._tags[self._from : self._to] + [None] * (size - count)
        self._stamps, self._values, self._from, self._to = stamps, values, 0, count
