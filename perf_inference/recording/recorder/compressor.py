"""Compresses closed segments with zstd while the recording goes on."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

import zstandard

from perf_inference.files.private import open_own
from perf_inference.recording.run_directory import packed

_CHUNK = 1 << 20
_NICE = 10
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Compressor:
    """A thread with low priority; what it has not finished when it is closed stays as it was."""

    def __init__(self) -> None:
        """Start it."""
        self.error = ""
        self._queue: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="compressor", daemon=True)
        self._thread.start()

    def add(self, path: Path) -> None:
        """Compress a file that is not written to any more, and remove it when the compressed one is on the disk."""
        self._queue.put(path)

    def close(self) -> None:
        """End at once."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (path := self._queue.get()) is not None and not self._closing:
            self._try(path)

    def _try(self, path: Path) -> None:
        try:
            self._compress(path)
        except OSError as error:
            self.error = f"{path} stays as it is, compression failed: {error.strerror}"

    def _compress(self, path: Path) -> None:
        whole = packed(path)
        partial = path.with_name(f".{whole.name}.part")
        try:
            with open(path, "rb") as source, open(open_own(partial, _NEW), "wb") as target:
                with zstandard.ZstdCompressor(write_checksum=True).stream_writer(target, closefd=False) as stream:
                    while chunk := source.read(_CHUNK):
                        if self._closing:
                            return
                        stream.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            os.replace(partial, whole)
            path.unlink()
        finally:
            partial.unlink(missing_ok=True)
