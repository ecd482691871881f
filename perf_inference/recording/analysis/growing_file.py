"""A file of lines that may still be growing, may be replaced meanwhile, and may hold anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from perf_inference.files.regular import open_regular

_BLOCK = 1 << 20
_MAX_LINE_BYTES = 256 << 20  # what has no line end for so long is no text file


class GrowingFile:
    """Reads on from where it stopped; only what a newline ends is a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tail = b""  # what stood after the last newline when the end was reached
        self.overlong = 0  # lines that were too long to be kept
        self._offset = 0
        self._skipping = False  # the rest of a line that is too long
        self._identity: tuple[int, int] | None = None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that have come since the last call, without their newline.

        A file that was replaced or cut is read again from its beginning: whoever counts must know a line that comes
        twice. One that is not there (yet, or any more) has no lines.

        Raises:
            OSError: it is there, and cannot be read.
        """
        try:
            file = open_regular(self.path, buffering=0)
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            identity = status.st_dev, status.st_ino
            if identity != self._identity or status.st_size < self._offset:
                self._identity, self._offset, self._skipping = identity, 0, False
            file.seek(self._offset)
            rest = b""
            while block := file.read(_BLOCK):
                *complete, rest = (rest + block).split(b"\n")
                for line in complete:
                    self._offset += len(line) + 1
                    if self._skipping:
                        self._skipping = False
                    else:
                        yield line
                if len(rest) > _MAX_LINE_BYTES or self._skipping:
                    self.overlong += not self._skipping
                    self._offset += len(rest)
                    self._skipping, rest = True, b""
            self.tail = rest
