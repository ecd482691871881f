"""What a node says of itself: a status per inference on `inference/timing`, a heartbeat on `inference/status`."""

from __future__ import annotations

import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar, Timing
from perf_inference.nodes.reports.faults import Faults, faults_of
from perf_inference.nodes.reports.messages import OK, WARN, key_values, timing_status

TIMING_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATUS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
KEPT_STATUS_QOS = QoSProfile(
    depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""Of the publishers: who asks for it gets the last seconds at once, and all others what is new."""
_FLUSH_NS = 100_000_000
_HEARTBEAT_S = 0.5
_LAST_ACK_S = 0.1  # what was published has left; Fast DDS asks its readers only every 3 s whether it came


@dataclass(frozen=True)
class Report:
    """The state of a node at one moment."""

    level: bytes
    message: str
    values: Mapping[str, Scalar]

    def with_trouble(self, trouble: str) -> Report:
        """Return the report with this in its message, as a warning at least; empty: there is none."""
        if not trouble or (self.level != OK and trouble in self.message):
            return self
        message = trouble if self.level == OK else f"{self.message}; {trouble}"
        return Report(max(self.level, WARN), message, self.values)


def with_faults(report: Report, faults: Faults) -> Report:
    """Return the report with the node's faults in it; a new one is a warning for some seconds."""
    return Report(report.level, report.message, {**report.values, **faults.values()}).with_trouble(faults.trouble())


class HeartbeatPublisher:
    """Publishes the state of a node twice a second, on the steady clock."""

    def __init__(self, node: Node, report: Callable[[], Report]) -> None:
        """Start; `report` is called on the ROS thread for each heartbeat."""
        self.name = node.get_fully_qualified_name().lstrip("/")
        self.hardware_id = _this_start()
        self._report, self._faults = report, faults_of(node)
        self.publisher = node.create_publisher(
            DiagnosticStatus,
            "inference/status",
            KEPT_STATUS_QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._beats = node.create_timer(_HEARTBEAT_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def beat(self) -> None:
        """Publish the heartbeat, also where the node's own report fails: it must not look dead."""
        report = Report(WARN, "its report failed", {})
        with self._faults.watching("the report"):
            report = self._report()
        report = with_faults(report, self._faults)
        self.publisher.publish(
            DiagnosticStatus(
                level=report.level,
                name=self.name,
                message=report.message,
                hardware_id=self.hardware_id,
                values=key_values(report.values),
            )
        )

    def _tick(self) -> None:
        """Take the timer's call."""
        self.beat()

    def cancel(self) -> None:
        """Beat no more by itself."""
        self._beats.cancel()


class Reporter(HeartbeatPublisher):
    """The heartbeat, and timings in small batches.

    Both are published right after a result, where results come: then the next message is farthest, and none waits for
    the interpreter. (A turn of rclpy's executor alone holds it for one to two milliseconds.)
    """

    def __init__(self, node: Node, report: Callable[[], Report]) -> None:
        """Start; `report` is called on the ROS thread for each heartbeat."""
        self._pending: deque[Timing] = deque()
        self._flushing = threading.Lock()
        self._finished = self._beat_is_due = False
        self._flushed_ns = self._added_ns = 0  # monotonic
        super().__init__(node, report)
        self._node = node
        self._after_result = node.create_guard_condition(self.beat)
        options = QoSOverridingOptions.with_default_policies()
        self._timing = node.create_publisher(
            DiagnosticArray, "inference/timing", TIMING_QOS, qos_overriding_options=options
        )

    def begin_anew(self) -> None:
        """Be another start of this node from now on: its counts begin anew."""
        self.flush()
        self.hardware_id = _this_start()

    def add(self, timing: Timing) -> None:
        """Take the timing of an inference that has just ended, and publish it with others, 10 times a second at most
        (any thread); what is left when no more come goes with the next heartbeat."""
        self._pending.append(timing)
        self._added_ns = CLOCKS.monotonic_ns()
        if self._added_ns - self._flushed_ns >= _FLUSH_NS:
            self.flush()
        if self._beat_is_due:
            self._after_result.trigger()

    def flush(self) -> None:
        """Publish the timings that have come since the last time (any thread)."""
        with self._flushing:
            self._flushed_ns = CLOCKS.monotonic_ns()
            batch = [self._pending.popleft() for _ in range(len(self._pending))]
            if batch:
                message = DiagnosticArray(status=[timing_status(t.as_dict(), self.hardware_id) for t in batch])
                message.header.stamp = self._node.get_clock().now().to_msg()
                self._timing.publish(message)

    def beat(self) -> None:
        """Publish the heartbeat, and what timings there are."""
        self._beat_is_due = False
        super().beat()
        self.flush()

    def _tick(self) -> None:
        """Leave the heartbeat to the next result if one is to be expected; one that is still due is late enough."""
        comes = CLOCKS.monotonic_ns() - self._added_ns < _FLUSH_NS
        if comes and not self._beat_is_due:
            self._beat_is_due = True
        else:
            self.beat()

    def finish(self) -> None:
        """Publish what is left, and wait for the readers to acknowledge it, 0.1 s at most; once."""
        if self._finished:
            return
        self._finished = True
        self.cancel()
        self.flush()
        self.beat()
        deadline = time.monotonic() + _LAST_ACK_S
        for publisher in (self._timing, self.publisher):
            # Asked again and again: a call that waits would hold the interpreter meanwhile.
            while not publisher.wait_for_all_acked(Duration()) and time.monotonic() < deadline:
                time.sleep(0.005)


def _this_start() -> str:
    """Return what tells the starts of a node apart: HOST/TIME."""
    return f"{platform.node() or 'host'}/{time.time_ns()}"
