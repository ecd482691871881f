"""Writes a recording as JSON lines (docs/format.md)."""

from __future__ import annotations

import io
import os
import uuid
from pathlib import Path
from typing import Any

from perf_inference._version import VERSION, installed
from perf_inference.errors import RecordingError
from perf_inference.recording.cdr.codec import Codec, Decoded
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic, TopicKey
from perf_inference.telemetry.host import describe_host

_BUFFER_BYTES = 1 << 20


class JsonlWriter:
    """One `.jsonl` file: a segment of its own."""

    def __init__(self, path: Path, source: About | None = None) -> None:
        """Make the file; `source` is what the recording says of itself that is written."""
        self.lost: list[str] = []
        self.refused = 0  # messages that are not what their type says
        self.inexact = 0  # messages that are kept serialized too: their fields alone would not give the bytes back
        self.undecoded = 0  # messages of types that are not known here
        self._stream = io.BufferedWriter(io.FileIO(path, "xb"), _BUFFER_BYTES)
        software = {"perf_inference": VERSION, "rosbags": installed("rosbags")}
        about: dict[str, Any] = {"host": describe_host(), "software": software, "parameters": {}}
        if source is not None and (source.ros_distro or source.custom_data):
            about["rosbag2"] = {"ros_distro": source.ros_distro, "custom_data": dict(source.custom_data)}
        self._segment = Segment(start=uuid.uuid4().hex, number=1, first_seq=1, about=about)
        self._channels: dict[TopicKey, tuple[Channel, _Counting | None]] = {}
        self._stream.write(self._segment.header())

    def add(self, topic: Topic) -> None:
        codec = _codec(topic)
        self._channels[topic.key] = Channel(topic, codec), codec
        self._stream.write(self._segment.topic(topic))

    def extra(self, extra: Note | Attachment) -> None:
        self.lost.append(f"{extra}: JSON lines have no place for it")

    def write(self, topic: Topic, message: BagMessage) -> None:
        channel, codec = self._channels[topic.key]
        self._stream.write(self._segment.message(channel, self._segment.records + 1, message))
        if codec is None:
            self.undecoded += 1
        else:
            self.refused += codec.refused
            self.inexact += codec.inexact

    def close(self, about: dict[str, Any]) -> None:
        self._stream.write(self._segment.footer())
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abort(self) -> None:
        self._stream.raw.close()  # what is buffered goes nowhere


class _Counting(Codec):
    """Tells what became of the message before."""

    refused = inexact = False

    def decode(self, data: bytes) -> Decoded:
        self.refused, self.inexact = True, False
        decoded = super().decode(data)
        self.refused, self.inexact = False, not decoded.exact
        return decoded


def _codec(topic: Topic) -> _Counting | None:
    if topic.definition is None or topic.encoding != "cdr":
        return None
    try:
        return _Counting(topic.definition)
    except RecordingError:  # kept serialized, and counted as such
        return None
