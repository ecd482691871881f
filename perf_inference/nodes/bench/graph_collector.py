"""What `bench graph` hears of a graph: how long each node takes, and how steadily the actions come."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from perf_inference.nodes.reports.heard import checked_timing
from perf_inference.nodes.reports.reporter import TIMING_QOS
from perf_inference.nodes.ros.message_types import message_class

_LOOK_S = 0.1  # for who publishes actions


class GraphCollector:
    """Hears the nodes without a namespace of a ROS domain."""

    def __init__(self, domain: int) -> None:
        self.latencies_ms: dict[str, list[float]] = defaultdict(
            list
        )  # by node: from the stamp to the end of publishing
        self.actions_ns: list[int] = []  # when each came, in the system's clock
        self._since_ns = 0
        self._actions: Any = None
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO, domain_id=domain)
        self._node = rclpy.create_node("graph_collector", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS)

    def listen(self, seconds: float) -> None:
        """Take what comes within so many seconds, and forget what came before."""
        self.latencies_ms.clear()
        self.actions_ns.clear()
        self._since_ns = time.time_ns()
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._find_actions()
            self._executor.spin_once(timeout_sec=min(left_s, _LOOK_S))

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
        self._context.destroy()

    def _find_actions(self) -> None:
        """Subscribe to them as soon as somebody publishes them: their type is not known before."""
        types = () if self._actions else dict(self._node.get_topic_names_and_types()).get("/action", ())
        if types:
            kind, qos = message_class(types[0]), QoSProfile(depth=100)
            self._actions = self._node.create_subscription(kind, "/action", self._on_action, qos, raw=True)

    def _on_timing(self, message: DiagnosticArray) -> None:
        for status in message.status:
            record = checked_timing(status)
            latency_ms = record["latency_ms"]
            is_new = int(record["received_ns"] or 0) >= self._since_ns  # those from before are kept for latecomers
            if latency_ms is not None and is_new:
                self.latencies_ms[status.name.lstrip("/")].append(float(latency_ms))

    def _on_action(self, cdr: bytes, info: Any) -> None:
        self.actions_ns.append(info["received_timestamp"])
