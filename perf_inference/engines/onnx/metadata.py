"""The metadata of an ONNX file, for runtimes that drop it: read from the file without its weights, and without onnx.

An ONNX file is a protobuf message ModelProto; `metadata_props` is its repeated field 14, each entry a message of a key
(field 1) and a value (field 2): https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from perf_inference.engines.onnx.protobuf import LARGEST_TAG, TAG_TOO_LARGE, fields
from perf_inference.errors import ConfigError

_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MOST_BYTES = 1 << 24  # of one entry; more is no metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return what the model says of itself.

    Raises:
        ConfigError: the file is no protobuf message.
    """
    found = {}
    try:
        with path.open("rb") as file:
            for entry in _fields(file, path.stat().st_size, _METADATA_PROPS):
                parts = {number: bytes(part) for number, part in fields(memoryview(entry)) if not isinstance(part, int)}
                found[parts.get(_KEY, b"").decode()] = parts.get(_VALUE, b"").decode()
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' is no ONNX model: {error}; export it again") from error
    return found


def _fields(file: BinaryIO, size: int, wanted: int) -> Iterator[bytes]:
    """Yield the bytes of each field of this number; the others, gigabytes of weights among them, are not read."""
    while file.tell() < size:
        tag = _varint(file)
        if tag > LARGEST_TAG:
            raise ValueError(TAG_TOO_LARGE)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _varint(file)
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire) or (_varint(file) if wire == _BYTES else -1)
        if length < 0 or file.tell() + length > size:
            raise ValueError(f"field {number} at byte {file.tell()} does not end in the file")
        if number == wanted and wire == _BYTES and length <= _MOST_BYTES:
            yield file.read(length)
        else:
            file.seek(length, io.SEEK_CUR)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("a number does not end in the file")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number has more than ten bytes")


def with_metadata(model: bytes, key: str, value: str) -> bytes:
    """Return a model's bytes with one entry of its metadata replaced, or added; all else stays as it is.

    Raises:
        ConfigError: the bytes are no protobuf message.
    """
    kept = []
    try:
        at = 0
        for number, part, end in _spans(memoryview(model)):
            entry = dict(fields(part)) if number == _METADATA_PROPS and part is not None else {}
            if bytes(entry.get(_KEY, b"")) != key.encode():
                kept.append(model[at:end])
            at = end
    except ValueError as error:
        raise ConfigError(f"this is no ONNX model: {error}; export it again") from error
    inner = b"".join(_field(number, text.encode()) for number, text in ((_KEY, key), (_VALUE, value)))
    return b"".join([*kept, _field(_METADATA_PROPS, inner)])


def _spans(message: memoryview) -> Iterator[tuple[int, memoryview | None, int]]:
    """Yield each field's number, its bytes (None: it is a number), and where it ends."""
    file = io.BytesIO(message)
    while (at := file.tell()) < len(message):
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _varint(file)
            yield number, None, file.tell()
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire) or (_varint(file) if wire == _BYTES else -1)
        start = file.tell()
        if length < 0 or start + length > len(message):
            raise ValueError(f"field {number} at byte {at} does not end in the file")
        file.seek(length, io.SEEK_CUR)
        yield number, message[start : start + length] if wire == _BYTES else None, file.tell()


def _field(number: int, data: bytes) -> bytes:
    """Return a field of bytes."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(data)) + data


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
