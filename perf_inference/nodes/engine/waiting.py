"""An input that nothing comes on: what is published nearby, and how to have it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rclpy.node import Node

from perf_inference.measure.clocks import CLOCKS
from perf_inference.nodes.ros.endpoint import is_named
from perf_inference.nodes.ros.subscription import Input
from perf_inference.printable import OUTSIDE, printable

_SILENT_S, _AGAIN_S = 5.0, 30.0
_MOST_TOPICS = 3  # that are named
_COMPRESSED, _SUFFIX = "sensor_msgs/msg/CompressedImage", "/compressed"
_RAW = "sensor_msgs/msg/Image"


class WaitingInputs:
    """Says of each input that has been silent for 5 s what could be read instead, and again every 30 s."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._since_ns: dict[str, int] = {}
        self._told_ns: dict[str, int] = {}

    def look(self, inputs: Mapping[str, Input]) -> None:
        """Log a line for each input that is due one (ROS thread)."""
        now_ns = CLOCKS.monotonic_ns()
        for name, source in inputs.items():
            since_ns = max(self._since_ns.setdefault(name, now_ns), source.last_ns or 0)
            if source.last_ns is not None and not source.silence():
                self._told_ns.pop(name, None)
                continue
            silent_s = (now_ns - since_ns) / 1e9
            told_ns = self._told_ns.get(name)
            if silent_s >= _SILENT_S and (told_ns is None or now_ns - told_ns >= _AGAIN_S * 1e9):
                self._told_ns[name] = now_ns
                self._node.get_logger().warning(
                    f"no message on {source.topic} for {silent_s:.0f} s: {self._why(source)}"
                )

    def _why(self, source: Input) -> str:
        node = self._node
        publishers = node.get_publishers_info_by_topic(source.topic)
        if ours := [info for info in publishers if info.topic_type == source.type_name]:
            named = [info.node_name for info in ours if is_named(info)]
            return (
                f"{_listed(named) or 'somebody'} publishes it, but sends nothing, or its QoS does not fit: "
                "`perf-inference doctor` says which"
            )
        if publishers:
            return f"what is published on it is {_listed([info.topic_type for info in publishers])}"
        found = self._nearby(source, source.type_name)
        kind = source.type_name.rpartition("/")[2]
        if found:
            return f"{_article(kind)} is published on {_listed(found)}; remap {source.asked_for}:={_plain(found[0])}"
        other, transport = (_COMPRESSED, "compressed") if source.type_name == _RAW else (_RAW, "raw")
        if source.type_name in (_RAW, _COMPRESSED) and (found := self._nearby(source, other)):
            kind = other.rpartition("/")[2]
            return (
                f"{_article(kind)} is published on {_listed(found)}; set image_transport: {transport} and remap "
                f"{source.asked_for}:={_plain(found[0])}"
            )
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        return f"nothing in ROS domain {domain} publishes {_article(kind)} ({source.type_name})"

    def _nearby(self, source: Input, type_name: str) -> list[str]:
        """Return the topics of this type that somebody publishes, first those that nobody reads."""
        node = self._node
        found = [
            (node.count_subscribers(topic) > 0, topic)
            for topic, types in node.get_topic_names_and_types()
            if type_name in types and topic != source.topic and node.count_publishers(topic)
        ]
        ours = {name for name, _ in node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())}
        return [topic for _, topic in sorted(found) if topic not in ours]


def _plain(topic: str) -> str:
    """Return the topic that is remapped to: as in image_transport, that of the raw images."""
    return printable(topic.removesuffix(_SUFFIX), OUTSIDE)


def _listed(names: list[str]) -> str:
    told = [printable(name, OUTSIDE) for name in names[:_MOST_TOPICS]]
    more = f" and {len(names) - _MOST_TOPICS} more" if len(names) > _MOST_TOPICS else ""
    return ", ".join(told) + more


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
