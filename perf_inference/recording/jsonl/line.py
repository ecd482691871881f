"""One line of a recording: a JSON object that ends with its own checksum (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import orjson

FORMAT_VERSION = 2
_KEY = b',"crc":"'
_TAIL = len(_KEY) + len(b'01234567"}')


class LineError(ValueError):
    """A line that is not one of ours as it was written; the text says why."""


def sealed(record: Mapping[str, Any]) -> bytes:
    """Return the line of a record, checksum and newline included.

    Raises:
        TypeError: the record is no JSON (orjson's `JSONEncodeError`).
    """
    body = orjson.dumps(record)[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))


def check(line: bytes) -> None:
    """Accept a line that is as it was written, by its checksum.

    Raises:
        LineError: it is torn, foreign, or its checksum does not fit.
    """
    if not line.endswith(b"\n"):
        raise LineError("torn: it does not end")
    end = len(line) - 1 - _TAIL
    if end < 0 or line[end : end + len(_KEY)] != _KEY or line[-3:-1] != b'"}':
        raise LineError("foreign: it does not end with a checksum")
    if line[end + len(_KEY) : -3] != b"%08x" % crc32(memoryview(line)[:end]):
        raise LineError("damaged: its checksum does not fit")


def unsealed(line: bytes) -> dict[str, Any]:
    """Return the record of a line.

    Raises:
        LineError: it is torn, foreign, or its checksum does not fit.
    """
    check(line)
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(f"foreign: it is no JSON, though its checksum fits: {error}") from error
    if not isinstance(record, dict):
        raise LineError("foreign: it is no JSON object")
    return record
