"""Looks whether bytes are a whole message of a type, without making anything of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from perf_inference.recording.cdr.fields import Array, FieldError, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.json_values import are_bools
from perf_inference.recording.cdr.reader import HEADER_BYTES

_Step: TypeAlias = "Callable[[bytes, int, str], int]"
"""Goes over a value: the data, where it begins, the byte order (`little`, `big`); returns where it ends."""


class CdrChecker:
    """Checks messages of one type that has no wide text, by the rules of those who read them (Fast CDR)."""

    def __init__(self, root: Message) -> None:
        self._made: dict[Message, _Step] = {}
        self._step = self._stepper(root)

    def check(self, data: bytes) -> None:
        """Accept a message; bytes after its last field are nobody's.

        Raises:
            FieldError: it ends before its last field, or a size or a boolean in it cannot be.
        """
        if len(data) < HEADER_BYTES or data[0] != 0 or data[1] > 1:
            raise FieldError(f"a message must begin with 00 00 or 00 01 (plain CDR), got '{data[:4].hex(' ')}'")
        self._step(data, HEADER_BYTES, "little" if data[1] else "big")

    def _stepper(self, kind: Kind) -> _Step:
        if isinstance(kind, Number):
            return _number(kind)
        if isinstance(kind, Text):
            return _text
        if isinstance(kind, (Array, Sequence)):
            return (
                _numbers(kind, kind.item) if isinstance(kind.item, Number) else _items(kind, self._stepper(kind.item))
            )
        if kind not in self._made:
            self._made[kind] = _message([(name, self._stepper(field)) for name, field in kind.fields])
        return self._made[kind]


def _message(fields: list[tuple[str, _Step]]) -> _Step:
    def step(data: bytes, at: int, order: str) -> int:
        name = ""
        try:
            for name, field in fields:  # noqa: B007
                at = field(data, at, order)
        except FieldError as error:
            raise error.within(name) from None
        return at if fields else _within(data, at, at + 1)

    return step


def _number(kind: Number) -> _Step:
    size = kind.size_bytes

    def step(data: bytes, at: int, order: str) -> int:
        at += (HEADER_BYTES - at) % size
        end = _within(data, at, at + size)
        if kind.is_bool and data[at] > 1:
            raise FieldError(f"a boolean must be 0 or 1, got {data[at]}")
        return end

    return step


def _numbers(kind: Array | Sequence, item: Number) -> _Step:
    def step(data: bytes, at: int, order: str) -> int:
        count, at = _count(kind, data, at, order)
        if count:  # an empty sequence is not aligned
            at += (HEADER_BYTES - at) % item.size_bytes
        end = _within(data, at, at + count * item.size_bytes)
        if item.is_bool and not are_bools(data, at, end):
            raise FieldError("booleans must be 0 or 1")
        return end

    return step


def _items(kind: Array | Sequence, item: _Step) -> _Step:
    least = kind.item.min_bytes

    def step(data: bytes, at: int, order: str) -> int:
        count, at = _count(kind, data, at, order)
        _within(data, at, at + count * least)
        index = 0
        try:
            for index in range(count):  # noqa: B007
                at = item(data, at, order)
        except FieldError as error:
            raise error.within(index) from None
        return at

    return step


def _text(data: bytes, at: int, order: str) -> int:
    size, at = _u32(data, at, order)
    return _within(data, at, at + size)


def _count(kind: Array | Sequence, data: bytes, at: int, order: str) -> tuple[int, int]:
    if isinstance(kind, Array):
        return kind.length, at
    count, at = _u32(data, at, order)
    if kind.bound and count > kind.bound:
        raise FieldError(f"must have at most {kind.bound} elements, has {count}")
    return count, at


def _u32(data: bytes, at: int, order: str) -> tuple[int, int]:
    at += -at % 4
    end = _within(data, at, at + 4)
    return int.from_bytes(data[at:end], "little" if order == "little" else "big"), end


def _within(data: bytes, at: int, end: int) -> int:
    if end > len(data):
        raise FieldError(f"{end - at} bytes are needed, but {max(len(data) - at, 0)} are left")
    return end
