"""A rosbag2 file of the MCAP storage."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from mcap.exceptions import McapError
from mcap.records import Attachment as AttachmentRecord
from mcap.records import Channel, ChunkIndex, Message, Schema
from mcap.records import Metadata as MetadataRecord

from perf_inference.errors import RecordingError
from perf_inference.recording.bags import mcap_layout as layout
from perf_inference.recording.bags.mcap_chunks import do_overlap, records_at
from perf_inference.recording.bags.mcap_layout import Place, Record, Runs
from perf_inference.recording.bags.metadata import EMBEDDED, embedded_about
from perf_inference.recording.bags.packed_file import unpacked
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.damage import Damage
from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic, collected
from perf_inference.recording.qos import parse_qos

_MOST_HELD_BYTES = 1 << 30  # of messages that wait until their time has come
_OBJECT_BYTES = 300  # of a message besides its data
# Whatever damaged bytes make of the parser and the decompressors: struct.error, ZstdError, MemoryError, ...
_DAMAGE = Exception


class McapFile:
    """One `.mcap` file: with an index of its chunks or without, cut off by a crash or whole."""

    def __init__(self, path: Path, data: Path | None = None, packed: bool | None = None) -> None:
        """Read the topics from the summary, or from the whole file where that does not say all.

        Args:
            data: where the content is, if `path` is packed.
            packed: whether each message is packed with zstd; None: not known, so they are looked at.

        Raises:
            RecordingError: it is not an MCAP file.
        """
        self.path = path
        self._data = data or path
        self._packed = packed
        self._channels = _Channels()
        self._places: list[Place] = []
        self._extras: list[Record] = []
        self._told: int | None = None  # messages that the statistics tell of
        self._read_count = 0
        try:
            with open(self._data, "rb") as stream:
                if stream.read(len(layout.MAGIC)) != layout.MAGIC:
                    raise McapError("it does not begin as one")
                if not self._read_summary(stream):
                    self._scan(stream)
                self.start_ns = min((place.start_ns for place in self._places), default=0)
                self.about = self._read_about(stream)
        except (OSError, McapError) as error:
            raise RecordingError(f"{path} must be an MCAP file, but cannot be read as one: {_text(error)}") from error
        self.topics = collected(self._channels.topics())

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in the order of their log times; a place is read when its time has come.

        Raises:
            RecordingError: at the end, when parts of it are damaged or it was cut off.
        """
        damage = Damage()
        waiting = sorted(self._places, key=lambda place: (place.start_ns, place.at), reverse=True)
        heap: list[tuple[int, int, int, Any]] = []
        held = count = 0
        with open(self._data, "rb") as stream:
            while waiting or heap:
                while waiting and (not heap or waiting[-1].start_ns <= heap[0][0]):
                    place = waiting.pop()
                    for number, record in enumerate(self._read(stream, place, damage)):
                        heapq.heappush(heap, (record.log_time, place.at, number, record))
                        held += _size_of(record)
                    if held > _MOST_HELD_BYTES:
                        damage.add(f"its chunks begin at one time, and have over {_MOST_HELD_BYTES >> 20} MiB")
                        damage.check(self.path)
                if heap:
                    message = heapq.heappop(heap)[-1]
                    held -= _size_of(message)
                    if (known := self._known(message, damage)) is not None:
                        count += 1
                        yield known
            self._end(stream, count, damage)

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written.

        Raises:
            RecordingError: at the end, when parts of it are damaged or it was cut off.
        """
        damage = Damage()
        count = 0
        with open(self._data, "rb") as stream:
            for place in sorted(self._places, key=lambda place: place.at):
                for record in self._read(stream, place, damage):
                    if (message := self._known(record, damage)) is not None:
                        count += 1
                        yield message
            self._end(stream, count, damage)

    def extras(self) -> Iterator[Note | Attachment]:
        """Yield metadata records and attachments, but for rosbag2's own metadata."""
        with open(self._data, "rb") as stream:
            for record in self._extras:
                for found in _quietly(stream, record):
                    if isinstance(found, MetadataRecord) and found.name != EMBEDDED:
                        yield Note(found.name, found.metadata)
                    if isinstance(found, AttachmentRecord):
                        times = found.log_time, found.create_time
                        yield Attachment(found.name, found.media_type, *times, found.data)

    def remarks(self) -> list[str]:
        """Return what is odd about it though nothing is lost, once it has been read."""
        told, count = self._told, self._read_count
        return (
            [f"its statistics tell of {told} messages, but it has {count}"] if told is not None and told < count else []
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _end(self, stream: IO[bytes], count: int, damage: Damage) -> None:
        """Say at the end what is missing.

        Raises:
            RecordingError: something is.
        """
        self._read_count = count
        if not damage.count and not layout.has_end(stream):
            damage.add(f"after {sum(place.is_chunk and place.whole for place in self._places)} chunks: it has no end")
        if self._told is not None and self._told > count and not damage.count:
            damage.add(f"its statistics tell of {self._told} messages, but it has {count}")
        damage.check(self.path)

    def _read(self, stream: IO[bytes], place: Place, damage: Damage) -> Iterator[Any]:
        """Yield the messages of a place; what cannot be read is told in `damage`, and stays there."""
        try:
            for record in records_at(stream, place):
                if isinstance(record, Message):
                    yield record
                else:
                    self._channels.add(record)
        except _DAMAGE as error:
            number = sum(other.is_chunk and other.at <= place.at for other in self._places)
            where = f"chunk {number}" if place.is_chunk else "outside of chunks"
            damage.add(f"{where if place.whole else f'after {number - 1} chunks'}: {_text(error)}")

    def _known(self, record: Any, damage: Damage) -> BagMessage | None:
        topic = self._channels.known.get(record.channel_id)
        if topic is None:
            damage.add(f"a message of channel {record.channel_id}, which is not described")
            return None
        # rosbag2 writes 0 where it does not know the time of publication or the sequence number
        publish_ns, publish_seq = record.publish_time or None, record.sequence or None
        data = unpacked(record.data, topic.encoding, self._packed)
        return BagMessage(record.log_time, topic.name, topic.type, data, publish_ns, publish_seq, topic)

    def _read_summary(self, stream: IO[bytes]) -> bool:
        """Take places, topics and counts from the summary; False: it does not say all of them."""
        try:
            summary = layout.read_summary(stream)
        except _DAMAGE:  # the end is missing
            return False
        if summary is None or summary.statistics is None:
            return False
        self._told = summary.statistics.message_count
        found = _Channels()
        for record in summary.records:
            found.add(record)
        if do_overlap(summary.chunks) or len(found.known) < summary.statistics.channel_count:
            return False
        runs = Runs()
        extras: list[Record] = []
        for begin, end in layout.gaps(summary.chunks, summary.begin):
            for head in layout.walk(stream, begin, end):
                if head.kind == layout.CHUNK or (head.kind == layout.MESSAGE and summary.chunks):
                    return False  # there are messages that the index does not lead to: all is looked at
                runs.add(head)
                if head.kind in (layout.METADATA, layout.ATTACHMENT):
                    extras.append(head)
        runs.settle()
        if not found.complete or not runs.counts.keys() <= found.known.keys():
            return False
        found.counted = runs.counts if not summary.chunks else summary.statistics.channel_message_counts
        self._channels, self._extras = found, extras
        self._places = [*runs.places, *map(_place, summary.chunks)]
        return True

    def _scan(self, stream: IO[bytes]) -> None:
        """Find places, topics and counts by looking at all of the file."""
        counts: dict[int, int] = {}
        runs, places = Runs(), list[Place]()
        for head in layout.walk(stream, len(layout.MAGIC), layout.size_of(stream)):
            runs.add(head)
            if head.kind in (layout.SCHEMA, layout.CHANNEL) and head.whole:
                for record in _quietly(stream, head):
                    self._channels.add(record)
            elif head.kind in (layout.METADATA, layout.ATTACHMENT) and head.whole:
                self._extras.append(head)
            elif head.kind == layout.CHUNK:
                places.append(self._look_into(stream, head, counts))
        runs.settle()
        for place in runs.places:
            self._look_into(stream, Record(layout.MESSAGE, place.at, place.size, True), counts)
        self._places = sorted([*runs.places, *places], key=lambda place: place.at)
        self._channels.counted = counts

    def _look_into(self, stream: IO[bytes], head: Record, counts: dict[int, int]) -> Place:
        """Count the messages of a place, and learn its channels; `stored` reports the damage."""
        place = Place(head.time_ns or 0, head.at, head.size, head.kind == layout.CHUNK, head.whole)
        start_ns: int | None = None
        for message in self._read(stream, place, Damage()):
            counts[message.channel_id] = counts.get(message.channel_id, 0) + 1
            start_ns = message.log_time if start_ns is None else min(start_ns, message.log_time)
        return place if start_ns is None else place._replace(start_ns=start_ns)

    def _read_about(self, stream: IO[bytes]) -> About:
        """Return what the last metadata record of rosbag2 says."""
        about = About()
        for head in self._extras:
            for record in _quietly(stream, head) if head.kind == layout.METADATA else ():
                if isinstance(record, MetadataRecord) and record.name == EMBEDDED:
                    about = embedded_about(record.metadata.get("serialized_metadata", ""))
        return about


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
            self._schemas.setdefault(record.id, record)
        elif isinstance(record, Channel) and record.id not in self.known:
            schema = self._schemas.get(record.schema_id)
            self.complete = self.complete and (schema is not None or not record.schema_id)
            metadata = dict(record.metadata)
            qos, type_hash = metadata.pop("offered_qos_profiles", ""), metadata.pop("topic_type_hash", "")
            self.known[record.id] = Topic(
                record.topic,
                schema.name if schema else "",
                encoding=record.message_encoding,
                qos=parse_qos(qos),
                type_hash=type_hash or None,
                definition=_definition(schema),
                metadata=tuple(sorted(metadata.items())),
            )

    def topics(self) -> list[Topic]:
        """Return a topic for each channel."""
        return [replace(topic, count=self.counted.get(number, 0)) for number, topic in self.known.items()]


def _place(chunk: ChunkIndex) -> Place:
    return Place(chunk.message_start_time, chunk.chunk_start_offset, chunk.chunk_length, is_chunk=True)


def _quietly(stream: IO[bytes], record: Record) -> list[Any]:
    """Return a record that is no message; none: it is damaged."""
    try:
        return layout.parsed(stream, record.at, record.size)
    except _DAMAGE:
        return []


def _definition(schema: Any) -> Definition | None:
    """Return the definition of a schema: one without data is of a type without fields, if it says its encoding."""
    if schema is None or not (schema.data or schema.encoding):
        return None
    return Definition.of_bytes(schema.name, schema.encoding, schema.data)


def _size_of(message: Message) -> int:
    return len(message.data) + _OBJECT_BYTES


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
