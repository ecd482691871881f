"""Reads `inference/timing` where it lies: rclpy would make an object of each of its thousand texts a second."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from perf_inference.errors import InputError
from perf_inference.measure.stamps import STAGES
from perf_inference.nodes.reports.heard import MOST_VALUES

_LITTLE, _MOST = 1, 100_000
_LONGEST = 4096  # bytes of a text


def timings_of(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield, of a serialized diagnostic_msgs/DiagnosticArray (CDR), what a console shows of each flat record.

    Raises:
        InputError: it is none, or is cut off.
    """
    try:
        yield from _Reader(data).records()
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"a message of timings cannot be read: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data[4:]  # alignment counts from here
        self._at = 0
        self._uint32 = struct.Struct(("<" if data[1] & _LITTLE else ">") + "I").unpack_from

    def records(self) -> Iterator[dict[str, Any]]:
        self._at = 8  # the stamp
        self._text()  # the frame
        for _ in range(self._count(_MOST)):
            self._at += 1  # the level
            name = self._text().decode()
            self._text()
            self._text()
            record = self._values(self._count(MOST_VALUES))
            if record.get("node") != name:
                raise ValueError("a timing's node must be its status' name")
            yield record

    def _values(self, count: int) -> dict[str, Any]:
        """Return those of the values that a console shows; the loop that all the time goes to."""
        data, at, uint32, wanted = self._data, self._at, self._uint32, _WANTED
        size, record = len(data), {}
        for _ in range(count):
            at = (at + 3) & ~3
            key_end = at + 4 + uint32(data, at)[0]
            begin = (key_end + 3) & ~3
            end = begin + 4 + uint32(data, begin)[0]
            if end > size:
                raise ValueError("it is cut off")
            kind = wanted.get(data[at + 4 : key_end - 1])
            if kind is not None:
                name, read = kind
                value = data[begin + 4 : end - 1]
                record[name] = None if value == b"null" else read(value)
            at = end
        self._at = at
        return record

    def _count(self, most: int) -> int:
        at = (self._at + 3) & ~3
        count = int(self._uint32(self._data, at)[0])
        if count > most:
            raise ValueError(f"at most {most} of them may come, got {count}")
        self._at = at + 4
        return count

    def _text(self) -> bytes:
        at = (self._at + 3) & ~3
        end = at + 4 + self._uint32(self._data, at)[0]
        if end > len(self._data):
            raise ValueError("it is cut off")
        self._at = end
        return self._data[at + 4 : max(at + 4, end - 1)]


def _words(value: bytes) -> str:
    if len(value) > _LONGEST:
        raise ValueError(f"a text of it has {len(value)} bytes")
    return value.decode()


def _is_true(value: bytes) -> bool:
    return value == b"true"


_WANTED: dict[bytes, tuple[str, Callable[[bytes], Any]]] = {
    **{name.encode(): (name, _words) for name in ("node", "engine", "precision", "device")},
    **{name.encode(): (name, int) for name in ("seq", "received_ns", "arrived_ns")},
    **{f"{name}_ms".encode(): (f"{name}_ms", float) for name in (*STAGES, "total", "latency", "due_latency")},
    b"warmup": ("warmup", _is_true),
}
