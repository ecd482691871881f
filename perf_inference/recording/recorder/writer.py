"""Runs the formatting and writing of records on a thread of its own.

Whoever has a record hands over a function and its arguments, which costs a microsecond; decoding, formatting and
writing happen here, in the order of hand-over. The queue is bounded in records and bytes: what does not fit is refused,
for the caller to count. Lines are saved every `save_every` records or `save_period_s`, whichever comes first, so that
`kill -9` loses no more than that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.recording.recorder.line_file import LineFile

_MAX_UNSAVED_BYTES = 8 << 20  # kept while the disk refuses them
_ALWAYS = 1000  # places in the queue for what is no message


@dataclass(frozen=True)
class WriterCounts:
    """What became of the records so far."""

    records: int  # saved: handed to the kernel, or to the disk
    bytes: int
    waiting: int  # in the queue, or formatted and not yet saved
    dropped: int  # refused since the queue was full, or the disk did not take them for too long
    failed: int  # could not be formatted
    error: str  # of the disk, now; empty: it takes records
    last_error: str


class Writer:
    """The writer thread; one other thread hands over."""

    def __init__(
        self,
        save_every: int = 10,
        save_period_s: float = 1.0,
        queue_size: int = 10_000,
        queue_bytes: int = 64 << 20,
        problem: Callable[[], str] = lambda: "",
        saved: Callable[[int], None] = lambda records: None,
        clocks: Clocks = CLOCKS,
    ) -> None:
        """Start it.

        Args:
            problem: asked once a period; while it returns something, nothing is written.
            saved: is told the number of records of each save. Both are called on the writer's thread.
        """
        self._save_every, self._period_ns = save_every, round(save_period_s * 1e9)
        self._size, self._size_bytes = queue_size, queue_bytes
        self._problem, self._saved, self._clocks = problem, saved, clocks
        self._queue: deque[tuple[Callable[..., Any], tuple[Any, ...], int]] = deque()
        # No lock: each counter has one thread that changes it, and the queue's ends are atomic.
        self._bytes_in = self._bytes_out = self._refused = 0
        self._records = self._bytes = self._dropped = self._failed = self._unsaved = 0
        self._wake = threading.Event()
        self._files: list[LineFile] = []
        self._retired: list[tuple[LineFile, Callable[[Path], None]]] = []
        self._error = self._last_error = ""
        self._closing = False
        self._saved_ns = clocks.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, work: Callable[..., Any], *args: Any, size_bytes: int = 0) -> bool:
        """Queue a record: `work(*args)` will make its line and `add` it; False when there was no room."""
        queue = self._queue
        held_bytes = self._bytes_in - self._bytes_out
        if len(queue) >= self._size or (held_bytes and held_bytes + size_bytes > self._size_bytes) or self._closing:
            self._refused += 1
            return False
        self._bytes_in += size_bytes
        queue.append((work, args, size_bytes))
        if len(queue) >= self._save_every and not self._wake.is_set():
            self._wake.set()
        return True

    def call(self, work: Callable[..., Any], *args: Any) -> bool:
        """Queue what is no message, in order with the messages; it finds room where they do not."""
        if len(self._queue) >= self._size + _ALWAYS or self._closing:
            self._refused += 1
            return False
        self._queue.append((work, args, 0))
        if len(self._queue) >= self._save_every:
            self._wake.set()
        return True

    def wake(self) -> None:
        """Have what is queued done now."""
        self._wake.set()

    def counts(self) -> WriterCounts:
        """Return the counters as of now."""
        return WriterCounts(
            records=self._records,
            bytes=self._bytes,
            waiting=len(self._queue) + self._unsaved,
            dropped=self._refused + self._dropped,
            failed=self._failed,
            error=self._error,
            last_error=self._last_error,
        )

    def close(self, last: Callable[[], Any] = lambda: None) -> WriterCounts:
        """Write everything that was put and what `last` adds, close the files, end the thread; return the counts."""
        self._queue.append((last, (), 0))
        self._closing = True
        self._wake.set()
        self._thread.join()
        return self.counts()

    # What follows is for work, on the writer's thread.

    def open(self, path: Path, durable: bool = False) -> LineFile:
        """Open a file whose lines are saved with those of the others.

        Raises:
            RecordingError: it cannot be written.
        """
        file = LineFile(path, durable)
        self._files.append(file)
        return file

    def takes(self) -> bool:
        """Return whether a line can be added; if not, the disk has refused for long, and the record is dropped."""
        if self._error and sum(file.unsaved_bytes for file in self._files) > _MAX_UNSAVED_BYTES:
            self._dropped += 1
            return False
        return True

    def add(self, file: LineFile, line: bytes) -> None:
        """Add the line of one record, and what goes with it; it is saved with the next ones."""
        file.add(line, records=1)
        self._unsaved += 1
        if self._unsaved >= self._save_every and not self._error:  # a disk that refuses is asked again once a period
            self._save()

    def retire(self, file: LineFile, closed: Callable[[Path], None] = lambda path: None) -> None:
        """Save and close a file that gets no more lines; where the disk refuses them, as soon as it takes them."""
        self._retired.append((file, closed))
        self._save()

    def _run(self) -> None:
        while True:
            left_ns = self._saved_ns + self._period_ns - self._clocks.monotonic_ns()
            self._wake.wait(max(0, left_ns) / 1e9)
            self._wake.clear()
            closing = self._closing  # read before the queue: what was put earlier is in it
            self._drain()
            if closing or self._due():
                self._save()
            if closing:
                break
        for file in self._files:
            file.close()
        self._dropped += self._unsaved
        self._unsaved = 0

    def _drain(self) -> None:
        while self._queue:
            if self._due():
                self._save()
            work, args, size_bytes = self._queue.popleft()
            try:
                work(*args)
            except OSError as error:  # of a summary: the disk
                self._error = self._last_error = str(error)
            except Exception as error:  # one bad record must not end the thread
                self._failed += 1
                self._last_error = f"a record could not be formatted: {type(error).__name__}: {error}"
            self._bytes_out += size_bytes

    def _due(self) -> bool:
        return self._clocks.monotonic_ns() >= self._saved_ns + self._period_ns

    def _save(self) -> None:
        error = ""
        if self._due() or self._error:
            self._saved_ns = self._clocks.monotonic_ns()
            error = "" if self._closing else self._problem()
        records = 0
        for file in [] if error else self._files:
            try:
                saved, saved_bytes = file.save()
            except OSError as reason:
                error = f"{file.path} cannot be written: {reason.strerror}"
                continue
            self._unsaved -= saved
            self._records += saved
            self._bytes += saved_bytes
            records += saved
        if self._retired:
            self._close_retired()
        self._error = error
        self._last_error = error or self._last_error
        if records:
            self._saved(records)

    def _close_retired(self) -> None:
        for entry in [entry for entry in self._retired if not entry[0].unsaved_bytes]:
            self._retired.remove(entry)
            file, closed = entry
            self._files.remove(file)
            file.close()
            closed(file.path)
