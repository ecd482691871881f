"""What there is in a file of timings: flat JSON objects, one per inference. They carry no checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from perf_inference.recording.jsonl.pieces import CUT, DAMAGED, FOREIGN, TORN, Piece
from perf_inference.recording.jsonl.text_file import CutError, Stretch, stretches
from perf_inference.recording.recovery import ranges
from perf_inference.recording.recovery.ranges import Numbers, Range

_WITHIN = re.compile(rb'\{"[^{}]*\}')


@dataclass
class _Life:
    """One process of a node: its seq begins again with each."""

    seqs: Numbers = field(default_factory=Numbers)
    last_seq: int = 0
    last_ns: int = 0


@dataclass
class TimingsSurvey:
    """What there is in a file of timings."""

    path: Path
    records: int = 0
    faults: dict[str, tuple[int, Piece]] = field(default_factory=dict)
    lives: dict[str, list[_Life]] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """Return how many lines are whole."""
        return self.records

    @property
    def broken(self) -> bool:
        """Return whether lines are lost."""
        return any(fault != FOREIGN for fault in self.faults)

    def missing(self) -> dict[str, list[Range]]:
        """Return the gaps between a node's first and last record, by node; of a restarted one by its processes."""
        found: dict[str, list[Range]] = {}
        for node, lives in self.lives.items():
            for life in lives:
                present = life.seqs.ranges()
                gaps = ranges.missing(Range(present[0].first, present[-1].last), present)
                if gaps:
                    found.setdefault(node, []).extend(gaps)
        return found

    def take(self, record: dict[str, Any]) -> None:
        """Add a whole line's record."""
        self.records += 1
        lives = self.lives.setdefault(record["node"], [_Life()])
        received = record.get("received_ns")
        seq, received_ns = record["seq"], received if isinstance(received, int) else lives[-1].last_ns
        begun, later = (
            lives[-1].seqs.count > 0,
            received_ns >= lives[-1].last_ns,
        )  # else one came late
        if begun and later and seq <= lives[-1].last_seq:
            lives.append(_Life())
        life = lives[-1]
        life.seqs.add(seq)
        if received_ns >= life.last_ns:
            life.last_seq, life.last_ns = seq, received_ns


def survey_timings(path: Path) -> TimingsSurvey:
    """Read a file.

    Raises:
        RecordingError: it cannot be read.
    """
    found = TimingsSurvey(path)
    for piece, record in timing_pieces(path):
        if record is not None:
            found.take(record)
        else:
            count, first = found.faults.get(piece.fault, (0, piece))
            found.faults[piece.fault] = count + piece.counts, first
    return found


def timing_pieces(path: Path) -> Iterator[tuple[Piece, dict[str, Any] | None]]:
    """Yield what a file is made of, in order; a whole line with its record.

    Raises:
        RecordingError: the file cannot be read.
    """
    try:
        for stretch in stretches(path):
            if (record := _record(stretch.text)) is not None:
                yield Piece(stretch.text.rstrip(b"\r\n") + b"\n", stretch.at), record
            else:
                yield from _within(stretch)
    except CutError as error:
        yield Piece(str(error).encode(), 0, CUT), None


def _within(stretch: Stretch) -> Iterator[tuple[Piece, dict[str, Any] | None]]:
    text, done = stretch.text, 0
    for match in _WITHIN.finditer(text):
        if (record := _record(match[0])) is None:
            continue
        if match.start() > done:
            yield _faulty(stretch, done, match.start()), None
        yield Piece(match[0] + b"\n", stretch.at + match.start()), record
        done = match.end()
    if done == 0 or text[done:] not in (b"", b"\n"):
        yield _faulty(stretch, done, len(text)), None


def _faulty(stretch: Stretch, start: int, end: int) -> Piece:
    text = stretch.text[start:end]
    fault = DAMAGED
    if text.startswith(b"{"):
        fault = TORN if stretch.last and end == len(stretch.text) else DAMAGED
    elif start == 0 and stretch.begins and end == len(stretch.text) and text.isascii() and b"\0" not in text:
        fault = FOREIGN
    return Piece(text[:200], stretch.at + start, fault, len(text), stretch.begins or start > 0)


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None: it is none of a node."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or any(isinstance(value, dict | list) for value in record.values()):
        return None
    seq = record.get("seq")
    ours = isinstance(record.get("node"), str) and isinstance(seq, int) and 0 <= seq < 10**18
    return record if ours else None
