"""What there is in a segment's file, whatever has become of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf_inference.recording.jsonl.head import Head, head
from perf_inference.recording.jsonl.pieces import FOREIGN, TORN, Piece, pieces
from perf_inference.recording.jsonl.topic_records import TopicRecords
from perf_inference.recording.recovery.ranges import Numbers, Range

_SEQ = re.compile(rb'\{"seq":(\d{1,18}),')

Key = tuple[str, int | None]  # how a message refers to its topic record: name, id


@dataclass(eq=False)
class SegmentPart:
    """What follows one header; a file has one, unless files were joined."""

    number: int
    header: dict[str, Any] | None = None
    topics: dict[Key, dict[str, Any]] = field(default_factory=dict)
    orphans: dict[Key, int] = field(default_factory=dict)  # messages whose topic record is lost
    drops: list[dict[str, Any]] = field(default_factory=list)
    footer: dict[str, Any] | None = None
    closed: bool = False  # the footer is the last line
    counts: dict[str, int] = field(default_factory=dict)  # messages by topic
    seqs: Numbers = field(default_factory=Numbers)
    span: tuple[Head, Head] | None = None  # the first and the last message
    faults: int = 0  # lines that are lost
    claims: list[int] = field(default_factory=list)  # what the lost lines after the last message say of their seq
    torn_seq: int | None = None

    @property
    def start(self) -> str | None:
        start = None if self.header is None else self.header.get("start")
        return start if isinstance(start, str) else None

    @property
    def first_seq(self) -> int | None:
        """Return what the header says."""
        first = None if self.header is None else self.header.get("first_seq")
        return first if isinstance(first, int) else None

    @property
    def records(self) -> int:
        return self.seqs.count

    @property
    def known_last(self) -> int:
        """Return the highest seq that there was, for all that can be known; 0: none."""
        known = [last for _, last in self.seqs.ranges()]
        known += [drop["last_seq"] for drop in self.drops]
        if self.footer is not None and isinstance(self.footer.get("last_seq"), int):
            known.append(self.footer["last_seq"])
        if self.first_seq is not None:
            known.append(self.first_seq - 1)
        highest = max(known, default=0)
        if self.footer is not None and isinstance(self.footer.get("last_seq"), int):
            return highest  # it is whole, and knows
        # A damaged line may lie about its seq; a torn one was only cut.
        trusted = [seq for seq in self.claims if seq <= highest + len(self.claims)]
        return max([highest, *trusted, self.torn_seq or 0])

    def take(self, line: Head, known: bool) -> None:
        """Add a whole line; `known`: a message whose topic record is there."""
        self.closed = line.kind == "footer"
        if line.record is None:
            self.seqs.add(line.seq)
            self.span = (self.span[0] if self.span else line, line)
            self.counts[line.topic] = self.counts.get(line.topic, 0) + 1
            self.claims.clear()
            if not known:
                key = line.topic, line.id
                self.orphans[key] = self.orphans.get(key, 0) + 1
        elif line.kind == "header":
            self.header = line.record
        elif line.kind == "topic":
            self.topics.setdefault((line.record["topic"], line.record["id"]), line.record)
        elif line.kind == "drops":
            self.drops.append(line.record)
        elif line.kind == "footer":
            self.footer = line.record

    def miss(self, piece: Piece) -> None:
        """Add what is no whole line."""
        if piece.fault == FOREIGN:
            return
        self.faults += piece.counts
        if found := _SEQ.match(piece.line):
            self.claims.append(int(found[1]))
            if piece.fault == TORN:
                self.torn_seq = int(found[1])


@dataclass
class Survey:
    """What there is in a file."""

    path: Path
    parts: list[SegmentPart]
    faults: dict[str, tuple[int, Piece]]  # how many, and the first
    lines: int = 0  # whole ones

    @property
    def records(self) -> int:
        return sum(part.records for part in self.parts)

    @property
    def broken(self) -> bool:
        """Return whether lines are lost."""
        return any(part.faults or part.orphans for part in self.parts)


def survey(path: Path) -> Survey:
    """Read a file.

    Raises:
        RecordingError: it cannot be read.
    """
    found = Survey(path, [SegmentPart(0)], {})
    records = TopicRecords()
    for number, piece, line in walk(path):
        if number == len(found.parts):
            found.parts.append(SegmentPart(number))
        part = found.parts[number]
        if piece.fault:
            count, first = found.faults.get(piece.fault, (0, piece))
            found.faults[piece.fault] = count + piece.counts, first
            part.miss(piece)
            continue
        found.lines += 1
        if line is not None:
            topic = records.follow(line)
            part.take(line, topic is not None)
    return found


def walk(path: Path) -> Iterator[tuple[int, Piece, Head | None]]:
    """Yield what a file is made of: the part's number, the piece, and the head of a line that the format knows."""
    number, begun = 0, False
    for piece in pieces(path):
        line = None if piece.fault else head(piece.line)
        if line is not None:
            number += begun and line.kind == "header"
            begun = True
        elif not piece.fault and b'"record":' not in piece.line:  # a record may be of a later version
            piece = piece._replace(fault=FOREIGN)
        yield number, piece, line


def dropped_range(drop: dict[str, Any]) -> Range:
    """Return the seq within which the dropped records lie."""
    return Range(drop["first_seq"], drop["last_seq"])
