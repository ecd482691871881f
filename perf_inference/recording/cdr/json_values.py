"""How numbers are written in JSON: texts for what is not finite, base64 for long arrays."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any

from perf_inference.recording.cdr.fields import FieldError, Number

MAX_LISTED = 64  # longer arrays of numbers are base64

_NAN, _INF = float("nan"), float("inf")
NON_FINITE = {"NaN": _NAN, "Infinity": _INF, "-Infinity": -_INF}
_QUIET_NAN = {4: bytes.fromhex("0000c07f"), 8: bytes.fromhex("000000000000f87f")}
_NOT_BOOL = bytes(range(2, 256))
_AS_BOOL = bytes((0, *(1,) * 255))


def is_packed(kind: Number, count: int) -> bool:
    """Return whether an array of so many is base64."""
    return count > MAX_LISTED or (kind.size_bytes == 1 and not kind.is_bool)


def packed(kind: Number, data: bytes, start: int, end: int) -> dict[str, str]:
    """Return the little-endian elements between as base64; booleans as 0 and 1."""
    raw = memoryview(data)[start:end]
    if kind.is_bool:
        raw = memoryview(raw.tobytes().translate(_AS_BOOL))
    return {"dtype": kind.dtype, "base64": binascii.b2a_base64(raw, newline=False).decode("ascii")}


def are_bools(data: bytes, start: int, end: int) -> bool:
    """Return whether these bytes are 0 or 1."""
    return len(data[start:end].translate(None, _NOT_BOOL)) == end - start


def unpacked(kind: Number, value: dict[Any, Any]) -> bytes:
    """Return the bytes of a base64 array.

    Raises:
        FieldError: another dtype, not base64, or no whole number of elements.
    """
    if value.keys() != {"dtype", "base64"} or not isinstance(value["base64"], str):
        raise FieldError(f'an array must be a list or {{"dtype":.., "base64":..}}, got the keys {_few(value)}')
    if value["dtype"] != kind.dtype:
        raise FieldError(f"dtype must be {kind.dtype}, got {value['dtype']!r}"[:200])
    try:
        raw = binascii.a2b_base64(value["base64"])
    except ValueError as error:
        raise FieldError(f"must be base64: {error}") from error
    if binascii.b2a_base64(raw, newline=False).decode("ascii") != value["base64"]:
        raise FieldError("must be base64 without line breaks and with padding")
    if len(raw) % kind.size_bytes:
        raise FieldError(f"must be elements of {kind.size_bytes} bytes, got {len(raw)} bytes")
    if kind.is_bool and not are_bools(raw, 0, len(raw)):
        raise FieldError("booleans must be 0 or 1")
    return raw


def to_json(value: float) -> float | str:
    """Return a float, or the text for one that is not finite."""
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def to_json_checked(
    values: Iterable[float], data: bytes, places: Iterable[tuple[int, int]]
) -> tuple[list[float | str], bool]:
    """Return them for JSON, and whether every NaN among them is the quiet one.

    Args:
        places: offset and size of each in the data.
    """
    good, out = True, []
    for value, (offset, size) in zip(values, places, strict=True):
        out.append(to_json(value))
        if value != value and data[offset : offset + size] != _QUIET_NAN[size]:
            good = False
    return out, good


@cache
def unpackers(code: str) -> tuple[Any, ...]:
    """Return `unpack_from` for 0, 1, ... as many elements as are written as a list."""
    return tuple(struct.Struct(f"<{count}{code}").unpack_from for count in range(MAX_LISTED + 1))


def _few(keys: Iterable[Any]) -> str:
    return repr(list(keys))[:100]
