"""The topics `estop` and `speed_scale`, heard from every publisher whatever its QoS is.

A reliable reader does not hear a best-effort publisher, one that wants what was said before it came does not hear a
volatile one, and one that wants nothing of both may lose the only message of a reliable one: so there are three.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, Float64

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from perf_inference.measure.clocks import CLOCKS
from perf_inference.nodes.policy.gate_setup import Topics
from perf_inference.nodes.ros.subscription import HAS_MESSAGE_INFO
from perf_inference.safety import Gate
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.stops.estop import Estop
from perf_inference.safety.stops.speed import SpeedScale

_READERS = (
    (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE),
    (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
    (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL),
)
_DEPTH = 10
_NO_NUMBER = (0, 2**64 - 1)  # of a middleware that does not count


class StopTopics:
    """Tells the gate what is said on both."""

    def __init__(
        self, node: Node, topics: Topics, estop_timeout_s: float | None, gate: Gate, now: Callable[[], Instant]
    ) -> None:
        """Subscribe."""
        self._node, self._gate, self._now = node, gate, now
        self._estop = Estop(topics.estop, estop_timeout_s)
        self.speed = SpeedScale(topics.speed_scale)
        self._said = ""
        for reliability, durability in _READERS:
            qos = QoSProfile(depth=_DEPTH, reliability=reliability, durability=durability)
            for kind, topic, take in (
                (Bool, topics.estop, self._on_estop),
                (Float64, topics.speed_scale, self._on_scale),
            ):
                node.create_subscription(
                    kind, topic, _callback(take), qos,
                    event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),  # not all match all
                )  # fmt: skip
        self._topics = topics

    def look(self, now: Instant) -> None:
        """Judge the age of what was said on `estop`."""
        why = self._estop.why(now.steady_ns)
        if why and self._estop.latches():
            self._gate.disable(f"{why}; call {self._topics.enable} when it is over", now)
        self._gate.bar("estop", why, now)

    def _on_estop(self, message: Any, who: bytes, number: int | None) -> None:
        present = self._present(self._topics.estop)
        self._estop.hear(who, bool(message.data), number, present, CLOCKS.monotonic_ns())
        self.look(self._now())

    def _on_scale(self, message: Any, who: bytes, number: int | None) -> None:
        self.speed.hear(who, float(message.data), number, self._present(self._topics.speed_scale))
        self._gate.scale(self.speed.share, self._now())
        trouble = self.speed.trouble()
        if trouble and trouble != self._said:
            self._node.get_logger().warning(trouble)
        self._said = trouble

    def _present(self, topic: str) -> Collection[bytes]:
        return {bytes(info.endpoint_gid) for info in self._node.get_publishers_info_by_topic(topic)}


def _callback(take: Callable[[Any, bytes, int | None], None]) -> Callable[..., None]:
    """Return a callback that also tells who sent a message and which one it is, as far as this ROS 2 says so."""

    def with_info(message: Any, info: Any) -> None:
        gid, number = info.get("publisher_gid"), info.get("publication_sequence_number")
        take(message, bytes(gid["data"]) if gid else b"", None if number in _NO_NUMBER else number)

    def without_info(message: Any) -> None:
        take(message, b"", None)

    return with_info if HAS_MESSAGE_INFO else without_info
