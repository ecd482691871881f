"""Turn heartbeats, timings and the host into /diagnostics, once a second."""

from __future__ import annotations

import platform
import time
from collections import deque
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.qos_overriding_options import QoSOverridingOptions

from perf_inference.measure.stamps import Scalar
from perf_inference.nodes import runner
from perf_inference.nodes.messages import ERROR, OK, STALE, WARN, key_values, level, timing_record
from perf_inference.nodes.parameters import declare, parameter
from perf_inference.nodes.reporting import STATUS_QOS, TIMING_QOS
from perf_inference.telemetry.host import Host, HostSample

_PERIOD_S = 1.0
_RATE_WINDOW_S = 5.0


@dataclass(frozen=True)
class MonitorParameters:
    """Parameters of monitor_node."""

    stale_s: float = parameter(5.0, "a node silent for longer is STALE [s]", at_least=1, at_most=3600)
    temperature_warn_degc: float = parameter(85.0, "the hottest sensor from which the host is a WARN [degC]")
    temperature_error_degc: float = parameter(95.0, "and an ERROR [degC]")
    memory_warn_pct: float = parameter(90.0, "share of memory in use that is a WARN [%]", at_least=0, at_most=100)
    load_warn: float = parameter(2.0, "load per core that is a WARN", at_least=0)


@dataclass
class Watched:
    """What a node said last."""

    status: DiagnosticStatus
    heard_s: float  # monotonic
    arrivals_s: deque[float] = field(default_factory=deque)  # of its inferences' timings


class MonitorNode(runner.RunnableNode):
    """inference/status and inference/timing -> /diagnostics, named `monitor_node: <node>/<part>`."""

    def __init__(self, name: str = "monitor_node") -> None:
        super().__init__(name)
        self._p = declare(self, MonitorParameters)
        self._nodes: dict[str, Watched] = {}
        self._timed: dict[str, deque[float]] = {}
        self._host = Host()
        self._own = self.get_fully_qualified_name().lstrip("/")
        options = QoSOverridingOptions.with_default_policies()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10, qos_overriding_options=options)
        self.create_subscription(
            DiagnosticStatus, "inference/status", self._on_status, STATUS_QOS, qos_overriding_options=options
        )
        self.create_subscription(
            DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS, qos_overriding_options=options
        )
        self._timer = self.create_timer(_PERIOD_S, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info("publishing /diagnostics at 1 Hz")

    def stop(self) -> None:
        self._timer.cancel()

    def _on_status(self, message: DiagnosticStatus) -> None:
        self._nodes[message.name] = Watched(message, time.monotonic())

    def _on_timing(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        for status in message.status:
            times = self._timed.setdefault(str(timing_record(status)["node"]), deque())
            times.append(now_s)

    def _publish(self) -> None:
        message = DiagnosticArray(status=[self._node_status(name, node) for name, node in sorted(self._nodes.items())])
        message.status.append(self._host_status(self._host.sample()))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _node_status(self, name: str, node: Watched) -> DiagnosticStatus:
        said = {pair.key for pair in node.status.values}
        part = "engine" if "engine" in said else "recorder" if "records" in said else "node"
        silent_s = time.monotonic() - node.heard_s
        status_level, message = level(node.status), node.status.message
        if silent_s > self._p.stale_s:
            status_level, message = STALE, f"silent for {silent_s:.1f} s; it said before: {message}"
        extra: dict[str, Scalar] = {"silent_s": round(silent_s, 3)}
        if name in self._timed:
            extra["timings_hz"] = self._rate_hz(self._timed[name])
        return DiagnosticStatus(
            level=status_level,
            name=f"monitor_node: {name}/{part}",
            message=message,
            hardware_id=node.status.hardware_id.partition("/")[0] or "host",
            values=[*node.status.values, *key_values(extra)],
        )

    def _rate_hz(self, arrivals_s: deque[float]) -> float:
        oldest_s = time.monotonic() - _RATE_WINDOW_S
        while arrivals_s and arrivals_s[0] < oldest_s:
            arrivals_s.popleft()
        return len(arrivals_s) / _RATE_WINDOW_S

    def _host_status(self, sample: HostSample) -> DiagnosticStatus:
        used_pct = 100 * sample.memory_used_mb / sample.memory_total_mb
        status_level, message = self._judge(sample, used_pct)
        values: dict[str, Scalar] = {
            "cpu_pct": sample.cpu_pct,
            "cpu_mhz": sample.cpu_mhz,
            "cores": sample.cores,
            "load_1min": sample.load_1min,
            "memory_used_mb": round(sample.memory_used_mb),
            "memory_total_mb": round(sample.memory_total_mb),
            "memory_used_pct": round(used_pct, 1),
            "temperature_degc": sample.temperature_degc,
        }
        values.update({f"cpu{i}_pct": share for i, share in enumerate(sample.cpu_per_core_pct)})
        return DiagnosticStatus(
            level=status_level,
            name=f"monitor_node: {self._own}/host",
            message=message,
            hardware_id=platform.node() or "host",
            values=key_values(values),
        )

    def _judge(self, sample: HostSample, used_pct: float) -> tuple[bytes, str]:
        p, degc = self._p, sample.temperature_degc
        if degc is not None and degc >= p.temperature_warn_degc:
            return (ERROR if degc >= p.temperature_error_degc else WARN), f"{degc:.0f} degC"
        if used_pct >= p.memory_warn_pct:
            return WARN, f"{used_pct:.0f} % of memory in use"
        if sample.load_1min is not None and sample.load_1min / sample.cores >= p.load_warn:
            return WARN, f"load {sample.load_1min:.1f} on {sample.cores} cores"
        return OK, "running"


def main() -> None:
    """Run the node."""
    runner.main(MonitorNode)


if __name__ == "__main__":
    main()
