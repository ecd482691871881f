"""Hears what the nodes of a graph say of themselves, undecoded until it is looked at: at little cost, from any host."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
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
from perf_inference.nodes.ros.leaving import leave_with
from perf_inference.nodes.ros.raw_input import RawInput

_STATUS, _TIMING, _CAPTION = "inference/status", "inference/timing", "caption"
_TAKE_S, _DISCOVER_S = 0.2, 2.0
_BEGIN_S, _BEGIN_TAKE_S, _BEGIN_DISCOVER_S = 3.0, 0.05, 0.4  # the same at first
_KEPT = "(kept)"  # of the name of a reader of what was said before it came
_KEPT_S = 10.0  # nothing that is kept is older; so long it is waited for on a busy machine
_STATUS_QOS, _FEW = QoSProfile(depth=500), QoSProfile(depth=20)
_KEPT_QOS = QoSProfile(depth=500, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_HOST, _MOST_STARTS = platform.node() or "host", 5000
_LOG_QOS = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_MOST_TOPICS, _AT_ONCE = 200, 40
_ENOUGH, _SETTLED_S = 4, 0.8  # heartbeats that rates rest on; seconds in which nobody new has come
_FRESH_S = 1.0


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
        self._readers: dict[str, tuple[RawInput, Callable[[bytes, int], None]]] = {}
        self._sent_ns: dict[tuple[str, str], int] = {}  # process of a node: when its newest heartbeat was sent
        self._began_s = time.monotonic()
        self._first_s: float | None = None  # when somebody was heard
        self._talkers = (0, self._began_s)  # how many heartbeats there are in the graph, and since when
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

    def is_whole(self) -> bool:
        """Return whether every node that has a heartbeat was heard for long enough to be judged."""
        (count, since_s), now_s = self._talkers, time.monotonic()
        with self._lock:
            nodes = list(self.watch.nodes.values())
            told = all(len(node.beats) >= _ENOUGH and node.silent_s(now_s) < _FRESH_S for node in nodes)
        settled_s = _SETTLED_S + (self._first_s or now_s) - self._began_s  # a busy machine takes longer to find them
        return told and 0 < count <= len(nodes) and now_s > since_s + settled_s

    def close(self) -> None:
        """Leave the graph."""
        self._ended.set()
        self._thread.join(2.0)
        for reader, _ in self._readers.values():
            reader.close()
        leave_with(self._node, self._context)

    # listener's thread -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        next_s, begins = self._began_s + _BEGIN_DISCOVER_S, True
        more = False  # has come than was taken
        while not self._ended.wait(0 if more else _BEGIN_TAKE_S if begins else _TAKE_S):
            now_s = time.monotonic()
            if now_s > next_s:
                next_s = now_s + (_BEGIN_DISCOVER_S if begins else _DISCOVER_S)
                self._discover(now_s)
            taken = [self._empty(reader, take) for reader, take in list(self._readers.values())]
            more = _AT_ONCE in taken
            begins = now_s < self._began_s + _BEGIN_S
            if now_s > self._began_s + _KEPT_S:
                for name in [name for name in self._readers if name.endswith(_KEPT)]:
                    self._readers.pop(name)[0].close()

    def _empty(self, reader: RawInput, take: Callable[[bytes, int], None]) -> int:
        """Take some messages, so that a reader with a thousand kept timings holds up no heartbeat; return how many."""
        count = 0
        for data, info in islice(reader.take_with_info(), _AT_ONCE):
            if self._ended.is_set():
                break
            self._take(take, data, info.get("source_timestamp") or 0)
            count += 1
        return count

    def _take(self, take: Callable[[bytes, int], None], data: bytes, sent_ns: int) -> None:
        try:
            with self._lock:
                take(data, sent_ns)
        except Exception as error:  # InputError, or whatever the middleware says of bytes that are no message
            with self._lock:
                self.watch.refuse(in_one_line(error), time.monotonic())

    def _discover(self, now_s: float) -> None:
        names = Counter(
            f"{namespace.rstrip('/')}/{name}"
            for name, namespace in self._node.get_node_names_and_namespaces()
            if not name.startswith("_")
        )
        with self._lock:
            self.watch.names({name: n for name, n in names.items() if name.startswith(self._inside)}, now_s)
        talkers = sum(self._node.count_publishers(topic) for topic in self._readers if topic.endswith(_STATUS))
        if talkers != self._talkers[0]:
            self._talkers = talkers, now_s
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic.startswith(self._inside) and topic.endswith((f"/{_STATUS}", f"/{_TIMING}", f"/{_CAPTION}")):
                wanted = "std_msgs/msg/String" if topic.endswith(_CAPTION) else "diagnostic_msgs/msg/Diagnostic"
                if topic not in self._readers and len(self._readers) < _MOST_TOPICS and kinds[0].startswith(wanted):
                    self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        if topic.endswith(_STATUS):
            if time.monotonic() < self._began_s + _KEPT_S:  # first: what it brings is older
                self._readers[topic + _KEPT] = self._reader(topic, DiagnosticStatus, _KEPT_QOS, self._on_kept_status)
            self._readers[topic] = self._reader(topic, DiagnosticStatus, _STATUS_QOS, self._on_status)
        elif topic.endswith(_TIMING):
            self._readers[topic] = self._reader(topic, DiagnosticArray, TIMING_QOS, self._on_timings)
        else:
            self._readers[topic] = self._reader(topic, String, _FEW, self._on_caption)

    def _reader(
        self, topic: str, kind: Any, qos: QoSProfile, take: Callable[[bytes, int], None]
    ) -> tuple[RawInput, Callable[[bytes, int], None]]:
        return RawInput(self._node, kind, topic, qos), take

    def _on_status(self, data: bytes, sent_ns: int) -> None:
        status = deserialize_message(data, DiagnosticStatus)
        if not sent_ns or sent_ns != self._sent_ns.get((status.name, status.hardware_id)):  # else it was kept, too
            self._on_beat(status, sent_ns, 0.0)

    def _on_kept_status(self, data: bytes, sent_ns: int) -> None:
        status = deserialize_message(data, DiagnosticStatus)
        ours = status.hardware_id.partition("/")[0] == _HOST  # else its clock may be another
        age_s = (time.time_ns() - sent_ns) / 1e9 if ours and sent_ns else 0.0
        if not sent_ns or sent_ns > self._sent_ns.get((status.name, status.hardware_id), 0):
            self._on_beat(status, sent_ns, min(max(age_s, 0.0), _KEPT_S))

    def _on_beat(self, status: DiagnosticStatus, sent_ns: int, age_s: float) -> None:
        self.watch.heartbeat(status.name, checked_beat(status, age_s))
        self._first_s = self._first_s or time.monotonic()
        key = (status.name, status.hardware_id)
        if key in self._sent_ns or len(self._sent_ns) < _MOST_STARTS:
            self._sent_ns[key] = sent_ns

    def _on_timings(self, data: bytes, sent_ns: int) -> None:
        now_s = time.monotonic()
        for record in _usable(timings_of(data)):
            self.watch.timing(record, now_s)

    def _on_diagnostics(self, data: bytes, sent_ns: int) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            if is_of_machine(status.name):
                values = from_key_values(status.values)
                part = Part(time.monotonic(), level(status) == OK, status.message, values)
                self.watch.machine(status.name, status.hardware_id, part)

    def _on_log(self, data: bytes, sent_ns: int) -> None:
        line = deserialize_message(data, Log)
        level_of = line.level if isinstance(line.level, int) else line.level[0]
        self.watch.said(level_of, line.name, line.msg)

    def _on_caption(self, data: bytes, sent_ns: int) -> None:
        self.watch.caption(deserialize_message(data, String).data)


def _usable(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield those that can be used; the first that cannot ends it."""
    for record in records:
        checked_record(record)
        yield record
