"""The physical lines of a text file of any size, plain or within zstd, whatever has become of it.

Memory stays bounded: a hole of zeros, or a text without an end, comes in several stretches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import zstandard

from perf_inference.errors import RecordingError
from perf_inference.files.regular import open_regular

_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK, _PACKED_CHUNK = 1 << 20, 1 << 10  # 1 KiB of zstd comes to 32 MiB at most, hence less of it after such a one
_LONGEST = 1 << 27  # a line that is longer is none of ours
_LEAST_LINES = 1000
_MOST_BYTES, _MOST_TIMES = 1 << 28, 1000  # that a file unpacks to, and of its own size: more is made to fill a memory


class Stretch(NamedTuple):
    """A physical line, or a part of one that is too long to be held."""

    at: int  # byte of the text
    text: bytes
    begins: bool = True  # at the beginning of a line; False: goes on from the stretch before
    last: bool = False  # the file ends here, without a newline


class CutError(ValueError):
    """What is packed cannot be unpacked any further; the text says from which byte on."""


def is_packed(path: Path) -> bool:
    """Return whether a file is within zstd, by its beginning or its name."""
    with open_regular(path) as stream:
        return stream.read(4) == _MAGIC or path.suffix == ".zst"


def stretches(path: Path) -> Iterator[Stretch]:
    """Yield the lines, each with its newline.

    Raises:
        CutError: the rest is lost in a damaged or truncated zstd file; what came before has been yielded.
        RecordingError: the file cannot be read.
    """
    try:
        with open_regular(path) as stream:
            yield from _split(_unpacked(stream) if is_packed(path) else _chunks(stream, _CHUNK))
    except OSError as error:
        raise RecordingError(f"{path} must be a file that can be read: {error.strerror}") from error


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while chunk := stream.read(size):
        yield chunk


def _split(chunks: Iterator[bytes]) -> Iterator[Stretch]:
    held: list[bytes] = []
    at, size, begins = 0, 0, True
    cut: CutError | None = None
    while True:
        try:
            if (chunk := next(chunks, None)) is None:
                break
        except CutError as error:
            cut = error
            break
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            text = b"".join((*held, line, b"\n"))
            yield Stretch(at, text, begins)
            at, size, begins = at + len(text), 0, True
            held.clear()
        held.append(rest)
        size += len(rest)
        if (end := rest.rfind(b"\0") + 1) or size > _LONGEST:  # no line of ours goes on through this
            text = b"".join(held)
            end = len(text) - len(rest) + end if end else len(text)
            part, left = text[:end], text[end:]
            del text, rest  # what is looked at is here once
            held[:] = [left]
            yield Stretch(at, part, begins)
            del part
            at, begins, size = at + end, False, len(left)
    if text := b"".join(held):
        yield Stretch(at, text, begins, last=True)
    if cut is not None:
        raise cut


def _unpacked(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield what is within the frames, to the last byte that can be had."""
    frame, rest, chunk = 0, b"", _PACKED_CHUNK  # where the frame begins, what was read of it, how much to read
    size = os.fstat(stream.fileno()).st_size
    left, lines = max(_MOST_BYTES, _MOST_TIMES * size), _LEAST_LINES + size  # a line's checksum alone takes four bytes
    while rest or (rest := stream.read(_PACKED_CHUNK)):
        unpacker, read = zstandard.ZstdDecompressor().decompressobj(), frame
        while not unpacker.eof:
            if not rest and not (rest := stream.read(chunk)):
                raise CutError(f"the zstd file is cut off within the frame that begins at byte {frame}")
            try:
                text = unpacker.decompress(rest)
            except zstandard.ZstdError as error:
                yield from _last_of(stream, frame, read)
                raise CutError(f"the zstd file is damaged near byte {read}: {error}") from error
            read, rest = read + len(rest), b""
            left, lines = left - len(text), lines - text.count(b"\n")
            if left < 0 or lines < 0:
                raise CutError(f"the zstd file unpacks to more than a recording can be, near byte {read}")
            chunk = min(_PACKED_CHUNK, max(1, chunk * _CHUNK // max(1, len(text))))
            if text:
                yield text
            del text
        rest = unpacker.unused_data
        frame = read - len(rest)


def _last_of(stream: IO[bytes], frame: int, damaged: int) -> Iterator[bytes]:
    """Yield what lies between the last good chunk and the damage: an error takes the output of its call along."""
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    stream.seek(frame)
    while (left := damaged - stream.tell()) > 0:
        unpacker.decompress(stream.read(min(left, _PACKED_CHUNK)))
    for byte in iter(lambda: stream.read(1), b""):
        try:
            text = unpacker.decompress(byte)
        except zstandard.ZstdError:
            return
        if text:
            yield text
