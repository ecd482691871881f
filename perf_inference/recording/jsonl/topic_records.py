"""The topic records of a segment, as its messages refer to them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.jsonl.head import Head
from perf_inference.recording.message import Topic
from perf_inference.recording.qos import qos_profiles


class TopicRecords:
    """Those that have come so far in the segment."""

    def __init__(self) -> None:
        self._first: dict[str, Topic | None] = {}  # None: lost, so that a later record is not taken for it
        self._numbered: dict[tuple[str, int], Topic] = {}

    def follow(self, line: Head) -> Topic | None:
        """Take each line's head; return a message's topic, None where its record is not there."""
        if line.kind == "header":
            self._first.clear()
            self._numbered.clear()
        elif line.kind == "topic" and line.record is not None:
            topic = topic_of(line.record)
            self._first.setdefault(topic.name, topic)
            self._numbered[topic.name, line.record["id"]] = topic
        elif line.record is None:
            if line.id is not None:
                return self._numbered.get((line.topic, line.id))
            return self._first.setdefault(line.topic, None)
        return None


def topic_of(record: Mapping[str, Any]) -> Topic:
    """Return the topic that a record of the kind `topic` tells of."""
    hash_, encoding = record.get("type_hash"), record.get("encoding")
    return Topic(
        record["topic"],
        record["type"],
        encoding=encoding if isinstance(encoding, str) else "cdr",
        qos=qos_profiles(record.get("qos")),
        type_hash=hash_ if isinstance(hash_, str) else None,
        definition=_definition(record["type"], record.get("definition")),
        metadata=_metadata(record.get("metadata")),
    )


def _metadata(given: Any) -> tuple[tuple[str, str], ...]:
    values = given.items() if isinstance(given, dict) else ()
    return tuple(sorted((str(key), str(value)) for key, value in values))


def _definition(type_name: str, given: Any) -> Definition | None:
    if not isinstance(given, dict):
        return None
    encoding, text, packed = (given.get(key) for key in ("encoding", "text", "base64"))
    if isinstance(encoding, str) and isinstance(packed, str):  # of bytes that are no text
        try:
            return Definition.of_bytes(type_name, encoding, b64decode(packed, validate=True))
        except ValueError:
            return None
    return Definition(type_name, encoding, text) if isinstance(encoding, str) and isinstance(text, str) else None
