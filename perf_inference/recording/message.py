"""What a file of a recording is: its topics, and its messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.qos import Qos


@dataclass(frozen=True)
class Topic:
    """A topic of a recording."""

    name: str
    type: str
    count: int = 0
    encoding: str = "cdr"
    qos: tuple[Qos, ...] = ()  # empty: not known
    type_hash: str | None = None  # RIHS01_...
    definition: Definition | None = None


class BagMessage(NamedTuple):
    """One recorded message."""

    t_ns: int  # log time: when it was received
    topic: str
    type: str
    data: bytes
    publish_ns: int | None = None  # None: not known
    publish_seq: int | None = None  # in the publisher's own count


class BagFile(Protocol):
    """One file of a recording."""

    path: Path
    topics: list[Topic]
    start_ns: int

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order."""

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages in the order of the file."""

    def close(self) -> None: ...


def merged(topics: Iterable[Topic]) -> list[Topic]:
    """Return the topics with each name and type once: counts added up, all QoS profiles, the first definition."""
    found: dict[tuple[str, str], Topic] = {}
    for topic in topics:
        known = found.get((topic.name, topic.type))
        found[topic.name, topic.type] = topic if known is None else _joined(known, topic)
    return list(found.values())


def _joined(one: Topic, other: Topic) -> Topic:
    return replace(
        one,
        count=one.count + other.count,
        qos=one.qos + tuple(profile for profile in other.qos if profile not in one.qos),
        type_hash=one.type_hash or other.type_hash,
        definition=one.definition or other.definition,
    )
