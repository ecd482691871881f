"""Append records to files as JSON lines, on a thread of its own.

Whoever has a record hands over a function and its arguments, which costs a microsecond; decoding, formatting and
writing happen here. The queue is bounded: what does not fit is dropped and counted. Lines are handed to the kernel
every `save_every` records or `save_period_s`, whichever comes first, so that `kill -9` loses no more than that.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from perf_inference.errors import RecordingError
from perf_inference.measure.clocks import CLOCKS, Clocks

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
_MAX_UNSAVED_BYTES = 8 << 20  # kept while the disk refuses them
_BLOCK = 1 << 16


@dataclass(frozen=True)
class WriterCounts:
    """What became of the records so far."""

    records: int  # handed to the kernel
    bytes: int
    waiting: int  # in the queue, or formatted and not yet handed over
    dropped: int  # the queue was full, or the disk refused for too long
    failed: int  # could not be decoded or formatted
    error: str  # of the disk, now; empty: it takes records
    last_error: str


class LineFile:
    """A file that grows by whole lines."""

    def __init__(self, path: Path) -> None:
        """Open for appending; what a crash left of a torn last line is cut off.

        Raises:
            RecordingError: the file cannot be opened or written.
        """
        self.path = path
        self.lines = 0  # not yet handed to the kernel
        self._pending = bytearray()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _cut_torn_line(self._fd)
        except OSError as error:
            raise RecordingError(f"{path} must be a file that can be written: {error.strerror}") from error

    @property
    def unsaved_bytes(self) -> int:
        return len(self._pending)

    def add(self, line: bytes) -> None:
        """Take a line that ends with a newline."""
        self._pending += line
        self.lines += 1

    def save(self) -> tuple[int, int]:
        """Hand all lines to the kernel; return (lines, bytes). After an OSError, the next call goes on there."""
        written = len(self._pending)
        while self._pending:
            done = os.write(self._fd, self._pending)
            del self._pending[:done]
        lines, self.lines = self.lines, 0
        return lines, written

    def close(self) -> None:
        """Close the file; what is not saved is lost."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Writer:
    """The writer thread."""

    def __init__(
        self,
        save_every: int = 10,
        save_period_s: float = 1.0,
        queue_size: int = 10_000,
        saved: Callable[[int], None] = lambda records: None,
        clocks: Clocks = CLOCKS,
    ) -> None:
        """Start it; `saved` is told the number of records of each save, on the writer's thread."""
        self._save_every, self._period_ns, self._size = save_every, round(save_period_s * 1e9), queue_size
        self._saved, self._clocks = saved, clocks
        self._queue: deque[tuple[LineFile | None, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._files: list[LineFile] = []
        self._records = self._bytes = self._dropped = self._failed = self._unsaved = 0
        self._error = self._last_error = ""
        self._closing = False
        self._saved_ns = clocks.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, file: LineFile | None, render: Callable[..., Any], *args: Any) -> bool:
        """Queue the line that `render(*args)` will return (None: no line); False when it was dropped.

        With no file, `render` is only called, in order with the records; such calls find room where records do not.
        """
        limit = self._size if file is not None else 2 * self._size
        with self._lock:
            if self._closing or len(self._queue) >= limit:
                self._dropped += 1
                return False
            self._queue.append((file, render, args))
            if len(self._queue) >= self._save_every:
                self._wake.set()
        return True

    def retire(self, file: LineFile) -> None:
        """Save and close a file after the records that were put before."""
        self.put(None, self._retire, file)

    def counts(self) -> WriterCounts:
        """Return the counters as of now."""
        with self._lock:
            return WriterCounts(
                records=self._records,
                bytes=self._bytes,
                waiting=len(self._queue) + self._unsaved,
                dropped=self._dropped,
                failed=self._failed,
                error=self._error,
                last_error=self._last_error,
            )

    def close(self) -> WriterCounts:
        """Write everything that was put, close the files and end the thread; return the final counts."""
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join()
        return self.counts()

    def _run(self) -> None:
        while True:
            left_ns = self._saved_ns + self._period_ns - self._clocks.monotonic_ns()
            self._wake.wait(max(0, left_ns) / 1e9)
            self._wake.clear()
            closing = self._closing  # read before the queue: what was put earlier is in it
            self._drain()
            if closing or self._clocks.monotonic_ns() >= self._saved_ns + self._period_ns:
                self._save()
            if closing:
                break
        for file in self._files:
            file.close()
        with self._lock:
            self._dropped += self._unsaved
            self._unsaved = 0

    def _drain(self) -> None:
        while self._queue:
            if self._clocks.monotonic_ns() >= self._saved_ns + self._period_ns:
                self._save()
            with self._lock:
                file, render, args = self._queue.popleft()
            try:
                record = render(*args)
                if file is not None and record is not None:
                    self.write(file, record)
            except OSError as error:  # of a summary: the disk
                self._error = self._last_error = str(error)
            except Exception as error:  # one bad record must not end the thread
                self._count(failed=1)
                self._last_error = f"a record could not be formatted: {type(error).__name__}: {error}"

    def write(self, file: LineFile, record: Mapping[str, Any]) -> None:
        """Add a line at once; for a `render` that makes several (on the writer's thread)."""
        line = orjson.dumps(record, option=_OPTIONS)
        if file not in self._files:
            self._files.append(file)
        if self._error and sum(f.unsaved_bytes for f in self._files) > _MAX_UNSAVED_BYTES:
            self._count(dropped=1)
            return
        file.add(line)
        self._count(unsaved=1)
        if self._unsaved >= self._save_every and not self._error:  # a disk that refuses is asked again once a period
            self._save()

    def _retire(self, file: LineFile) -> None:
        self._save()
        if file in self._files and not file.lines:
            self._files.remove(file)
        if not file.lines:  # else the disk refuses them: it stays open until they are out
            file.close()

    def _save(self) -> None:
        self._saved_ns = self._clocks.monotonic_ns()
        records = 0
        error = ""
        for file in self._files:
            try:
                lines, written = file.save()
            except OSError as reason:
                error = f"{file.path} cannot be written: {reason.strerror}"
                continue
            self._count(unsaved=-lines, records=lines, bytes=written)
            records += lines
        self._error = error
        self._last_error = error or self._last_error
        if records:
            self._saved(records)

    def _count(self, unsaved: int = 0, records: int = 0, bytes: int = 0, dropped: int = 0, failed: int = 0) -> None:  # noqa: A002
        with self._lock:
            self._unsaved += unsaved
            self._records += records
            self._bytes += bytes
            self._dropped += dropped
            self._failed += failed


def _cut_torn_line(fd: int) -> None:
    size = end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)
