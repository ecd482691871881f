"""The timings of a run as one table: a row an inference, a column a key, with the type that all its values have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from perf_inference.errors import RecordingError
from perf_inference.recording.jsonl.text_file import CutError, stretches
from perf_inference.recording.parquet.library import pyarrow
from perf_inference.recording.parquet.table_file import TableFile

TIMINGS = "performance_timings"
"""The file's name, without its suffix."""
_EXACT = 1 << 53  # integers up to here are floats, too
_INT64, _UINT64 = range(-(1 << 63), 1 << 63), range(1 << 64)
_ROW_BYTES = 500


def write_timings(path: Path, sources: Sequence[Path]) -> list[str]:
    """Write the timings of some files into one; return a sentence about each of which not all could be read.

    Raises:
        OSError: the disk refuses.
    """
    problems: dict[str, None] = {}
    kinds: dict[str, set[str]] = {}
    for record in _records(sources, problems):
        for key, value in record.items():
            kinds.setdefault(key, set()).add(_kind(value))
    arrow = pyarrow()
    types = {key: _type(arrow, key, found) for key, found in kinds.items()}
    file = TableFile(path, types, {})
    try:
        for record in _records(sources, problems):
            row = (_value(record.get(key), arrow.types.is_string(kind)) for key, kind in types.items())
            file.add(tuple(row), _ROW_BYTES)
        file.close()
    except BaseException:
        file.abort()
        raise
    return list(problems)


def _records(sources: Iterable[Path], problems: dict[str, None]) -> Iterator[dict[str, Any]]:
    for source in sources:
        unread = 0
        try:
            for stretch in stretches(source):
                try:
                    record = orjson.loads(stretch.text)
                except orjson.JSONDecodeError:
                    record = None
                if isinstance(record, dict):
                    yield record
                else:
                    unread += 1
        except (CutError, RecordingError) as error:
            problems[f"{source}: {error}"] = None
        if unread:
            problems[f"{source}: {unread} lines are no timings"] = None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "small" if abs(value) <= _EXACT else "int" if value in _INT64 else "uint" if value in _UINT64 else "text"
    return "float" if isinstance(value, float) else "string" if isinstance(value, str) else "text"


def _type(arrow: Any, key: str, kinds: set[str]) -> Any:
    """Return the type that holds all values of a column as they are; a text where only JSON does."""
    found = kinds - {"null"}
    if not found:  # by its name, so that runs go together
        return arrow.int64() if key.endswith("_ns") else arrow.float64() if key.endswith("_ms") else arrow.string()
    for type_, holds in (
        (arrow.bool_(), {"bool"}),
        (arrow.int64(), {"small", "int"}),
        (arrow.float64(), {"small", "float"}),
        (arrow.uint64(), {"small", "int", "uint"}),
    ):
        if found <= holds:
            return type_
    return arrow.string()


def _value(value: Any, as_text: bool) -> Any:
    return value if value is None or not as_text or isinstance(value, str) else json.dumps(value)
