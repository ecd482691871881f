"""A segment of a recording as JSON lines (docs/format.md), plain or within zstd."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.jsonl.by_time import Line, lines, lines_by_time
from perf_inference.recording.jsonl.head import contents, head
from perf_inference.recording.jsonl.pieces import CUT, DAMAGED, FOREIGN, TORN, Piece, pieces
from perf_inference.recording.jsonl.topic_records import TopicRecords, topic_of
from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic, TopicKey

_WORDS = {TORN: "torn", DAMAGED: "damaged", FOREIGN: "foreign"}


class JsonlFile:
    """One `.jsonl` or `.jsonl.zst` file; what is not whole in it is skipped and told by `problems`."""

    def __init__(self, path: Path) -> None:
        """Read the topics: all lines are looked at, no message is decoded.

        Raises:
            RecordingError: it is empty, or no line of it is ours.
        """
        self.path = path
        self.topics: list[Topic] = []
        self.start_ns = 0
        self.about = About()
        self._sorted = True
        self._faults: dict[str, tuple[int, Piece]] = {}
        self._lost: dict[str, int] = {}  # messages without their topic record, by topic
        self._refused: dict[str, int] = {}
        self._codecs: dict[Topic, Codec | str] = {}  # or why there is none
        try:
            if path.stat().st_size == 0:
                raise RecordingError(f"{path} must be a recording, but is empty")
        except OSError as error:
            raise RecordingError(f"{path} must be a file that can be read: {error.strerror}") from error
        self._scan()

    def problems(self) -> list[str]:
        """Return a sentence about each kind of lines and messages that are skipped."""
        said = [_sentence(fault, count, first) for fault, (count, first) in self._faults.items()]
        said += [f"{count} messages of {topic} whose topic record is lost" for topic, count in self._lost.items()]
        return said + [f"{count} messages that cannot be read: {why}" for why, count in self._refused.items()]

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages by log time, those of one moment as they were written."""
        return self._messages(lines(self.path) if self._sorted else lines_by_time(self.path))

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written."""
        return self._messages(lines(self.path))

    def _messages(self, found: Iterator[Line]) -> Iterator[BagMessage]:
        self._refused.clear()
        for line in found:
            record = contents(line.text)
            try:
                data = self._data(line.topic, record)
            except InputError as error:
                self._refused[str(error)] = self._refused.get(str(error), 0) + 1
                continue
            publish_ns, publish_seq = (
                number if type(number := record.get(key)) is int else None for key in ("publish_t", "publish_seq")
            )
            yield BagMessage(line.t_ns, line.topic.name, line.topic.type, data, publish_ns, publish_seq, line.topic)

    def extras(self) -> Iterator[Note | Attachment]:
        """Yield nothing: there is no more in it."""
        yield from ()

    def remarks(self) -> list[str]:
        """Return nothing: what is odd about it is among the problems."""
        return []

    def close(self) -> None:
        """Nothing is held open."""

    def _scan(self) -> None:
        records, found = TopicRecords(), dict[TopicKey, Topic]()
        counts: dict[TopicKey, int] = {}
        ours, newest_ns, oldest_ns = 0, -(1 << 63), 1 << 64
        for piece in pieces(self.path):
            about = None if piece.fault else head(piece.line)
            if about is None:
                self._count_fault(piece)
                continue
            ours += 1
            topic = records.follow(about)
            if about.record is not None:
                if about.kind == "topic":
                    _add(found, topic_of(about.record))
                elif about.kind == "header":
                    self.about = _about(about.record) or self.about
            elif topic is None:
                self._lost[about.topic] = self._lost.get(about.topic, 0) + 1
            else:
                counts[topic.key] = counts.get(topic.key, 0) + 1
                oldest_ns = min(oldest_ns, about.t_ns)
                self._sorted = self._sorted and about.t_ns >= newest_ns
                newest_ns = max(newest_ns, about.t_ns)
        if not ours:
            told = ", ".join(self.problems()) or "no line"
            raise RecordingError(f"{self.path} must be a recording, but no line of it is one of recorder_node: {told}")
        self.topics = [replace(topic, count=counts.get(key, 0)) for key, topic in found.items()]
        self.start_ns = oldest_ns if counts else 0

    def _count_fault(self, piece: Piece) -> None:
        fault = piece.fault or FOREIGN  # a checksum that fits, and a record that the format does not know
        count, first = self._faults.get(fault, (0, piece))
        self._faults[fault] = count + piece.counts, first

    def _data(self, topic: Topic, record: Mapping[str, Any]) -> bytes:
        """Return the serialized message.

        Raises:
            InputError: there is none, and none can be made.
        """
        cdr, message = record.get("cdr"), record.get("message")
        if isinstance(cdr, str):
            try:
                return b64decode(cdr, validate=True)
            except ValueError as error:
                raise InputError(f"{topic.name}: cdr must be base64: {error}") from error
        if not isinstance(message, dict):
            raise InputError(f"{topic.name}: a line must have message or cdr, but has none")
        codec = self._codec(topic)
        if isinstance(codec, str):
            raise InputError(codec)
        return codec.encode(message)

    def _codec(self, topic: Topic) -> Codec | str:
        """Return what encodes the messages of a topic, or why nothing does."""
        if topic not in self._codecs:
            definition = topic.definition or builtin_definition(topic.type)
            try:
                self._codecs[topic] = (
                    f"{topic.name} has no definition of {topic.type}" if definition is None else Codec(definition)
                )
            except RecordingError as error:
                self._codecs[topic] = f"{topic.name}: {error}"
        return self._codecs[topic]


def _add(found: dict[TopicKey, Topic], topic: Topic) -> None:
    """Add a topic, or what its earlier records did not know."""
    known = found.setdefault(topic.key, topic)
    found[topic.key] = replace(known, qos=known.qos or topic.qos, type_hash=known.type_hash or topic.type_hash)


def _about(header: Mapping[str, Any]) -> About | None:
    """Return what the rosbag that was converted said of itself; None: it was none."""
    given = header.get("rosbag2")
    if not isinstance(given, dict):
        return None
    distro, custom = given.get("ros_distro"), given.get("custom_data")
    values = custom.items() if isinstance(custom, dict) else ()
    return About(distro if isinstance(distro, str) else "", {str(key): str(value) for key, value in values})


def _sentence(fault: str, count: int, first: Piece) -> str:
    if fault == CUT:
        return first.line.decode()
    shown = f": {first.line[:60]!r}" if fault == FOREIGN else ""
    return f"{count} {_WORDS[fault]} line{'' if count == 1 else 's'} (the first at byte {first.at}{shown})"
