"""A file of a recording that was packed as a whole with zstd."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import zstandard

from perf_inference.errors import RecordingError
from perf_inference.recording.message import BagFile, BagMessage

_MOST_BYTES, _MOST_TIMES = 1 << 28, 1000  # that it unpacks to, and of its own size: more is made to fill a disk


class PackedFile:
    """One `.mcap.zstd` or `.db3.zstd`, unpacked into a temporary copy as long as it is open."""

    def __init__(self, path: Path, open_file: Callable[[Path, Path], BagFile]) -> None:
        """Unpack; `open_file` is called with the path and the copy.

        Raises:
            RecordingError: it is damaged before anything can be read, or there is no room for the copy.
        """
        self.path = path
        self._damage = ""
        self._copy = tempfile.TemporaryDirectory(prefix="perf_inference_")
        copy = Path(self._copy.name, path.stem)
        try:
            with open(path, "rb") as source, open(copy, "wb") as sink:
                try:
                    self._damage = _unpack(source, sink)
                except zstandard.ZstdError as error:
                    self._damage = str(error)
            self._file = open_file(path, copy)
        except OSError as error:
            self.close()
            raise RecordingError(f"{path} cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}") from error
        except RecordingError as error:
            self.close()
            if self._damage:
                raise RecordingError(f"{path} must be packed with zstd, but: {self._damage}") from error
            raise
        self.topics, self.start_ns = self._file.topics, self._file.start_ns

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order."""
        yield from self._file.messages()
        self._raise_damage()

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written."""
        yield from self._file.stored()
        self._raise_damage()

    def close(self) -> None:
        """Remove the copy."""
        self._copy.cleanup()

    def _raise_damage(self) -> None:
        if self._damage:
            raise RecordingError(f"{self.path} is damaged or was cut off: {self._damage}")


def _unpack(source: IO[bytes], sink: IO[bytes]) -> str:
    """Copy what is within; return why not all of it, if so."""
    left = max(_MOST_BYTES, _MOST_TIMES * os.fstat(source.fileno()).st_size)
    for chunk in zstandard.ZstdDecompressor().read_to_iter(source):
        left -= len(chunk)
        if left < 0:
            return f"it unpacks to more than {_MOST_TIMES} times its own size"
        sink.write(chunk)
    return ""
