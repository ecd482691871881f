"""Reads `inference/timing` where it lies: rclpy would make an object of each of its thousand texts a second."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import orjson

from perf_inference.errors import InputError
from perf_inference.nodes.reports.heard import MOST_VALUES
from perf_inference.nodes.reports.messages import TEXT_KEYS

_LITTLE, _MOST = 1, 100_000
_LONGEST = 4096  # of a text
_WORDS = {"null": None, "true": True, "false": False}


def timings_of(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the flat records of a serialized diagnostic_msgs/DiagnosticArray (CDR).

    Raises:
        InputError: it is none, or is cut off.
    """
    try:
        yield from _Reader(data).records()
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"a message of timings cannot be read: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        order = "<" if data[1] & _LITTLE else ">"
        self._data = memoryview(data)[4:]  # alignment counts from here
        self._at = 0
        self._uint32 = struct.Struct(order + "I").unpack_from

    def records(self) -> Iterator[dict[str, Any]]:
        self._at = 8  # the stamp
        self._text()  # the frame
        for _ in range(self._count(_MOST)):
            self._at += 1  # the level
            name = self._text()
            self._text()
            self._text()
            record: dict[str, Any] = {}
            for _ in range(self._count(MOST_VALUES)):
                key, value = self._text(), self._text()
                record[key] = value if key in TEXT_KEYS else _scalar(value)
            if record.get("node") != name:
                raise ValueError("a timing's node must be its status' name")
            yield record

    def _count(self, most: int) -> int:
        at = (self._at + 3) & ~3
        count = int(self._uint32(self._data, at)[0])
        if count > most:
            raise ValueError(f"at most {most} of them may come, got {count}")
        self._at = at + 4
        return count

    def _text(self) -> str:
        at = (self._at + 3) & ~3
        length = self._uint32(self._data, at)[0]
        end = at + 4 + length
        if length > _LONGEST or end > len(self._data):
            raise ValueError(f"a text of {length} bytes is longer than the message, or than {_LONGEST}")
        self._at = end
        return str(self._data[at + 4 : end - 1], "utf-8") if length else ""


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        pass
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float | None) else text
