"""A rosbag2 file of the MCAP storage."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, ChunkIndex, DataEnd, Footer, Message, Schema, Statistics
from mcap.stream_reader import StreamReader

from perf_inference.errors import RecordingError
from perf_inference.recording.bags.damage import Damage
from perf_inference.recording.bags.mcap_chunks import chunk_at, do_overlap, records_of
from perf_inference.recording.bags.message_packing import unpacked
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.message import BagMessage, Topic, merged
from perf_inference.recording.qos import parse_qos

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER_BYTES = 9 + 20 + len(_MAGIC)  # its record, and the magic after it
_MOST_HELD_BYTES = 1 << 30  # of messages that wait until their time has come
_OBJECT_BYTES = 300  # of a message besides its data
# Whatever damaged bytes make of the parser and the decompressors: struct.error, ZstdError, MemoryError, ...
_DAMAGE = Exception


class McapFile:
    """One `.mcap` file. Without an index (cut off by a crash) its messages come in the order of writing."""

    def __init__(self, path: Path, data: Path | None = None, packed: bool | None = None) -> None:
        """Read the topics from the summary, or from the whole file where it has none.

        Args:
            data: where the content is, if `path` is packed.
            packed: whether each message is packed with zstd; None: not known, so they are looked at.

        Raises:
            RecordingError: it is not an MCAP file.
        """
        self.path = path
        self._data = data or path
        self._packed = packed
        self.start_ns = 0
        self._channels = _Channels()
        self._indexed = False
        self._chunks: list[ChunkIndex] = []
        try:
            with open(self._data, "rb") as stream:
                if stream.read(len(_MAGIC)) != _MAGIC:
                    raise McapError("it does not begin as one")
                self._indexed = self._read_summary(stream)
            if not self._channels.counted:
                self._scan()
        except (OSError, McapError) as error:
            raise RecordingError(f"{path} must be an MCAP file, but cannot be read as one: {_text(error)}") from error
        self.topics = merged(self._channels.topics())

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order.

        Raises:
            RecordingError: the file is damaged from here on.
        """
        return self._sorted() if self._indexed else self.stored()

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written.

        Raises:
            RecordingError: at the end, when parts of it are damaged or it was cut off.
        """
        damage = Damage()
        channels = self._channels
        with open(self._data, "rb") as stream:
            for record in _records(stream, damage):
                if isinstance(record, Message):
                    topic = channels.known.get(record.channel_id)
                    if topic is None:
                        damage.add(f"a message of channel {record.channel_id}, which is not described")
                    else:
                        yield self._message(topic, record)
                else:
                    channels.add(record)
        damage.check(self.path)

    def close(self) -> None:
        """Nothing is held open."""

    def _message(self, topic: Topic, message: Any) -> BagMessage:
        """Return a message; rosbag2 writes 0 where it does not know the time of publication or the sequence number."""
        data = unpacked(message.data, topic.encoding, self._packed)
        publish_ns, publish_seq = message.publish_time or None, message.sequence or None
        return BagMessage(message.log_time, topic.name, topic.type, data, publish_ns, publish_seq)

    def _sorted(self) -> Iterator[BagMessage]:
        """Yield the messages by time; a chunk is read when its time has come."""
        waiting = sorted(
            self._chunks, key=lambda chunk: (chunk.message_start_time, chunk.chunk_start_offset), reverse=True
        )
        heap: list[tuple[int, int, Any]] = []
        number = held = 0
        try:
            with open(self._data, "rb") as stream:
                while waiting or heap:
                    while waiting and (not heap or waiting[-1].message_start_time <= heap[0][0]):
                        for record in chunk_at(stream, waiting.pop()):
                            if isinstance(record, Message):
                                heapq.heappush(heap, (record.log_time, number, record))
                                number, held = number + 1, held + _size_of(record)
                        if held > _MOST_HELD_BYTES:
                            raise McapError(f"its chunks begin at one time, and have over {_MOST_HELD_BYTES >> 20} MiB")
                    if heap:
                        message = heapq.heappop(heap)[2]
                        held -= _size_of(message)
                        yield self._message(self._channels.known[message.channel_id], message)
        except _DAMAGE as error:
            raise RecordingError(f"{self.path} is damaged or was cut off: {_text(error)}") from error

    def _read_summary(self, stream: IO[bytes]) -> bool:
        """Take topics and counts from the summary, record by record; return whether it has an index of the chunks."""
        found = _Channels()
        chunks: list[ChunkIndex] = []
        statistics: Statistics | None = None
        try:
            stream.seek(-_FOOTER_BYTES, os.SEEK_END)
            footer = next(StreamReader(stream, skip_magic=True, record_size_limit=_FOOTER_BYTES).records)
            if not isinstance(footer, Footer) or not footer.summary_start:
                return False
            stream.seek(footer.summary_start)
            for record in StreamReader(stream, skip_magic=True, record_size_limit=_size(stream)).records:
                if isinstance(record, Statistics):
                    statistics = record
                if isinstance(record, ChunkIndex):
                    chunks.append(record)
                found.add(record)
        except _DAMAGE:  # the end is missing
            return False
        if (
            statistics is None
            or len(found.known) < statistics.channel_count
            or not found.complete
            or do_overlap(chunks)
        ):
            return False
        found.counted = statistics.channel_message_counts
        self._channels = found
        self.start_ns = statistics.message_start_time
        self._chunks = chunks
        return bool(chunks)

    def _scan(self) -> None:
        counts: dict[int, int] = {}
        with open(self._data, "rb") as stream:
            for record in _records(stream, Damage()):  # `stored` reports the damage
                if isinstance(record, Message):
                    self.start_ns = self.start_ns if counts else record.log_time
                    counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
                else:
                    self._channels.add(record)
        self._channels.counted = counts


class _Channels:
    """The channels of a file, which its records describe bit by bit."""

    def __init__(self) -> None:
        self.known: dict[int, Topic] = {}
        self.counted: Mapping[int, int] = {}  # messages by channel
        self.complete = True  # no channel without its schema
        self._schemas: dict[int, Schema] = {}

    def add(self, record: Any) -> None:
        """Take a record, if it is a schema or a channel."""
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel) and record.id not in self.known:
            schema = self._schemas.get(record.schema_id)
            self.complete = self.complete and (schema is not None or not record.schema_id)
            self.known[record.id] = Topic(
                record.topic,
                schema.name if schema else "",
                encoding=record.message_encoding,
                qos=parse_qos(record.metadata.get("offered_qos_profiles", "")),
                type_hash=record.metadata.get("topic_type_hash") or None,
                definition=_definition(schema),
            )

    def topics(self) -> list[Topic]:
        """Return a topic for each channel."""
        return [replace(topic, count=self.counted.get(number, 0)) for number, topic in self.known.items()]


def _records(stream: IO[bytes], damage: Damage) -> Iterator[Any]:
    """Yield the records of the data section, those of a chunk too; what cannot be read is told in `damage`."""
    chunks = 0
    try:
        for record in StreamReader(stream, emit_chunks=True, record_size_limit=_size(stream)).records:
            if isinstance(record, DataEnd):
                return
            if isinstance(record, Chunk):
                chunks += 1
                yield from _inside(record, f"chunk {chunks}", damage)
            else:
                yield record
    except _DAMAGE as error:
        damage.add(f"after {chunks} chunks: {_text(error)}")
    else:
        damage.add("it has no end")


def _inside(chunk: Chunk, name: str, damage: Damage) -> list[Any]:
    """Return a chunk's records; the next chunk begins where it ends, so that damage in it stays in it."""
    try:
        return records_of(chunk)
    except _DAMAGE as error:
        damage.add(f"{name}: {_text(error)}")
        return []


def _definition(schema: Any) -> Definition | None:
    if schema is None or not schema.data:
        return None
    try:
        return Definition(schema.name, schema.encoding, schema.data.decode())
    except UnicodeDecodeError:  # not a text: protobuf
        return None


def _size_of(message: Message) -> int:
    return len(message.data) + _OBJECT_BYTES


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
