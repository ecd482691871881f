"""Topics whose messages are handed on as they came, serialized, while somebody wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from perf_inference.nodes.ros.definitions import installed_definition

_QOS = QoSProfile(depth=50)  # what comes from now on; a client that is new is not sent a thousand timings at once
_FORWARDED: tuple[tuple[str, Any, str, QoSProfile], ...] = (
    ("caption", String, "std_msgs/msg/String", _QOS),
    ("detections_json", String, "std_msgs/msg/String", _QOS),
    ("inference/status", DiagnosticStatus, "diagnostic_msgs/msg/DiagnosticStatus", _QOS),
    ("inference/timing", DiagnosticArray, "diagnostic_msgs/msg/DiagnosticArray", _QOS),
    ("/diagnostics", DiagnosticArray, "diagnostic_msgs/msg/DiagnosticArray", _QOS),
)


class Forward:
    """One topic, read undecoded; for the thread that spins the node."""

    def __init__(self, node: Node, topic: str, kind: Any, type_name: str, qos: QoSProfile) -> None:
        self.topic, self.type_name = node.resolve_topic_name(topic), type_name
        self.definition = installed_definition(type_name).text
        self.take: Callable[[bytes], None] = lambda cdr: None
        self._node, self._kind, self._qos = node, kind, qos
        self._subscription: Any = None

    def want(self, wanted: bool) -> None:
        """Subscribe, or unsubscribe; `take` gets the bytes (CDR) of each message."""
        if wanted and self._subscription is None:
            self._subscription = self._node.create_subscription(
                self._kind, self.topic, lambda cdr: self.take(cdr), self._qos, raw=True
            )
        elif not wanted and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None


def forwards(node: Node) -> list[Forward]:
    """Return captions, detections, heartbeats, timings and diagnostics."""
    return [Forward(node, *one) for one in _FORWARDED]
