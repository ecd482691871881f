"""What a reader needs to know of a whole line before it decodes the message."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeGuard

import orjson

from perf_inference.recording.jsonl.line import LineError, unsealed

# As our writers put the keys; a line with another order is decoded.
_MESSAGE = re.compile(
    rb'\{"seq":(\d{1,18}),"t":(-?\d{1,20}),"topic":"([ !#-\[\]-~]+)",(?:"id":(\d{1,9}),)?"(?:stamp|message|cdr)":'
)


class Head(NamedTuple):
    """A message's place, or a record about the recording."""

    record: dict[str, Any] | None = None  # None: a message
    seq: int = 0
    t_ns: int = 0
    topic: str = ""
    id: int | None = None  # of the topic record; None: the first of this name

    @property
    def kind(self) -> str:
        """Return header, topic, drops, footer, or nothing for a message."""
        return "" if self.record is None else str(self.record["record"])


def head(line: bytes) -> Head | None:
    """Return the head of a line whose checksum fits; None: it is none that the format knows."""
    if found := _MESSAGE.match(line):
        seq, t, topic, number = found.groups()
        if not _is_int(int(t)):
            return None
        return Head(None, int(seq), int(t), topic.decode(), None if number is None else int(number))
    try:
        record = unsealed(line)
    except LineError:
        return None
    if "record" in record:
        return Head(record) if _understood(record) else None
    seq, t, topic, number = (record.get(key) for key in ("seq", "t", "topic", "id"))
    if isinstance(topic, str) and _is_seq(seq) and _is_int(t) and (number is None or _is_int(number)):
        return Head(None, seq, t, topic, number)
    return None


def contents(line: bytes) -> dict[str, Any]:
    """Return the whole record of a line whose checksum fits."""
    record: dict[str, Any] = orjson.loads(line)
    return record


def _understood(record: dict[str, Any]) -> bool:
    kind = record["record"]
    if kind == "topic":
        return all(isinstance(record.get(key), str) for key in ("topic", "type")) and _is_int(record.get("id"))
    if kind == "drops":
        numbers = all(_is_int(record.get(key)) for key in ("count", "first_seq", "last_seq"))
        return numbers and isinstance(record.get("topic"), str)
    return isinstance(kind, str)


def _is_int(value: Any) -> TypeGuard[int]:
    """Return whether it is one of 64 bits, with sign or without: MCAP's times have none."""
    return type(value) is int and -(1 << 63) <= value < 1 << 64


def _is_seq(value: Any) -> TypeGuard[int]:
    """Return whether it is a message's number, of 18 digits at most as in `_MESSAGE`: recovery counts them."""
    return type(value) is int and 0 <= value < 10**18
