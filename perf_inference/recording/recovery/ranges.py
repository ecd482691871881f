"""Sets of sequence numbers as ranges."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

_SHOWN = 1000


class Range(NamedTuple):
    """The numbers from `first` to `last`, both included."""

    first: int
    last: int


class Numbers:
    """A set of numbers that mostly come one after the other."""

    def __init__(self) -> None:
        self.count = 0  # added, those that came again too
        self._firsts, self._lasts = array("q"), array("q")

    def add(self, number: int) -> None:
        """Add one."""
        self.count += 1
        if self._lasts and number == self._lasts[-1] + 1:
            self._lasts[-1] = number
        else:
            self._firsts.append(number)
            self._lasts.append(number)

    def ranges(self) -> list[Range]:
        """Return them in order."""
        return merged(map(Range, self._firsts, self._lasts))


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return the same numbers in order, as few ranges."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1].last + 1:
            result[-1] = Range(result[-1].first, max(last, result[-1].last))
        elif last >= first:
            result.append(Range(first, last))
    return result


def missing(within: Range, present: Iterable[Range]) -> list[Range]:
    """Return the numbers of `within` that are not in `present`, which is in order."""
    result, due = [], within.first
    for first, last in present:
        if first > due:
            result.append(Range(due, min(first - 1, within.last)))
        due = max(due, last + 1)
        if due > within.last:
            break
    if due <= within.last:
        result.append(Range(due, within.last))
    return result


def common(ranges: Iterable[Range], within: Range) -> list[Range]:
    """Return the numbers of `ranges` that lie in `within`."""
    shared = [Range(max(first, within.first), min(last, within.last)) for first, last in ranges]
    return [each for each in shared if each.first <= each.last]


def count(ranges: Iterable[Range]) -> int:
    """Return how many numbers these are."""
    return sum(last - first + 1 for first, last in ranges)


def text(ranges: list[Range]) -> str:
    """Return `17, 40-52 (14 records)`."""
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_SHOWN])
    more = f" and {len(ranges) - _SHOWN} ranges more" if len(ranges) > _SHOWN else ""
    total = count(ranges)
    return f"{shown}{more} ({total} record{'' if total == 1 else 's'})"
