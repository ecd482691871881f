"""What `bench graph` hears of a graph: how long each node takes, and how steadily the actions come."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile

from perf_inference.nodes.bench.collector import Collector
from perf_inference.nodes.reports.heard import checked_timing
from perf_inference.nodes.reports.reporter import TIMING_QOS
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.nodes.ros.subscription import HAS_MESSAGE_INFO

_TIMING, _ACTION = "/inference/timing", "/action"


class GraphCollector(Collector):
    """Hears all nodes of a ROS domain, whatever their namespaces."""

    def __init__(self, domain: int) -> None:
        super().__init__("graph_collector", domain)
        self.latencies_ms: dict[str, list[float]] = defaultdict(list)  # by node: stamp to the end of publishing
        self.actions_ns: dict[str, list[int]] = defaultdict(list)  # by topic: when each came, in the system's clock
        self._since_ns = 0
        self._known: set[str] = set()  # topics

    def listen(self, seconds: float) -> None:
        """Take what comes within so many seconds, and forget what came before."""
        self.latencies_ms.clear()
        self.actions_ns.clear()
        self._since_ns = time.time_ns()
        self.spin_until(self._find, seconds)

    def _find(self) -> bool:
        """Subscribe to what is new; return False."""
        for topic, types in self._node.get_topic_names_and_types():
            if topic in self._known:
                continue
            if topic.endswith(_TIMING):
                self._node.create_subscription(DiagnosticArray, topic, self._on_timing, TIMING_QOS)
            elif topic.endswith(_ACTION):  # of several types
                heard = self._with_info if HAS_MESSAGE_INFO else self._without_info
                kind, qos = message_class(types[0]), QoSProfile(depth=100)
                self._node.create_subscription(kind, topic, partial(heard, topic), qos, raw=True)
            self._known.add(topic)
        return False

    def _on_timing(self, message: DiagnosticArray) -> None:
        for status in message.status:
            record = checked_timing(status)
            latency_ms = record["latency_ms"]
            is_new = int(record["received_ns"] or 0) >= self._since_ns  # those from before are kept for latecomers
            if latency_ms is not None and is_new:
                self.latencies_ms[status.name.lstrip("/")].append(float(latency_ms))

    def _with_info(self, topic: str, cdr: bytes, info: Any) -> None:
        self.actions_ns[topic].append(info["received_timestamp"])

    def _without_info(self, topic: str, cdr: bytes) -> None:
        self.actions_ns[topic].append(time.time_ns())
