"""Writes a rosbag2 file of the MCAP storage, as Jazzy does, but for QoS in numbers, which Humble reads too."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer

from perf_inference._version import VERSION
from perf_inference.recording.bags.metadata import embedded_text
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.qos import format_qos

_CHUNK_BYTES = 4 << 20  # rosbag2's zstd_small; the index of the chunks is kept in memory until the end
_U64, _U32 = (1 << 64) - 1, (1 << 32) - 1


class McapWriter:
    """One `.mcap` file, in chunks packed with zstd."""

    def __init__(self, path: Path) -> None:
        self._stream = io.BufferedWriter(io.FileIO(path, "xb"))
        self._writer = Writer(self._stream, chunk_size=_CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library=f"perf_inference {VERSION}")
        self._schemas: dict[tuple[str, Definition | None], int] = {}
        self._channels: dict[tuple[str, str], int] = {}

    def add(self, topic: Topic) -> None:
        definition = topic.definition
        schema = (topic.type, definition)
        if schema not in self._schemas:
            encoding, text = (definition.encoding, definition.text) if definition is not None else ("", "")
            self._schemas[schema] = self._writer.register_schema(topic.type, encoding, text.encode())
        self._channels[topic.name, topic.type] = self._writer.register_channel(
            topic.name,
            topic.encoding,
            self._schemas[schema],
            {"offered_qos_profiles": format_qos(topic.qos), "topic_type_hash": topic.type_hash or ""},
        )

    def write(self, topic: Topic, message: BagMessage) -> None:
        self._writer.add_message(
            self._channels[topic.name, topic.type],
            message.t_ns & _U64,  # a time before 1970 as rosbag2 writes it
            message.data,
            (message.publish_ns or 0) & _U64,  # 0: not known
            (message.publish_seq or 0) & _U32,
        )

    def close(self, about: dict[str, Any]) -> None:
        self._writer.flush()  # metadata is no part of a chunk
        self._writer.add_metadata("rosbag2", {"serialized_metadata": embedded_text(about)})
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abort(self) -> None:
        self._stream.raw.close()  # what is buffered goes nowhere
