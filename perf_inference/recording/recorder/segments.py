"""The segments `topics_<n>.jsonl` of one start of a recorder: one after the other, on the writer's thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from perf_inference.errors import RecordingError
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import BagMessage
from perf_inference.recording.recorder.line_file import LineFile
from perf_inference.recording.recorder.writer import Writer

_RETRY_NS = 1_000_000_000
_LEAST_NS = 1_000_000_000  # between two segments that requests begin


@dataclass(frozen=True)
class SegmentLimits:
    """When the next segment begins; 0: never."""

    max_bytes: int = 0
    max_s: float = 0.0


@dataclass
class _Dropped:
    count: int
    first_seq: int
    last_seq: int


class Segments:
    """Fills segments, each with what a reader needs to read it alone."""

    def __init__(
        self,
        writer: Writer,
        next_path: Callable[[], Path],
        about: Mapping[str, Any],
        limits: SegmentLimits = SegmentLimits(),
        durable: bool = False,
        closed: Callable[[Path], None] = lambda path: None,
        clocks: Clocks = CLOCKS,
    ) -> None:
        """Open the first one (on any thread, before the writer has work).

        Args:
            next_path: the path of a segment that is not there yet.
            about: host, software, parameters.
            closed: told of each segment but the last, when its last line has been handed to the kernel.

        Raises:
            RecordingError: it cannot be written.
        """
        self.count = 0
        self._writer, self._next_path, self._about, self._limits = writer, next_path, about, limits
        self._durable, self._closed, self._clocks = durable, closed, clocks
        self._start = uuid4().hex
        self._dropped: dict[Channel, _Dropped] = {}  # by the disk, not yet told
        self._retry_ns = 0
        self._asked_ns: int | None = None  # when a request began this segment
        self._file, self._segment = self._open(first_seq=1)

    @property
    def path(self) -> Path:
        """Of the segment that is being filled."""
        return self._file.path

    def message(self, channel: Channel, seq: int, message: BagMessage) -> None:
        """Write a message."""
        if not self._writer.takes():
            dropped = self._dropped.setdefault(channel, _Dropped(0, seq, seq))
            dropped.count, dropped.last_seq = dropped.count + 1, seq
            return
        if self._dropped:
            self._tell_dropped()
        self._writer.add(self._file, self._segment.message(channel, seq, message))
        self._records += 1
        if self._full():
            self.split(seq + 1)

    def drops(self, channel: Channel, count: int, first_seq: int, last_seq: int) -> None:
        """Write that messages were dropped before they got here."""
        self._file.add(self._segment.drops(channel.topic, count, first_seq, last_seq, "queue"))

    def split_on_request(self, next_seq: int) -> str:
        """Close this segment and begin the next one; return why not, or nothing.

        Whoever asks again and again gets no file for each time: an empty segment goes on, and so does one that has
        been begun by a request just now.
        """
        now_ns = self._clocks.monotonic_ns()
        if not self._records:
            return f"nothing to split: {self.path} has no message yet"
        if self._asked_ns is not None and now_ns - self._asked_ns < _LEAST_NS:
            return f"{self.path} was begun by a request less than {_LEAST_NS / 1e9:g} s ago"
        if not self.split(next_seq):
            return f"the next file cannot be opened after {self.path}"
        self._asked_ns = now_ns
        return ""

    def split(self, next_seq: int) -> bool:
        """Close this segment and begin the next one; False where that cannot be: it goes on for a while."""
        try:
            file, segment = self._open(next_seq)
        except (RecordingError, OSError):
            self._retry_ns = self._clocks.monotonic_ns() + _RETRY_NS
            return False
        self._end()
        self._writer.retire(self._file, self._closed)
        self._file, self._segment = file, segment
        return True

    def close(self) -> None:
        """End the last segment."""
        self._end()
        self._writer.retire(self._file)

    def _open(self, first_seq: int) -> tuple[LineFile, Segment]:
        file = self._writer.open(self._next_path(), self._durable)
        self.count += 1
        segment = Segment(self._start, self.count, first_seq, self._about, self._clocks)
        self._begun_ns, self._records = self._clocks.monotonic_ns(), 0
        file.add(segment.header())
        return file, segment

    def _end(self) -> None:
        self._tell_dropped()
        self._file.add(self._segment.footer())

    def _tell_dropped(self) -> None:
        for channel, dropped in self._dropped.items():
            line = self._segment.drops(channel.topic, dropped.count, dropped.first_seq, dropped.last_seq, "disk")
            self._file.add(line)
        self._dropped.clear()

    def _full(self) -> bool:
        now_ns = self._clocks.monotonic_ns()
        limits = self._limits
        full = 0 < limits.max_bytes <= self._file.size or 0 < limits.max_s * 1e9 <= now_ns - self._begun_ns
        return full and now_ns >= self._retry_ns
