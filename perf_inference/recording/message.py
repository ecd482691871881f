"""What a file of a recording is: its topics, and its messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.qos import Qos

TopicKey: TypeAlias = "tuple[str, str, str, Definition | None, tuple[tuple[str, str], ...]]"


@dataclass(frozen=True)
class Topic:
    """A topic of a recording. It is told from others by all that says what its messages mean (`key`)."""

    name: str
    type: str
    count: int = 0
    encoding: str = "cdr"
    qos: tuple[Qos, ...] = ()  # empty: not known
    type_hash: str | None = None  # RIHS01_...
    definition: Definition | None = None
    metadata: tuple[tuple[str, str], ...] = ()  # of an MCAP channel, besides what is above

    @property
    def key(self) -> TopicKey:
        return self.name, self.type, self.encoding, self.definition, self.metadata


class BagMessage(NamedTuple):
    """One recorded message; two are equal if what was recorded is."""

    t_ns: int  # log time: when it was received
    topic: str
    type: str
    data: bytes
    publish_ns: int | None = None  # None: not known
    publish_seq: int | None = None  # in the publisher's own count
    source: Topic | None = None  # as its file describes it; None: the only one of this name and type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BagMessage) and self[:6] == other[:6]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:6])


@dataclass(frozen=True)
class About:
    """What a recording says of itself as a whole."""

    ros_distro: str = ""
    custom_data: Mapping[str, str] = field(default_factory=dict)
    messages: int | None = None  # that it says it has


@dataclass(frozen=True)
class Note:
    """A metadata record of an MCAP file: names and values beside the messages."""

    name: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        return f"metadata record '{self.name}'"


@dataclass(frozen=True)
class Attachment:
    """A file within an MCAP file."""

    name: str
    media_type: str
    log_ns: int
    create_ns: int
    data: bytes

    def __str__(self) -> str:
        return f"attachment '{self.name}' ({len(self.data)} bytes)"


class BagFile(Protocol):
    """One file of a recording."""

    path: Path
    topics: list[Topic]
    start_ns: int
    about: About

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in the order of their log times."""

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages in the order of the file."""

    def extras(self) -> Iterator[Note | Attachment]:
        """Yield what is in the file beside the messages."""

    def remarks(self) -> list[str]:
        """Return what is odd about it though nothing is lost, once it has been read."""

    def close(self) -> None: ...


def collected(topics: Iterable[Topic]) -> list[Topic]:
    """Return the topics with each key once: counts added up, all QoS profiles."""
    found: dict[TopicKey, Topic] = {}
    for topic in topics:
        known = found.get(topic.key)
        found[topic.key] = topic if known is None else _joined(known, topic)
    return list(found.values())


def joined(topics: Iterable[Topic]) -> dict[TopicKey, Topic]:
    """Return by each topic's key what it is in the recording as a whole.

    One without a definition is the one that has the same name, type and encoding and a definition, where that is a
    single one.
    """
    found = {topic.key: topic for topic in collected(topics)}
    for key, topic in [entry for entry in found.items() if entry[1].definition is None]:
        alike = [other for other in found.values() if other.definition and _undefined(other) == key]
        if len(alike) == 1:
            found[key] = found[alike[0].key] = _joined(alike[0], topic)
    return found


def merged(topics: Iterable[Topic]) -> list[Topic]:
    """Return the topics of a recording, each once."""
    return list(dict.fromkeys(joined(topics).values()))


def _undefined(topic: Topic) -> TopicKey:
    return replace(topic, definition=None).key


def _joined(one: Topic, other: Topic) -> Topic:
    return replace(
        one,
        count=one.count + other.count,
        qos=one.qos + tuple(profile for profile in other.qos if profile not in one.qos),
        type_hash=one.type_hash or other.type_hash,
    )
