"""A file that grows by whole lines."""

from __future__ import annotations

import os
from pathlib import Path

from perf_inference.errors import RecordingError
from perf_inference.files.private import open_own

_BLOCK = 1 << 16


class LineFile:
    """Keeps lines until they are saved; then they are the kernel's, or with `durable` the disk's."""

    def __init__(self, path: Path, durable: bool = False) -> None:
        """Open for appending; what a crash left of a torn last line is cut off.

        Raises:
            RecordingError: the file cannot be opened or written.
        """
        self.path = path
        self.records = 0  # not yet saved
        self._durable = durable
        self._pending = bytearray()
        self._unsynced = 0  # bytes that the kernel has and the disk may not have
        try:
            self._fd = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            self.size = _cut_torn_line(self._fd)
            if durable:
                _sync_directory(path.parent)
        except OSError as error:
            raise RecordingError(f"{path} must be a file that can be written: {error.strerror}") from error

    @property
    def unsaved_bytes(self) -> int:
        return len(self._pending)

    def add(self, lines: bytes, records: int = 0) -> None:
        """Take lines, each ended by a newline; `records` of them count."""
        self._pending += lines
        self.size += len(lines)
        self.records += records

    def save(self) -> tuple[int, int]:
        """Save all lines; return how many records and bytes that were.

        After an OSError nothing of it counts as saved, and the next call goes on where this one stopped.
        """
        while self._pending:
            done = os.write(self._fd, self._pending)
            del self._pending[:done]
            self._unsynced += done
        if self._durable and self._unsynced:
            os.fdatasync(self._fd)
        saved = self.records, self._unsynced
        self.records = self._unsynced = 0
        return saved

    def close(self) -> None:
        """Close the file; what is not saved is lost."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _cut_torn_line(fd: int) -> int:
    """Return the file's size after it."""
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
    return end


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
