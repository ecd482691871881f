"""Listens to what the nodes say of themselves, for a view of the whole graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from perf_inference.errors import InputError
from perf_inference.measure.heartbeat import Beat
from perf_inference.measure.statistics import TimingStatistics
from perf_inference.nodes.reports.episode import EPISODE_QOS, EpisodeState
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.heard import MOST_NODES, checked_beat, checked_timing
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.nodes.ros.guarded_executor import GuardedExecutor
from perf_inference.nodes.ros.leaving import leave_with
from perf_inference.nodes.vision.detections import detected_names

_LONGEST_CAPTION = 1000  # letters


class Observer:
    """A node that keeps the newest heartbeat, the statistics and the newest results of every node in a namespace."""

    def __init__(self, namespace: str = "", warn: Callable[[str], None] | None = None) -> None:
        """Join the graph.

        Args:
            warn: takes a line about messages that cannot be used, once per kind; None: the node's own log does.
        """
        self.heartbeats: dict[str, Beat] = {}
        self.timings: dict[str, TimingStatistics] = {}
        self.dropped: dict[str, int] = {}
        self.episode: EpisodeState | None = None
        self.caption = ""
        self.detections: tuple[str, ...] = ()
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("perf_inference_view", namespace=namespace, context=self._context)
        self.faults = faults_of(self._node)
        if warn is not None:
            self.faults.say = warn
        self._executor = GuardedExecutor(context=self._context)
        self._executor.add_node(self._node)
        subscribe = self._node.create_subscription
        subscribe(DiagnosticStatus, "inference/status", self._usable("a heartbeat", self._on_status), STATUS_QOS)
        subscribe(DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS)
        subscribe(String, "sim/episode", self._usable("an episode", self._on_episode), EPISODE_QOS)
        subscribe(String, "caption", self._on_caption, 1)
        subscribe(String, "detections_json", self._usable("detections", self._on_detections), 1)

    @property
    def node(self) -> Node:
        """The node itself, for whoever reads more than this; its callbacks run in `spin`."""
        return self._node

    def spin(self, timeout_s: float) -> None:
        """Take what comes within the time."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        leave_with(self._node, self._context)

    def _usable(self, what: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a callback that counts what `take` refuses."""

        def callback(message: Any) -> None:
            try:
                take(message)
            except InputError as error:
                self.faults.refused(what, error)

        return callback

    def _on_status(self, message: DiagnosticStatus) -> None:
        beat = checked_beat(message)
        _check_room(self.heartbeats, message.name)
        self.heartbeats[message.name] = beat

    def _on_timing(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._usable("a timing", self._on_one)(status)

    def _on_one(self, status: DiagnosticStatus) -> None:
        record = checked_timing(status)
        node, dropped = status.name, record.get("dropped_before")
        _check_room(self.timings, node)
        self.timings.setdefault(node, TimingStatistics()).add(record)
        self.dropped[node] = self.dropped.get(node, 0) + int(dropped or 0)

    def _on_episode(self, message: String) -> None:
        self.episode = EpisodeState.of(message)

    def _on_caption(self, message: String) -> None:
        self.caption = message.data[:_LONGEST_CAPTION]

    def _on_detections(self, message: String) -> None:
        self.detections = detected_names(message.data)


def _check_room(known: Mapping[str, Any], name: str) -> None:
    if name not in known and len(known) >= MOST_NODES:
        raise InputError(f"at most {MOST_NODES} nodes are shown, and this is one more")
