"""What is missing of one start of a recorder, by sequence number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perf_inference.recording.recovery import ranges
from perf_inference.recording.recovery.ranges import Range
from perf_inference.recording.recovery.survey import SegmentPart, Survey, dropped_range

_FIRST = re.compile(r"topics_1\.jsonl(\.zst)?$")


@dataclass(frozen=True)
class Start:
    """The segments of one start of a recorder, in order."""

    name: str | None  # None: no header tells
    parts: tuple[SegmentPart, ...]
    first_seq: int | None  # that it had; None: cannot be known

    @property
    def records(self) -> int:
        return sum(part.records for part in self.parts)

    @property
    def again(self) -> int:
        """Return how many messages come more than once."""
        return self.records - ranges.count(self._present())

    def missing(self) -> list[Range]:
        """Return what was written, or should have been, and is not there."""
        present = self._present()
        last = max(part.known_last for part in self.parts)
        first = self.first_seq if self.first_seq is not None else present[0].first if present else last + 1
        return ranges.missing(Range(first, last), present) if last >= first else []

    def _present(self) -> list[Range]:
        return ranges.merged(each for part in self.parts for each in part.seqs.ranges())


@dataclass(frozen=True)
class Explained:
    """Why records are missing."""

    dropped: int  # by the recorder itself: its drops tell
    lost: list[Range]  # for no reason that the file tells
    lost_within: list[tuple[int, Range]]  # of so many it is known only that they lie within


def explained(missing: Sequence[Range], drops: Iterable[dict[str, Any]]) -> Explained:
    """Return which of the missing ones the recorder had dropped."""
    drops = list(drops)
    dropped, lost, lost_within, due = 0, list[Range](), list[tuple[int, Range]](), 0
    for area in ranges.merged(map(dropped_range, drops)):
        said = sum(drop["count"] for drop in drops if area.first <= drop["first_seq"] <= area.last)
        gone = ranges.common(missing, area)
        dropped += min(said, ranges.count(gone))
        if 0 < said < ranges.count(gone):
            lost_within.append((ranges.count(gone) - said, area))
        elif said <= 0:
            lost += gone
        lost += ranges.common(missing, Range(due, area.first - 1))
        due = area.last + 1
    lost += ranges.common(missing, Range(due, missing[-1].last)) if missing else []
    return Explained(dropped, ranges.merged(lost), lost_within)


def starts(surveys: Sequence[Survey], whole_run: bool) -> list[Start]:
    """Return the starts of all segments; in a `whole_run`, each has its seq from 1 on."""
    parts = [(survey, part) for survey in surveys for part in survey.parts]
    names: list[object] = []
    for index, (_, part) in enumerate(parts):
        following = next((later for _, later in parts[index + 1 :] if later.start is not None), None)
        before = [earlier for (_, earlier), name in zip(parts, names, strict=False) if names and name == names[-1]]
        names.append(part.start if part.start is not None else _start_of(part, before, names, following))
    found = []
    for name in dict.fromkeys(names):
        own = [(survey, part) for (survey, part), given in zip(parts, names, strict=True) if given == name]
        first = 1 if whole_run else _first_seq(*own[0])
        found.append(Start(name if isinstance(name, str) else None, tuple(part for _, part in own), first))
    return found


def _start_of(
    part: SegmentPart, before: Sequence[SegmentPart], names: Sequence[object], following: SegmentPart | None
) -> object:
    """Return to which start a part without header belongs, by its seq; one of its own where nothing fits."""
    own = part.seqs.ranges()
    if following is not None and following.first_seq is not None and following.first_seq > part.known_last > 0:
        return following.start
    if before and (not own or own[0].first > max(earlier.known_last for earlier in before)):
        return names[-1]
    return following.start if following is not None and not own else object()


def _first_seq(survey: Survey, part: SegmentPart) -> int | None:
    if part.first_seq is not None:
        return part.first_seq
    return 1 if _FIRST.search(survey.path.name) else None
