"""A rosbag2 file of the MCAP storage."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, SeekingReader

from perf_inference.errors import RecordingError
from perf_inference.recording.bag_file import BagMessage, Topic
from perf_inference.recording.qos import parse_qos

_DAMAGE = (McapError, OSError, struct.error, ValueError, EOFError)


class McapFile:
    """One `.mcap` file. Without an index (cut off by a crash) its messages come in the order of writing."""

    def __init__(self, path: Path) -> None:
        """Read the topics from the summary, or from the whole file where it has none.

        Raises:
            RecordingError: it is not an MCAP file.
        """
        self.path = path
        self._indexed = False
        self.topics: list[Topic] = []
        self.start_ns = 0
        try:
            with open(path, "rb") as stream:
                self._read_summary(stream)
        except _DAMAGE as error:
            raise RecordingError(f"{path} must be an MCAP file, but cannot be read as one: {_text(error)}") from error

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order.

        Raises:
            RecordingError: the file is damaged from here on.
        """
        return self._read(in_time_order=self._indexed)

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written.

        Raises:
            RecordingError: the file is damaged from here on.
        """
        return self._read(in_time_order=False)

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, in_time_order: bool) -> Iterator[BagMessage]:
        try:
            with open(self.path, "rb") as stream:
                for schema, channel, message in _iterate(stream, in_time_order):
                    kind = schema.name if schema else ""
                    yield BagMessage(
                        message.log_time,
                        channel.topic,
                        kind,
                        bytes(message.data),
                        message.publish_time,
                        message.sequence or None,
                    )
        except _DAMAGE as error:
            raise RecordingError(f"{self.path} is damaged or was cut off: {_text(error)}") from error

    def _read_summary(self, stream: IO[bytes]) -> None:
        reader = SeekingReader(stream)  # refuses what does not begin as an MCAP file
        try:
            summary = reader.get_summary()
        except _DAMAGE:  # the end is missing
            summary = None
        if summary is None or summary.statistics is None or not summary.chunk_indexes:
            self._scan()
            return
        self._indexed = True
        self.start_ns = summary.statistics.message_start_time
        counts = summary.statistics.channel_message_counts
        for channel in summary.channels.values():
            self._add(summary.schemas.get(channel.schema_id), channel, counts.get(channel.id, 0))

    def _scan(self) -> None:
        found: dict[int, tuple[Any, Any, int]] = {}
        try:
            with open(self.path, "rb") as stream:
                for schema, channel, message in _iterate(stream, in_time_order=False):
                    _, _, count = found.get(channel.id, (schema, channel, 0))
                    if not found:
                        self.start_ns = message.log_time
                    found[channel.id] = schema, channel, count + 1
        except _DAMAGE:
            pass  # what lies before the cut is good; `messages` reports the cut after it
        for schema, channel, count in found.values():
            self._add(schema, channel, count)

    def _add(self, schema: Any, channel: Any, count: int) -> None:
        qos = parse_qos(channel.metadata.get("offered_qos_profiles", ""))
        kind = schema.name if schema else ""
        self.topics.append(Topic(channel.topic, kind, count, channel.message_encoding, qos))


def _iterate(stream: IO[bytes], in_time_order: bool) -> Iterator[Any]:
    reader = SeekingReader(stream) if in_time_order else NonSeekingReader(stream)
    return iter(reader.iter_messages(log_time_order=in_time_order))


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
