"""Where the records of an MCAP file lie, read off their heads; and what its summary says of them."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from mcap.records import ChunkIndex, Footer, Statistics
from mcap.stream_reader import StreamReader

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, ATTACHMENT, METADATA, DATA_END = 3, 4, 5, 6, 9, 12, 15
_FOOTER_BYTES = 9 + 20 + len(MAGIC)  # its record, and the magic after it
HEAD_BYTES = 9  # of a record: its kind, and its length
_MESSAGE_TIME = struct.Struct("<BQHIQ")  # head, channel, sequence, log time
_CHUNK_TIME = struct.Struct("<BQQ")  # head, time of the first message
_RUN_BYTES = 4 << 20  # of messages outside of chunks that are read at once


class Record(NamedTuple):
    """Where a record lies."""

    kind: int
    at: int
    size: int  # with its head, as it says
    whole: bool  # False: the file ends within it
    time_ns: int = 0  # log time of a message; of the first one of a chunk
    channel: int = 0  # of a message


class Place(NamedTuple):
    """Messages that are read at once: a chunk, or neighbours outside of chunks."""

    start_ns: int
    at: int
    size: int
    is_chunk: bool
    whole: bool = True


@dataclass(frozen=True)
class Summary:
    """What a file says of itself at its end."""

    records: list[Any]
    chunks: list[ChunkIndex]
    statistics: Statistics | None
    begin: int  # where it begins: the data end there


def size_of(stream: IO[bytes]) -> int:
    """Return the size of a file [bytes]."""
    return os.fstat(stream.fileno()).st_size


def has_end(stream: IO[bytes]) -> bool:
    """Return whether a file ends as it must."""
    size = size_of(stream)
    stream.seek(max(0, size - len(MAGIC)))
    return stream.read() == MAGIC and size > len(MAGIC)


def walk(stream: IO[bytes], begin: int, end: int) -> Iterator[Record]:
    """Yield the records between two places, to the end of the data section; nothing but heads is read."""
    at = begin
    while at < end:
        head = os.pread(stream.fileno(), _MESSAGE_TIME.size, at)
        if len(head) < HEAD_BYTES:
            return
        kind, length = head[0], int.from_bytes(head[1:HEAD_BYTES], "little")
        time_ns = channel = 0
        if kind == MESSAGE and len(head) >= _MESSAGE_TIME.size:
            _, _, channel, _, time_ns = _MESSAGE_TIME.unpack_from(head)
        elif kind == CHUNK and len(head) >= _CHUNK_TIME.size:
            _, _, time_ns = _CHUNK_TIME.unpack_from(head)
        yield Record(kind, at, HEAD_BYTES + length, at + HEAD_BYTES + length <= end, time_ns, channel)
        if kind == DATA_END:
            return
        at += HEAD_BYTES + length


def parsed(stream: IO[bytes], at: int, size: int) -> list[Any]:
    """Return the records of a stretch of the file; a chunk as one.

    Raises:
        Exception: whatever damaged bytes make of the parser.
    """
    stream.seek(at)
    data = stream.read(size)
    found: list[Any] = []
    reader = StreamReader(io.BytesIO(data), skip_magic=True, emit_chunks=True, record_size_limit=size).records
    done = 0
    while done < len(data):
        done += HEAD_BYTES + int.from_bytes(data[done + 1 : done + HEAD_BYTES], "little")
        found.append(next(reader))
    return found


def read_summary(stream: IO[bytes]) -> Summary | None:
    """Return the summary; None: it is not there.

    Raises:
        Exception: whatever damaged bytes make of the parser.
    """
    size = size_of(stream)
    if size < _FOOTER_BYTES:
        return None
    stream.seek(-_FOOTER_BYTES, os.SEEK_END)
    footer = next(StreamReader(stream, skip_magic=True, record_size_limit=_FOOTER_BYTES).records)
    if not isinstance(footer, Footer) or not footer.summary_start:
        return None
    stream.seek(footer.summary_start)
    records = list(StreamReader(stream, skip_magic=True, record_size_limit=size).records)
    chunks = [record for record in records if isinstance(record, ChunkIndex)]
    statistics = next((record for record in records if isinstance(record, Statistics)), None)
    return Summary(records, chunks, statistics, footer.summary_start)


def gaps(chunks: Iterable[ChunkIndex], end: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of the data section that no index of a chunk covers."""
    done = len(MAGIC)
    for chunk in sorted(chunks, key=lambda chunk: chunk.chunk_start_offset):
        if chunk.chunk_start_offset > done:
            yield done, chunk.chunk_start_offset
        done = max(done, chunk.chunk_start_offset + chunk.chunk_length + chunk.message_index_length)
    if done < end:
        yield done, end


class Runs:
    """Makes places of messages outside of chunks."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.counts: dict[int, int] = {}  # messages by channel
        self._begin = self._end = self._start_ns = 0

    def add(self, record: Record) -> None:
        """Take a record of the data section, in order."""
        if record.kind == MESSAGE and record.whole:
            self.counts[record.channel] = self.counts.get(record.channel, 0) + 1
            if record.at != self._end or record.at - self._begin > _RUN_BYTES:
                self.settle()
                self._begin, self._start_ns = record.at, record.time_ns
            self._end = record.at + record.size
            self._start_ns = min(self._start_ns, record.time_ns)

    def settle(self) -> None:
        """End the run."""
        if self._end > self._begin:
            self.places.append(Place(self._start_ns, self._begin, self._end - self._begin, is_chunk=False))
        self._begin = self._end = 0
