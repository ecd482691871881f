"""The samples of one observation term: taken from messages as they come, given back as an array for a tick."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError
from perf_inference.tasks.policy.contract.contract import Term
from perf_inference.tasks.policy.observing.fields import (
    Floats,
    fields_of,
    names_in,
    numbers_at,
    rate_of,
)
from perf_inference.tasks.policy.observing.scaling import Scaling
from perf_inference.tasks.policy.observing.track import Picked, Track, grid_ns, pick
from perf_inference.tasks.policy.observing.transforms import transform_of

NEAR_PERIODS = 2  # a slot counts as filled when its sample is no farther away
_NEAR_NS = 1 << 62  # without a window


class Taken(NamedTuple):
    """What a term gives at a tick."""

    values: Any  # [length, n] float64, or images [length, H, W, 3]
    filled: int  # slots
    length: int
    stamp_ns: int  # of the newest sample (of several joints: of the one whose newest is the oldest)
    tags: tuple[Any, ...]  # of the samples that this rests on, as they were added


class Series(Protocol):
    """Takes messages, and gives arrays."""

    term: Term

    def add(self, stamp_ns: int, message: Any, tag: Any = None) -> bool:
        """Take a message; False: it has nothing of this term. Raises InputError for one that cannot be used."""

    def newest_ns(self) -> int | None:
        """Stamp of the newest sample of all that is needed; None: something has not come yet."""

    def missing(self) -> str:
        """What has not come yet, for a message."""

    def take(self, end_ns: int) -> Taken:
        """Return the samples of a tick; raises InputError where something has not come yet."""

    def clear(self) -> None:
        """Drop all samples."""


def keep_ns(term: Term) -> int:
    """Return how long a term's samples are needed [ns]."""
    return 0 if term.window is None else round((term.window.length + NEAR_PERIODS) * 1e9 / term.window.rate_hz)


def picked(term: Term, stamps_ns: NDArray[np.int64], end_ns: int) -> Picked:
    """Return which samples stand in a term's window, or the newest where it has none."""
    if term.window is None:
        last = np.array([len(stamps_ns) - 1])
        return Picked(last, last, np.zeros(1), 1)
    grid = grid_ns(end_ns, term.window.rate_hz, term.window.length)
    return pick(stamps_ns, grid, term.window.fill, round(NEAR_PERIODS * 1e9 / term.window.rate_hz))


class Numbers:
    """Numbers of messages without names: transformed as they come."""

    def __init__(self, term: Term, disorder_ns: int) -> None:
        self.term = term
        self._fields = fields_of(term.type, term.fields)
        self._transform = transform_of(term.transform, term.ranges)
        self._disorder_ns = disorder_ns
        self._track: Track | None = None
        self._names: tuple[str, ...] | None = None
        self._scaling = Scaling(term)

    def add(self, stamp_ns: int, message: Any, tag: Any = None) -> bool:
        values = np.concatenate([numbers_at(message, path) for path in self._fields])
        names = names_in(message)
        if names and self._names is not None and names != self._names:
            raise InputError(
                f"{self.term.label} named {', '.join(self._names)} before and {', '.join(names)} now; give this "
                "observation `names`, in the model's order"
            )
        if self._transform is not None:
            values = self._transform.apply(values)
        if not np.isfinite(values).all():
            raise InputError(f"a sample of {self.term.label} must be finite, got {np.round(values[:12], 4).tolist()}")
        if self._track is None:
            self._scaling.check(len(values))
            self._track = Track(len(values), keep_ns(self.term), self._disorder_ns)
            self._names = names or None
        width = self._track.values.shape[1]
        if len(values) != width:
            raise InputError(f"a sample of {self.term.label} must have {width} values as before, got {len(values)}")
        self._track.add(stamp_ns, values, tag)
        return True

    def newest_ns(self) -> int | None:
        return None if self._track is None else self._track.newest_ns

    def missing(self) -> str:
        return "" if self.newest_ns() is not None else self.term.label

    def take(self, end_ns: int) -> Taken:
        track, newest_ns = self._track, self.newest_ns()
        if track is None or newest_ns is None:
            raise InputError(f"nothing has come on {self.term.label} yet")
        which = picked(self.term, track.stamps_ns, end_ns)
        angles = self._transform is not None and self._transform.angles
        values = _between(track.values[which.before], track.values[which.after], which.share, angles)
        tags = tuple(track.tags(int(which.before.min()), int(which.after.max())))
        return Taken(self._scaling.apply(values), which.filled, len(which.before), newest_ns, tags)

    def clear(self) -> None:
        if self._track is not None:
            self._track.clear()


class Named:
    """Numbers picked by name, in the contract's order; the names may be spread over several messages.

    Each name has its own samples: what comes in one message need not come in the next. A rate of change (`velocity`)
    that a message leaves out, or gives as NaN, is the difference to the sample before it, by their stamps; 0 without.
    """

    def __init__(self, term: Term, disorder_ns: int) -> None:
        self.term = term
        self._fields = fields_of(term.type, term.fields)
        self._sources = [rate_of(path) for path in self._fields]
        self._paths = list(dict.fromkeys([*self._fields, *filter(None, self._sources)]))
        self._rates = [(self._paths.index(path), self._paths.index(source))
                       for path, source in zip(self._fields, self._sources, strict=True) if source]  # fmt: skip
        self._transform = transform_of(term.transform, term.ranges)
        self._scaling = Scaling(term)
        self._tracks = {name: Track(len(self._paths), keep_ns(term), disorder_ns) for name in term.names}

    def add(self, stamp_ns: int, message: Any, tag: Any = None) -> bool:
        names = names_in(message)
        if names is None:
            raise InputError(f"a message of {self.term.label} must have names to pick from, it has neither name nor "
                             "joint_names; leave `names` out")  # fmt: skip
        places = {name: i for i, name in enumerate(names) if name in self._tracks}
        if not places:
            return False
        if len(places) < sum(name in self._tracks for name in names):
            raise InputError(f"a message of {self.term.label} must have each name once, got {', '.join(names)}")
        columns = [self._column(message, path, len(names), stamp_ns) for path in self._paths]
        rows = {name: [column[i] for column in columns] for name, i in places.items()}
        rate_columns = {rate for rate, _ in self._rates}
        for name, row in rows.items():
            for j, value in enumerate(row):
                if not math.isfinite(value) and not (j in rate_columns and math.isnan(value)):
                    raise InputError(f"{self._paths[j]} of '{name}' must be finite, got {value}")
        for name, row in rows.items():
            self._tracks[name].add(stamp_ns, row, tag)
        return True

    def _column(self, message: Any, path: str, count: int, stamp_ns: int) -> Sequence[float] | Floats:
        values = numbers_at(message, path)
        if len(values) == count:
            return values
        if rate_of(path) is not None and not len(values):
            return [math.nan] * count
        raise InputError(f"{path} of {self.term.label} must have {count} values, as names are, got {len(values)}")

    def newest_ns(self) -> int | None:
        stamps = [track.newest_ns for track in self._tracks.values()]
        return None if None in stamps else min(stamp for stamp in stamps if stamp is not None)

    def missing(self) -> str:
        names = [name for name, track in self._tracks.items() if not len(track)]
        return f"{', '.join(names)} on {self.term.label}" if names else ""

    def take(self, end_ns: int) -> Taken:
        newest_ns = self.newest_ns()
        if newest_ns is None:
            raise InputError(f"nothing has come of {self.missing()} yet")
        parts, tags, filled = [], [], []
        for track in self._tracks.values():
            which = picked(self.term, track.stamps_ns, end_ns)
            before, after = self._rows(track, which.before), self._rows(track, which.after)
            parts.append(_between(before, after, which.share, False)[:, : len(self._fields)])
            first = max(int(which.before.min()) - (1 if self._rates else 0), 0)
            tags.extend(track.tags(first, int(which.after.max())))
            filled.append(which.filled)
        values = np.stack(parts, axis=2).reshape(len(parts[0]), -1)  # all of one field, then of the next
        if self._transform is not None:
            values = np.stack([self._transform.apply(row) for row in values])
        return Taken(self._scaling.apply(values), min(filled), len(values), newest_ns, tuple(dict.fromkeys(tags)))

    def _rows(self, track: Track, indices: NDArray[Any]) -> Floats:
        """Return samples with their rates: those that were not measured, as differences."""
        rows = np.array(track.values[indices])
        for rate, source in self._rates:
            for slot in np.flatnonzero(np.isnan(rows[:, rate])):
                i = int(indices[slot])
                gap_ns = int(track.stamps_ns[i] - track.stamps_ns[i - 1]) if i else 0
                step = track.values[i, source] - track.values[i - 1, source] if i else 0.0
                rows[slot, rate] = step / (gap_ns / 1e9) if gap_ns else 0.0
        return rows

    def clear(self) -> None:
        for track in self._tracks.values():
            track.clear()


class Images:
    """A camera's images: decoded when they are looked at, each once."""

    def __init__(
        self, term: Term, disorder_ns: int, prepare: Callable[[Any], NDArray[Any]], pair_ns: int | None = None
    ) -> None:
        """Begin empty.

        Args:
            prepare: makes the model's image [1, ...] of a camera's.
            pair_ns: cameras may be so far apart: of an image without a window the one nearest to the tick's time is
                taken; None: the newest.
        """
        self.term, self._prepare, self._pairs = term, prepare, pair_ns is not None
        self._track = Track(0, max(keep_ns(term), 2 * (pair_ns or 0)), disorder_ns)
        self._ready: dict[int, NDArray[Any]] = {}
        self._number = 0
        self._looks: dict[int, tuple[Callable[[], Any], Any]] = {}  # number: how to decode it, its tag

    def add(self, stamp_ns: int, message: Any, tag: Any = None) -> bool:
        """Take an image: a function without arguments that decodes it, or raises InputError."""
        self._number += 1
        self._looks[self._number] = message, tag
        self._track.add(stamp_ns, np.zeros(0), self._number)
        kept = set(self._track.tags(0, len(self._track) - 1))
        self._looks = {number: look for number, look in self._looks.items() if number in kept}
        self._ready = {number: image for number, image in self._ready.items() if number in kept}
        return True

    def newest_ns(self) -> int | None:
        return self._track.newest_ns

    def missing(self) -> str:
        return "" if len(self._track) else self.term.label

    def take(self, end_ns: int) -> Taken:
        newest_ns = self._track.newest_ns
        if newest_ns is None:
            raise InputError(f"no image has come on {self.term.label} yet")
        stamps_ns = self._track.stamps_ns
        if self.term.window is None and self._pairs:
            which = pick(stamps_ns, np.array([end_ns]), "nearest", _NEAR_NS)
        else:
            which = picked(self.term, stamps_ns, end_ns)
        numbers = [self._track.tags(int(i), int(i))[0] for i in which.before]
        images = [self._image(number) for number in numbers]
        tags = tuple(dict.fromkeys(self._looks[number][1] for number in numbers))
        stamp_ns = int(stamps_ns[which.before[-1]])
        return Taken(np.stack(images), which.filled, len(images), stamp_ns, tags)

    def _image(self, number: int) -> NDArray[Any]:
        if number not in self._ready:
            self._ready[number] = self._prepare(self._looks[number][0]())[0]
        return self._ready[number]

    def clear(self) -> None:
        self._track.clear()
        self._looks, self._ready = {}, {}


def _between(before: Floats, after: Floats, share: Floats, angles: bool) -> Floats:
    """Return what lies between samples [slots, n]; angles go the short way round."""
    if not share.any():
        return np.asarray(before)
    step = after - before
    if angles:
        step = (step + math.pi) % (2 * math.pi) - math.pi
    return np.asarray(before + share[:, None] * step, np.float64)


def series_of(
    term: Term, disorder_ns: int, prepare: Callable[[Any], NDArray[Any]] | None = None, pair_ns: int | None = None
) -> Series:
    """Return what takes a term's messages."""
    if term.is_image:
        assert prepare is not None
        return Images(term, disorder_ns, prepare, pair_ns)
    return Named(term, disorder_ns) if term.names else Numbers(term, disorder_ns)
