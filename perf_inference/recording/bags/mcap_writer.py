"""Writes a rosbag2 file of the MCAP storage, as Jazzy does, but for QoS in numbers, which Humble reads too."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer

from perf_inference._version import VERSION
from perf_inference.recording.bags.metadata import EMBEDDED, embedded_text
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.message import Attachment, BagMessage, Note, Topic, TopicKey
from perf_inference.recording.qos import format_qos

_CHUNK_BYTES = 4 << 20  # rosbag2's zstd_small; the index of the chunks is kept in memory until the end
_NO_SCHEMA = 0
_U64, _U32 = (1 << 64) - 1, (1 << 32) - 1
_SEQUENCES = range(1 << 32)


class McapWriter:
    """One `.mcap` file, in chunks packed with zstd."""

    def __init__(self, path: Path) -> None:
        self._stream = io.BufferedWriter(io.FileIO(path, "xb"))
        self._writer = Writer(self._stream, chunk_size=_CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library=f"perf_inference {VERSION}")
        self.lost: list[str] = []
        self._schemas: dict[tuple[str, Definition | None], int] = {}
        self._channels: dict[TopicKey, int] = {}
        self._before = self._long = 0  # messages of before 1970; with numbers beyond 32 bits

    def add(self, topic: Topic) -> None:
        definition = topic.definition
        schema = (topic.type, definition)
        if schema not in self._schemas:
            encoding, data = (definition.encoding, definition.data) if definition is not None else ("", b"")
            known = definition is not None or topic.type
            self._schemas[schema] = self._writer.register_schema(topic.type, encoding, data) if known else _NO_SCHEMA
        about = {"offered_qos_profiles": format_qos(topic.qos), "topic_type_hash": topic.type_hash or ""}
        self._channels[topic.key] = self._writer.register_channel(
            topic.name, topic.encoding, self._schemas[schema], {**about, **dict(topic.metadata)}
        )

    def extra(self, extra: Note | Attachment) -> None:
        self._writer.flush()  # it is no part of a chunk
        if isinstance(extra, Note):
            self._writer.add_metadata(extra.name, dict(extra.values))
        else:
            self._writer.add_attachment(extra.create_ns, extra.log_ns, extra.name, extra.media_type, extra.data)

    def write(self, topic: Topic, message: BagMessage) -> None:
        self._before += message.t_ns < 0 or (message.publish_ns or 0) < 0
        self._long += (message.publish_seq or 0) not in _SEQUENCES
        self._writer.add_message(
            self._channels[topic.key],
            message.t_ns & _U64,  # a time before 1970 as rosbag2 writes it
            message.data,
            (message.publish_ns or 0) & _U64,  # 0: not known
            (message.publish_seq or 0) & _U32,
        )

    def close(self, about: dict[str, Any]) -> None:
        if self._before:
            self.lost.append(f"the times of {self._before} messages: MCAP has none before 1970")
        if self._long:
            self.lost.append(f"the sequence numbers of {self._long} messages: MCAP has 32 bits")
        self._writer.flush()  # metadata is no part of a chunk
        self._writer.add_metadata(EMBEDDED, {"serialized_metadata": embedded_text(about)})
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abort(self) -> None:
        self._stream.raw.close()  # what is buffered goes nowhere
