"""Which messages an observation rests on, as one text of a timing, from which a recording gives them again.

    4f1a09c2:118-120,122@1700000000000000001-1700000000030000004;77aa01bb:5@...

Of each publisher: the sequence numbers, in ranges, and the system times at which the first and last was published; a
recording has numbers and times, but not who sent a message: two that count alike are told apart by the times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from perf_inference.errors import InputError

_PART = re.compile(r"([0-9a-f]*):([0-9,\-]+)@(\d+)-(\d+)")
MOST_LETTERS = 4000  # of the text; more ranges than fit are said to be too many
TOO_MANY = "too many ranges"


class Origin(NamedTuple):
    """Where a message comes from."""

    publisher: str  # the end of its gid, in hexadecimal
    sequence: int
    published_ns: int


class Used(NamedTuple):
    """What was used of one publisher."""

    sequences: frozenset[int]
    first_ns: int  # published
    last_ns: int

    def has(self, sequence: int | None, published_ns: int | None) -> bool:
        """Return whether a recorded message is one of them."""
        return sequence in self.sequences and published_ns is not None and (
            self.first_ns <= published_ns <= self.last_ns
        )  # fmt: skip


def as_text(origins: Iterable[Origin | None]) -> str:
    """Return the text of some messages; empty: this ROS 2 does not tell where they come from."""
    by_publisher: dict[str, list[Origin]] = {}
    for origin in origins:
        if origin is None:
            return ""
        by_publisher.setdefault(origin.publisher, []).append(origin)
    parts = []
    for publisher, found in by_publisher.items():
        times = [origin.published_ns for origin in found]
        numbers = _ranges(sorted({origin.sequence for origin in found}))
        parts.append(f"{publisher}:{numbers}@{min(times)}-{max(times)}")
    text = ";".join(parts)
    return text if len(text) <= MOST_LETTERS else TOO_MANY


def of_text(text: str) -> list[Used]:
    """Return what a text says.

    Raises:
        InputError: it is none of ours, or had too many ranges.
    """
    if not text or text == TOO_MANY:
        raise InputError("the timing does not say which messages were used" + (f": {text}" if text else ""))
    found = []
    for part in text.split(";"):
        match = _PART.fullmatch(part)
        if match is None:
            raise InputError(f"which messages were used must be like 4f1a:118-120@1-2, got {part[:60]!r}")
        numbers: set[int] = set()
        for piece in match[2].split(","):
            first, _, last = piece.partition("-")
            if not first or int(last or first) - int(first) > 1_000_000:
                raise InputError(f"a range of sequence numbers must be like 118-120, got {piece[:40]!r}")
            numbers.update(range(int(first), int(last or first) + 1))
        found.append(Used(frozenset(numbers), int(match[3]), int(match[4])))
    return found


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[str] = []
    start = last = numbers[0]
    for number in [*numbers[1:], -1]:
        if number == last + 1:
            last = number
            continue
        parts.append(str(start) if start == last else f"{start}-{last}")
        start = last = number
    return ",".join(parts)
