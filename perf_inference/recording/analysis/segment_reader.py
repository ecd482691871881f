"""Reads a segment of topics for its figures, and goes on where it stopped while it grows."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from perf_inference.errors import RecordingError
from perf_inference.measure.stamps import source_latency_ns
from perf_inference.recording.analysis.analysis import LineCounts
from perf_inference.recording.analysis.figures import Figures
from perf_inference.recording.analysis.growing_file import GrowingFile
from perf_inference.recording.analysis.topics import SegmentAnalysis, TopicAnalysis
from perf_inference.recording.jsonl.line import LineError, unsealed
from perf_inference.recording.jsonl.text_file import CutError, stretches

_NUMBERS = range(-(1 << 63), 1 << 64)  # of 64 bits, with sign or without: MCAP's times have none
_MAX_TOPICS = 10_000


class SegmentReader:
    """Reads one segment, and goes on where it stopped."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._file = GrowingFile(source)
        self._compressed = compressed_lines(source) if source.suffix == ".zst" else None
        self._topics: dict[str, _Topic] = {}
        self._lines = self._records = self._damaged = self._foreign = self._torn = 0
        self._others = 0  # lines of ours that are no message
        self._version, self._closed = 1, False
        self._first_seq: int | None = None
        self._seq: int | None = None
        self._missing = self._backwards = 0

    def poll(self, limit: int = 100_000) -> int:
        """Read the lines that have come, `limit` at most; return how many.

        Raises:
            RecordingError: the file cannot be read.
        """
        before = self._lines
        try:
            for line in islice(self._compressed if self._compressed is not None else self._file.lines(), limit):
                self._lines += 1
                self._take(line)
        except OSError as error:
            raise RecordingError(f"{self.source} cannot be read: {error.strerror}") from error
        return self._lines - before

    def finish(self) -> None:
        """Count what stands after the last newline: a line without its end is torn (docs/format.md)."""
        self._torn += bool(self._file.tail.strip())
        self._file.tail = b""

    def result(self) -> SegmentAnalysis:
        """Return what was read so far comes to."""
        topics = tuple(topic.result(name) for name, topic in sorted(self._topics.items()))
        times = [t for topic in self._topics.values() if topic.records for t in (topic.first_ns, topic.last_ns)]
        return SegmentAnalysis(
            source=self.source,
            version=self._version,
            lines=LineCounts(self._lines, self._records + self._others, self._damaged, self._foreign, self._torn),
            topics=topics,
            records=self._records,
            first_seq=self._first_seq,
            last_seq=self._seq,
            missing=self._missing,
            backwards=self._backwards,
            span_s=(max(times) - min(times)) / 1e9 if times else 0.0,
            closed=self._closed if self._version > 1 else None,
        )

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record = segment_record(line) if self._version == 1 else unsealed(line + b"\n")
        except LineError as error:
            self._damaged += not str(error).startswith("foreign")
            self._foreign += str(error).startswith("foreign")
            return
        kind = record.get("record")
        self._others += kind is not None
        if kind == "header":
            self._version = record["version"] if isinstance(record.get("version"), int) else self._version
            first = record.get("first_seq")
            self._seq = first - 1 if isinstance(first, int) and self._seq is None else self._seq
        elif kind == "footer":
            self._closed = True
        elif kind == "drops" and isinstance(record.get("count"), int):
            self._topic(record).dropped += record["count"]
        elif kind == "topic":
            self._topic(record)
        elif kind is None:
            self._message(record)

    def _message(self, record: Mapping[str, Any]) -> None:
        seq, t_ns, stamp_ns = record.get("seq"), record.get("t"), record.get("stamp")
        numbers = (seq, t_ns, 0 if stamp_ns is None else stamp_ns)
        fits = all(type(number) is int and number in _NUMBERS for number in numbers)
        if seq is None or t_ns is None or not fits or not isinstance(record.get("topic"), str):
            self._foreign += 1
            return
        if self._seq is not None:
            self._missing += max(0, seq - self._seq - 1)
            self._backwards += seq <= self._seq
        self._first_seq = seq if self._first_seq is None else self._first_seq
        self._seq = seq
        self._records += 1
        self._topic(record).add(t_ns, stamp_ns)

    def _topic(self, record: Mapping[str, Any]) -> _Topic:
        name = str(record.get("topic"))
        if name not in self._topics and len(self._topics) >= _MAX_TOPICS:
            name = "(others)"
        topic = self._topics.setdefault(name, _Topic())
        topic.type = str(record.get("type") or topic.type)
        return topic


class _Topic:
    """The messages of one topic, eight bytes each."""

    def __init__(self) -> None:
        self.type = ""
        self.records = self.dropped = self.unstamped = self.implausible = 0
        self.first_ns = self.last_ns = 0
        self._latencies_ns = array("q")

    def add(self, t_ns: int, stamp_ns: int | None) -> None:
        self.first_ns = min(self.first_ns, t_ns) if self.records else t_ns
        self.last_ns = max(self.last_ns, t_ns) if self.records else t_ns
        self.records += 1
        latency_ns = source_latency_ns(stamp_ns, t_ns)
        if latency_ns is not None:
            self._latencies_ns.append(latency_ns)
        elif stamp_ns:
            self.implausible += 1
        else:
            self.unstamped += 1

    def result(self, name: str) -> TopicAnalysis:
        span_ns = self.last_ns - self.first_ns
        return TopicAnalysis(
            name=name,
            type=self.type,
            records=self.records,
            dropped=self.dropped,
            hz=(self.records - 1) / (span_ns / 1e9) if span_ns > 0 else None,
            span_s=span_ns / 1e9,
            latency=Figures.of(np.array(self._latencies_ns, np.int64)),
            unstamped=self.unstamped,
            implausible=self.implausible,
        )


def segment_record(line: bytes) -> dict[str, Any]:
    """Return the record of a segment's line (without newline), also of one from before there were checksums.

    Raises:
        LineError: it is damaged or foreign.
    """
    if line[-18:].startswith(b',"crc":"'):
        return unsealed(line + b"\n")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(f"damaged: {error}") from error
    if not isinstance(record, dict):
        raise LineError("foreign: it is no JSON object")
    return record


def compressed_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a segment that was compressed, without their newline.

    Raises:
        RecordingError: it is not whole, or cannot be read.
    """
    try:
        for stretch in stretches(path):
            yield stretch.text.rstrip(b"\n")
    except CutError as error:
        raise RecordingError(f"{path}: {error}; 'perf-inference recover' brings out what lies before") from error
