"""Reads any CDR message, whatever is odd about it; slowly."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from perf_inference.recording.cdr.fields import Array, FieldError, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.json_values import is_packed, packed, to_json

HEADER_BYTES = 4
WIDE_FORMS = ("units4", "units2", "bytes2")
"""How wstrings are written: the count is of UTF-16 units in 4 bytes each (ROS 2), in 2 bytes each, or of bytes."""


class CdrReader:
    """One message on its way to fields; what is no text gets replacement characters."""

    def __init__(self, data: bytes, wide_form: str = WIDE_FORMS[0]) -> None:
        """Check the encapsulation header.

        Raises:
            FieldError: it is not plain CDR.
        """
        if len(data) < HEADER_BYTES or data[0] != 0 or data[1] > 1:
            raise FieldError(f"a message must begin with 00 00 or 00 01 (plain CDR), got '{data[:4].hex(' ')}'")
        self._data, self._wide_form, self._order = data, wide_form, "<" if data[1] else ">"
        self._at = HEADER_BYTES

    @property
    def spare_bytes(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def read(self, kind: Kind) -> Any:
        """Return the next value.

        Raises:
            FieldError: the data end within it, or a size is more than what is left.
        """
        if isinstance(kind, Number):
            return self._number(kind)
        if isinstance(kind, Text):
            return self._wide_text() if kind.wide else self._text()
        if isinstance(kind, Message):
            return self._message(kind)
        return self._items(kind)

    def _message(self, message: Message) -> dict[str, Any]:
        values, name = {}, ""
        try:
            for name, kind in message.fields:
                values[name] = self.read(kind)
        except FieldError as error:
            raise error.within(name) from None
        if not message.fields:
            self._take(1)
        return values

    def _number(self, kind: Number) -> Any:
        self._align(kind.size_bytes)
        return self._for_json(kind, self._take(kind.size_bytes), 1)[0]

    def _for_json(self, kind: Number, raw: bytes, count: int) -> list[Any]:
        values = struct.unpack(f"{self._order}{count}{kind.code}", raw)
        if kind.is_float:
            return [to_json(value) for value in values]
        return [value != 0 for value in values] if kind.is_bool else list(values)

    def _items(self, kind: Array | Sequence) -> Any:
        item = kind.item
        count = kind.length if isinstance(kind, Array) else self._count()
        if count * item.min_bytes > self.spare_bytes:
            raise FieldError(
                f"{count} elements of at least {item.min_bytes} bytes, but {self.spare_bytes} bytes are left"
            )
        if isinstance(item, Number):
            return self._numbers(item, count)
        values: list[Any] = []
        try:
            values.extend(self.read(item) for _ in range(count))
        except FieldError as error:
            raise error.within(len(values)) from None
        return values

    def _numbers(self, item: Number, count: int) -> Any:
        if count:  # an empty sequence is not aligned
            self._align(item.size_bytes)
        raw = self._take(count * item.size_bytes)
        if not is_packed(item, count):
            return self._for_json(item, raw, count)
        if self._order == ">":
            raw = np.frombuffer(raw, np.dtype(item.dtype)).byteswap().tobytes()
        return packed(item, raw, 0, len(raw))

    def _text(self) -> str:
        raw = self._take(self._count())
        return raw.removesuffix(b"\0").decode("utf-8", "replace")

    def _wide_text(self) -> str:
        count = self._count()
        if self._wide_form == "units4":
            raw = self._take(4 * count)
            units = np.frombuffer(raw, self._order + "u4")
            if (units > 0xFFFF).any():
                raise FieldError("a wstring's character must have 16 bits in 4 bytes")
            raw = units.astype("<u2").tobytes()
            return raw.decode("utf-16-le", "replace")
        raw = self._take(2 * count if self._wide_form == "units2" else count)
        return raw.decode("utf-16-le" if self._order == "<" else "utf-16-be", "replace")

    def _count(self) -> int:
        self._align(4)
        return int(struct.unpack(self._order + "I", self._take(4))[0])

    def _align(self, size_bytes: int) -> None:
        self._at += (HEADER_BYTES - self._at) % size_bytes

    def _take(self, size_bytes: int) -> bytes:
        if size_bytes > self.spare_bytes:
            raise FieldError(f"{size_bytes} bytes are needed, but {max(self.spare_bytes, 0)} are left")
        self._at += size_bytes
        return self._data[self._at - size_bytes : self._at]


def read_message(root: Message, data: bytes, wide: bool) -> dict[str, Any]:
    """Return the fields of a message.

    Raises:
        FieldError: it is not one of this type, or was cut off.
    """
    return read_whole(root, data, wide)[0]


def read_whole(root: Message, data: bytes, wide: bool) -> tuple[dict[str, Any], int]:
    """Return the fields of a message, and how many bytes are left after them.

    Raises:
        FieldError: it is not one of this type, or was cut off.
    """
    refused = None
    for form in WIDE_FORMS if wide else WIDE_FORMS[:1]:
        reader = CdrReader(data, form)
        try:
            message: dict[str, Any] = reader.read(root)
        except FieldError as error:
            refused = refused or error
            continue
        if not wide or reader.spare_bytes < 4:  # more are spare only where the form is another one
            return message, reader.spare_bytes
        refused = refused or FieldError(f"{reader.spare_bytes} bytes are left at the end")
    assert refused is not None
    raise refused
