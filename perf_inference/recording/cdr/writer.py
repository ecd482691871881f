"""Writes fields as CDR: little endian, zero padding, nothing at the end."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from perf_inference.recording.cdr.fields import Array, FieldError, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.json_values import NON_FINITE, unpacked

HEADER = b"\0\1\0\0"

_Write: TypeAlias = "Callable[[bytearray, Any], None]"
_MISSING = object()
_pack_u32 = struct.Struct("<I").pack
_FLOATS, _INTS, _BOOLS = frozenset((float, int)), frozenset((int,)), frozenset((bool,))


class CdrWriter:
    """Writes messages of one type."""

    def __init__(self, root: Message) -> None:
        self._made: dict[Message, _Write] = {}
        self._write = self._writer(root)

    def write(self, message: Mapping[str, Any]) -> bytes:
        """Return the message with its encapsulation header.

        Raises:
            FieldError: a field is missing, unknown, or does not fit its type; with the path.
        """
        out = bytearray(HEADER)
        self._write(out, message)
        return bytes(out)

    def _writer(self, kind: Kind) -> _Write:
        if isinstance(kind, Number):
            return _number_writer(kind)
        if isinstance(kind, Text):
            return _wide_text_writer(kind) if kind.wide else _text_writer(kind)
        if isinstance(kind, (Array, Sequence)):
            if isinstance(kind.item, Number):
                return _numbers_writer(kind, kind.item)
            return _items_writer(kind, self._writer(kind.item))
        if kind not in self._made:
            self._made[kind] = _message_writer([(name, self._writer(field)) for name, field in kind.fields])
        return self._made[kind]


def _message_writer(fields: list[tuple[str, _Write]]) -> _Write:
    names = {name for name, _ in fields}

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise _unfit("an object", value)
        if len(value) != len(names):
            unknown = [name for name in value if name not in names]
            if unknown:
                raise FieldError(f"has no field {unknown[0]!r}"[:200])
        name = ""
        try:
            for name, write_field in fields:
                write_field(out, value.get(name, _MISSING))
        except FieldError as error:
            raise error.within(name) from None
        if not fields:
            out.append(0)

    return write


def _number_writer(kind: Number) -> _Write:
    pack, size, types = struct.Struct("<" + kind.code).pack, kind.size_bytes, _types(kind)

    def write(out: bytearray, value: Any) -> None:
        if type(value) not in types:
            value = _special(kind, value)
        if size > 1 and (spare := len(out) % size) != 4 % size:
            out += bytes((4 - spare) % size)
        try:
            out += pack(value)
        except (struct.error, OverflowError) as error:
            raise _unfit(kind.name, value) from error

    return write


def _numbers_writer(kind: Array | Sequence, item: Number) -> _Write:
    check, counted = _count_check(kind), isinstance(kind, Sequence)
    size, types = item.size_bytes, _types(item)

    def write(out: bytearray, value: Any) -> None:
        if type(value) is dict:
            raw = unpacked(item, value)
            count = len(raw) // size
        elif isinstance(value, (list, tuple)):
            count = len(value)
            if not types.issuperset(map(type, value)):
                value = [one if type(one) in types else _special(item, one) for one in value]
            try:
                raw = struct.pack(f"<{count}{item.code}", *value)
            except (struct.error, OverflowError) as error:
                raise _unfit(f"{item.name} elements", value) from error
        else:
            raise _unfit(f"a list of {item.name}, or base64", value)
        check(count)
        if counted:
            out += bytes(-len(out) % 4) + _pack_u32(count)
        if count and size > 1:
            out += bytes((4 - len(out)) % size)
        out += raw

    return write


def _items_writer(kind: Array | Sequence, write_item: _Write) -> _Write:
    check, counted = _count_check(kind), isinstance(kind, Sequence)

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise _unfit("a list", value)
        check(len(value))
        if counted:
            out += bytes(-len(out) % 4) + _pack_u32(len(value))
        index = 0
        try:
            for index, one in enumerate(value):  # noqa: B007
                write_item(out, one)
        except FieldError as error:
            raise error.within(index) from None

    return write


def _text_writer(kind: Text) -> _Write:
    bound = kind.bound

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, str):
            raise _unfit("text", value)
        raw = _encoded(value, "utf-8")
        if bound and len(raw) > bound:
            raise FieldError(f"text must have at most {bound} bytes, got {len(raw)}")
        out += b"%b%b%b\0" % (bytes(-len(out) % 4), _pack_u32(len(raw) + 1), raw)

    return write


def _wide_text_writer(kind: Text) -> _Write:
    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, str):
            raise _unfit("text", value)
        raw = _encoded(value, "utf-16-le")
        units = struct.unpack(f"<{len(raw) // 2}H", raw)
        if kind.bound and len(units) > kind.bound:
            raise FieldError(f"text must have at most {kind.bound} UTF-16 units, got {len(units)}")
        out += bytes(-len(out) % 4) + _pack_u32(len(units)) + struct.pack(f"<{len(units)}I", *units)

    return write


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise FieldError(f"text must be Unicode without single surrogates: {error.reason}") from error


def _count_check(kind: Array | Sequence) -> Callable[[int], None]:
    def check(count: int) -> None:
        if isinstance(kind, Array):
            if count != kind.length:
                raise FieldError(f"must have {kind.length} elements, got {count}")
        elif count > (kind.bound or 0xFFFFFFFF):
            raise FieldError(f"must have at most {kind.bound} elements, got {count}")

    return check


def _types(kind: Number) -> frozenset[type]:
    return _FLOATS if kind.is_float else _BOOLS if kind.is_bool else _INTS


def _special(kind: Number, value: Any) -> float:
    if kind.is_float and isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    raise _unfit(kind.name, value)


def _unfit(expected: str, value: Any) -> FieldError:
    if value is _MISSING:
        return FieldError(f"the field is missing; it must be {expected}")
    short = isinstance(value, (str, float, bool)) or (isinstance(value, int) and value.bit_length() < 100)
    return FieldError(f"must be {expected}, got {type(value).__name__}" + (f" {value!r}"[:50] if short else ""))
