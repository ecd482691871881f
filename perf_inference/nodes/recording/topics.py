"""Finds the topics to record while the robot runs, and keeps a reader on each that hears all of its publishers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.nodes.ros.definitions import installed_definition
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.nodes.ros.raw_input import RawInput, RawMessage, adapted_qos
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import type_hash
from perf_inference.recording.jsonl.segment import Channel
from perf_inference.recording.message import Topic
from perf_inference.recording.qos import Qos, Span
from perf_inference.recording.recorder.selection import IMAGES, Encodings, Selection

_DEPTH, _IMAGE_DEPTH = 1000, 10
_MOST_TOPICS, _MOST_NAMED = 1000, 20  # that are recorded, or skipped and remembered; of the skipped ones, in words


@dataclass
class RecordedTopic:
    """A topic that is being recorded."""

    channel: Channel
    kind: Any  # the message class
    source: RawInput
    records: int = 0
    dropped: int = 0
    listens: bool = True

    @property
    def name(self) -> str:
        return self.channel.topic.name

    @property
    def type_name(self) -> str:
        return self.channel.topic.type


class Taken(NamedTuple):
    """A message and where it belongs."""

    topic: RecordedTopic
    message: RawMessage


class RecordedTopics:
    """The readers of a recorder; used on the ROS thread."""

    def __init__(self, node: Node, selection: Selection, encodings: Encodings) -> None:
        self.skipped: dict[str, str] = {}  # topic: why; each is warned about once
        self._node, self._selection, self._encodings = node, selection, encodings
        self._topics: dict[str, RecordedTopic] = {}
        self._left_over: list[Taken] = []  # of readers that were replaced
        self._own = (node.get_name(), node.get_namespace())

    def discover(self) -> None:
        """Look at the graph once: subscribe to what is new, adapt to what has changed."""
        for name, types in self._node.get_topic_names_and_types():
            if not any(self._selection.wants(name, type_name) for type_name in types):
                continue
            publishers = self._node.get_publishers_info_by_topic(name)
            others = [info for info in publishers if (info.node_name, info.node_namespace) != self._own]
            if others:
                self._update(name, list(dict.fromkeys(info.topic_type for info in others)), others)

    def take(self) -> Iterator[Taken]:
        """Yield what has come since the last time."""
        left_over, self._left_over = self._left_over, []
        yield from left_over
        for topic in filter(attrgetter("listens"), self._topics.values()):
            for message in topic.source.take():
                yield Taken(topic, message)

    def close(self) -> None:
        """Unsubscribe; what is left in the readers is lost, and who is discovered later is subscribed to again."""
        for topic in self._topics.values():
            topic.source.close()
            topic.listens = False

    def published(self) -> bool:
        """Return whether anybody still publishes on one of the topics."""
        return any(self._node.count_publishers(name) for name in self._topics)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return type, records and losses of each topic, for `session.json`."""
        return {
            name: {
                "type": topic.type_name,
                "records": topic.records,
                "dropped": topic.dropped,
                "lost_before": topic.source.lost,
            }
            for name, topic in sorted(self._topics.items())
        }

    @property
    def lost(self) -> int | None:
        """Messages lost before they were taken, on all topics; None: not known here."""
        known = [topic.source.lost for topic in self._topics.values() if topic.source.lost is not None]
        return sum(known) if known else None

    def skipped_names(self) -> str:
        """Return the skipped topics in words; of many, the first ones."""
        more = len(self.skipped) - _MOST_NAMED
        return ", ".join(list(self.skipped)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

    def __len__(self) -> int:
        return len(self._topics)

    def _update(self, name: str, types: list[str], publishers: list[Any]) -> None:
        known = self._topics.get(name)
        type_name = known.type_name if known else types[0]
        others = [other for other in types if other != type_name]
        if others:
            self._skip(f"{name} [{', '.join(others)}]", f"topic {name} has several types; only {type_name} is recorded")
        if name in self.skipped or not self._selection.wants(name, type_name):
            return
        publishers = [info for info in publishers if info.topic_type == type_name]
        qos = adapted_qos(
            [info.qos_profile for info in publishers] or [QoSProfile(depth=1)],
            _IMAGE_DEPTH if type_name in IMAGES else _DEPTH,
        )
        if known is None and len(self._topics) >= _MOST_TOPICS:
            self._skip(name, f"at most {_MOST_TOPICS} topics are recorded, and this is one more")
        elif known is None:
            self._subscribe(name, type_name, qos, publishers)
        elif not known.listens:
            known.source, lost = RawInput(self._node, known.kind, name, qos), known.source.lost
            known.source.lost, known.listens = lost, True
        elif _weaker(qos, known.source.qos):
            self._node.get_logger().warning(f"a publisher of {name} offers less than the others; subscribing again")
            known.source, old = RawInput(self._node, known.kind, name, qos), known.source
            self._left_over += [Taken(known, message) for message in old.take()]
            known.source.lost = old.lost
            old.close()

    def _subscribe(self, name: str, type_name: str, qos: QoSProfile, publishers: list[Any]) -> None:
        try:
            kind = message_class(type_name)
        except ConfigError as error:
            self._skip(name, str(error))
            return
        channel = self._channel(name, type_name, publishers)
        self._topics[name] = RecordedTopic(channel, kind, RawInput(self._node, kind, name, qos))

    def _channel(self, name: str, type_name: str, publishers: list[Any]) -> Channel:
        offered = tuple(dict.fromkeys(_offered(info.qos_profile) for info in publishers))
        hashes = [str(info.topic_type_hash) for info in publishers if getattr(info, "topic_type_hash", None)]
        definition = codec = None
        try:
            definition = installed_definition(type_name)
            codec = Codec(definition)
        except (ConfigError, RecordingError) as error:
            self._node.get_logger().warning(f"{name} is recorded as CDR: {error}")
        known_hash = hashes[0] if hashes else type_hash(definition) if definition else None
        topic = Topic(name, type_name, qos=offered, type_hash=known_hash, definition=definition)
        return Channel(topic, codec, self._encodings.nested(name))

    def _skip(self, name: str, why: str) -> None:
        if name in self.skipped or len(self.skipped) > _MOST_TOPICS:
            return
        if len(self.skipped) == _MOST_TOPICS:
            name, why = "others", f"over {_MOST_TOPICS} topics are skipped; the others are not named"
        self.skipped[name] = why
        self._node.get_logger().warning(f"not recorded: {name}: {why}")


def _weaker(offered: QoSProfile, asked: QoSProfile) -> bool:
    """Return whether a reader that asks for `asked` cannot hear what is `offered`."""
    best_effort = offered.reliability == ReliabilityPolicy.BEST_EFFORT
    volatile = offered.durability == DurabilityPolicy.VOLATILE
    return (best_effort and asked.reliability == ReliabilityPolicy.RELIABLE) or (
        volatile and asked.durability == DurabilityPolicy.TRANSIENT_LOCAL
    )


def _offered(qos: QoSProfile) -> Qos:
    """Return a publisher's profile in the recording's form."""
    return Qos(
        history=qos.history.name.lower(),
        depth=qos.depth,
        reliability=qos.reliability.name.lower(),
        durability=qos.durability.name.lower(),
        deadline=_span(qos.deadline),
        lifespan=_span(qos.lifespan),
        liveliness=qos.liveliness.name.lower(),
        liveliness_lease_duration=_span(qos.liveliness_lease_duration),
        avoid_ros_namespace_conventions=qos.avoid_ros_namespace_conventions,
    )


def _span(duration: Duration) -> Span:
    return Span(*divmod(duration.nanoseconds, 1_000_000_000))
