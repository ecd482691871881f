"""What a segment's file is made of: whole lines, and what is none."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import orjson

from perf_inference.recording.jsonl.line import LineError, check
from perf_inference.recording.jsonl.text_file import CutError, Stretch, stretches

TORN, DAMAGED, FOREIGN, CUT = "torn", "damaged", "foreign", "cut"
_START = re.compile(rb'\{"(?:seq":\d|record":")')
_END = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_OURS = (b'{"seq":', b'{"record":')
_TOLD = 200  # bytes that are kept of what is no line
_MOST_STARTS = 1_000_000  # of lines within a damaged one
_SUMMED_BYTES = 1 << 30  # of a file, to find whole lines within damaged ones: a second's work,
_SUMMED_TIMES = 16  # and so many times what was read


class Piece(NamedTuple):
    """A stretch of a file."""

    line: bytes  # whole: as it was written, with its newline; otherwise its first bytes, or why there are none
    at: int  # byte of the text
    fault: str = ""  # empty: whole; torn: the file ends within it; foreign: never was ours; cut: unpacked no further
    size: int = 0  # of what is not whole [bytes]
    counts: bool = True  # False: more of the line before


def pieces(path: Path) -> Iterator[Piece]:
    """Yield what a file is made of, in order; whole lines are found within damaged ones too.

    Raises:
        RecordingError: the file cannot be read.
    """
    work = _Work()
    try:
        for stretch in stretches(path):
            work.left += _SUMMED_TIMES * len(stretch.text)
            if _is_whole(stretch.text):
                yield Piece(stretch.text, stretch.at)
            else:
                yield from _within(stretch, work)
            del stretch  # the next one may be as long
    except CutError as error:
        yield Piece(str(error).encode(), 0, CUT)


@dataclass
class _Work:
    """How many bytes may still be summed up: text can be made so that every beginning fits every end."""

    left: int = _SUMMED_BYTES


def _is_whole(text: bytes) -> bool:
    try:
        check(text)
    except LineError:
        return False
    return True


def _within(stretch: Stretch, work: _Work) -> Iterator[Piece]:
    """Yield the pieces of a line that is not whole as it stands."""
    text, done = stretch.text, 0
    for start, end in _found(text, work):
        if start > done:
            yield _faulty(stretch, done, start)
        yield Piece(text[start:end] + b"\n", stretch.at + start)
        done = end
    if done == 0 or text[done:] not in (b"", b"\n"):
        yield _faulty(stretch, done, len(text))


def _found(text: bytes, work: _Work) -> Iterator[tuple[int, int]]:
    """Yield where the whole lines within lie, without their newlines."""
    starts, done = [match.start() for match in islice(_START.finditer(text), _MOST_STARTS)], 0
    view = memoryview(text)
    for match in _END.finditer(text) if starts else ():
        end, checksum = match.start(), int(match[1], 16)
        for start in reversed(starts[bisect_left(starts, done) : bisect_left(starts, end)]):
            work.left -= end - start
            if work.left < 0:
                return
            if crc32(view[start:end]) == checksum:
                yield start, match.end()
                done = match.end()
                break


def _faulty(stretch: Stretch, start: int, end: int) -> Piece:
    text = stretch.text[start:end]
    whole = start == 0 and end == len(stretch.text) and stretch.begins  # nothing of ours on this line
    tail = stretch.last and end == len(stretch.text)
    counts = stretch.begins or start > 0
    return Piece(text[:_TOLD], stretch.at + start, _fault(text, whole, tail), len(text), counts)


def _fault(text: bytes, whole: bool, tail: bool) -> str:
    ours = text.startswith(_OURS)
    if tail and (ours or any(key.startswith(text) for key in _OURS)):
        return TORN
    if ours or not whole or _END.search(text):
        return DAMAGED
    return FOREIGN if _is_text(text) and not _is_end(text) else DAMAGED


def _is_end(text: bytes) -> bool:
    """Return whether it may be the end of a line of ours: JSON, but for its beginning."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.endswith((b'"}\n', b'"}'))
    return False


def _is_text(text: bytes) -> bool:
    try:
        return text.decode().rstrip("\r\n").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        return False
