"""The fields of a protobuf message as they lie in a file: https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
# Google's parser drops what is above it, so that a field would be another one there than here.
LARGEST_TAG = (1 << 32) - 1
TAG_TOO_LARGE = "the number of a field has more than 32 bits"


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (number, value) of each field: an integer, or a view of the bytes of a string or an inner message.

    Raises:
        ValueError: a field does not end in the message, or has a wire type that is not used any more.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        if tag > LARGEST_TAG:
            raise ValueError(TAG_TOO_LARGE)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"field {number} has the wire type {wire}")
        if length > end - at:
            raise ValueError(f"field {number} has {length} bytes, but {end - at} are left")
        yield number, message[at : at + length]
        at += length


def varints(packed: memoryview) -> Iterator[int]:
    """Yield the integers of a packed field; ValueError where the last one does not end."""
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the integer at this place, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a number does not end")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than ten bytes")
