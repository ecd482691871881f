"""A Parquet file that is written row by row."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference.recording.parquet.library import pyarrow

_ROWS, _BYTES = 65_536, 64 << 20  # of a row group; its columns are held until it is full


class TableFile:
    """One file; complete after `close`."""

    def __init__(self, path: Path, columns: dict[str, Any], about: Mapping[str, str | bytes]) -> None:
        """Make the file.

        Args:
            columns: Arrow types by name.
            about: what is kept in the schema's metadata.

        Raises:
            OSError: it cannot be made, or is there already.
        """
        self._arrow = pyarrow()
        self._stream = io.BufferedWriter(io.FileIO(path, "xb"))
        self._schema = self._arrow.schema(list(columns.items()), metadata=about)
        self._writer = self._arrow.parquet.ParquetWriter(self._stream, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...], size_bytes: int) -> None:
        """Take a row: a value for each column, in their order, and about how much that is."""
        self._rows.append(row)
        self._bytes += size_bytes
        if len(self._rows) >= _ROWS or self._bytes >= _BYTES:
            self._flush()

    def close(self) -> None:
        """Complete the file and hand it to the disk."""
        self._flush()
        self._writer.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abort(self) -> None:
        """Let go of the file as it is; also after `close`."""
        self._stream.raw.close()  # what is buffered goes nowhere
        self._writer.is_open = False  # else it writes its end when it is collected

    def _flush(self) -> None:
        if not self._rows:
            return
        values = zip(*self._rows, strict=True)
        arrays = [self._arrow.array(list(of), type=field.type) for of, field in zip(values, self._schema, strict=True)]
        self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
        self._rows, self._bytes = [], 0
