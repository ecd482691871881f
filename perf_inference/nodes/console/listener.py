"""Hears what the nodes of a graph say of themselves, undecoded until it is looked at: at little cost, from any host."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from perf_inference.bringup.search_path import leave_working_directory
from perf_inference.console import calls
from perf_inference.console.machine import Part, is_of_machine
from perf_inference.console.picture import Picture
from perf_inference.console.watch import Watch
from perf_inference.errors import CallError, in_one_line
from perf_inference.nodes.console.timing_reader import timings_of
from perf_inference.nodes.reports.heard import checked_beat, checked_record
from perf_inference.nodes.reports.messages import OK, from_key_values, level
from perf_inference.nodes.reports.reporter import TIMING_QOS
from perf_inference.nodes.ros.raw_input import RawInput

_STATUS, _TIMING, _CAPTION = "inference/status", "inference/timing", "caption"
_TAKE_S, _DISCOVER_S = 0.2, 2.0
_STATUS_QOS, _FEW = QoSProfile(depth=500), QoSProfile(depth=20)
_LOG_QOS = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_MOST_TOPICS = 200


class Listener:
    """A node that listens on a thread of its own."""

    def __init__(self, namespace: str = "") -> None:
        """Join the graph and begin; `namespace`: only nodes in it.

        Raises:
            CallError: ROS does not start here.
        """
        leave_working_directory()
        self.watch = Watch()
        self._inside = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._readers: dict[str, tuple[RawInput, Callable[[bytes], None]]] = {}
        self._context = rclpy.Context()
        try:
            rclpy.init(context=self._context, args=[], signal_handler_options=SignalHandlerOptions.NO)
            self._node = rclpy.create_node(
                f"{calls.OWN}console_{os.getpid()}", context=self._context, enable_rosout=False,
                start_parameter_services=False,
            )  # fmt: skip
        except Exception as error:
            raise CallError(f"ROS does not start here: {in_one_line(error)}") from error
        for topic in (_STATUS, _TIMING, _CAPTION):  # at once; others when they are known
            self._subscribe(f"{self._inside}{topic}")
        self._readers["/diagnostics"] = self._reader("/diagnostics", DiagnosticArray, _FEW, self._on_diagnostics)
        self._readers["/rosout"] = self._reader("/rosout", Log, _LOG_QOS, self._on_log)
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def look(self) -> Picture:
        """Return what is so now."""
        with self._lock:
            return self.watch.look(time.monotonic(), time.time())

    def note(self, text: str) -> None:
        """Add what was done here to the time line."""
        with self._lock:
            self.watch.line.note(text, time.time())

    def with_watch(self, work: Callable[[Watch], Any]) -> Any:
        """Return what `work` reads of what was heard."""
        with self._lock:
            return work(self.watch)

    def close(self) -> None:
        """Leave the graph."""
        self._ended.set()
        self._thread.join(2.0)
        for reader, _ in self._readers.values():
            reader.close()
        self._node.destroy_node()
        self._context.try_shutdown()
        self._context.destroy()

    # listener's thread -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        next_s = time.monotonic() + _DISCOVER_S
        while not self._ended.wait(_TAKE_S):
            if time.monotonic() > next_s:
                next_s = time.monotonic() + _DISCOVER_S
                self._discover()
            for reader, take in list(self._readers.values()):
                for data, _ in reader.take_with_info():
                    self._take(take, data)

    def _take(self, take: Callable[[bytes], None], data: bytes) -> None:
        try:
            with self._lock:
                take(data)
        except Exception as error:  # InputError, or whatever the middleware says of bytes that are no message
            with self._lock:
                self.watch.refuse(in_one_line(error), time.monotonic())

    def _discover(self) -> None:
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic.startswith(self._inside) and topic.endswith((f"/{_STATUS}", f"/{_TIMING}", f"/{_CAPTION}")):
                wanted = "std_msgs/msg/String" if topic.endswith(_CAPTION) else "diagnostic_msgs/msg/Diagnostic"
                if topic not in self._readers and len(self._readers) < _MOST_TOPICS and kinds[0].startswith(wanted):
                    self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        if topic.endswith(_STATUS):
            self._readers[topic] = self._reader(topic, DiagnosticStatus, _STATUS_QOS, self._on_status)
        elif topic.endswith(_TIMING):
            self._readers[topic] = self._reader(topic, DiagnosticArray, TIMING_QOS, self._on_timings)
        else:
            self._readers[topic] = self._reader(topic, String, _FEW, self._on_caption)

    def _reader(
        self, topic: str, kind: Any, qos: QoSProfile, take: Callable[[bytes], None]
    ) -> tuple[RawInput, Callable[[bytes], None]]:
        return RawInput(self._node, kind, topic, qos), take

    def _on_status(self, data: bytes) -> None:
        status = deserialize_message(data, DiagnosticStatus)
        self.watch.heartbeat(status.name, checked_beat(status))

    def _on_timings(self, data: bytes) -> None:
        now_s = time.monotonic()
        for record in _usable(timings_of(data)):
            self.watch.timing(record, now_s)

    def _on_diagnostics(self, data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            if is_of_machine(status.name):
                values = from_key_values(status.values)
                part = Part(time.monotonic(), level(status) == OK, status.message, values)
                self.watch.machine(status.name, status.hardware_id, part)

    def _on_log(self, data: bytes) -> None:
        line = deserialize_message(data, Log)
        level_of = line.level if isinstance(line.level, int) else line.level[0]
        self.watch.said(level_of, line.name, line.msg)

    def _on_caption(self, data: bytes) -> None:
        self.watch.caption(deserialize_message(data, String).data)


def _usable(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield those that can be used; the first that cannot ends it."""
    for record in records:
        checked_record(record)
        yield record
