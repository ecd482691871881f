"""Turn heartbeats and the machine's figures into /diagnostics, once a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.qos_overriding_options import QoSOverridingOptions

from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.alarm import Limits
from perf_inference.nodes.monitor.machine_status import MachineLimits, MachineStatuses
from perf_inference.nodes.monitor.missing import Missing
from perf_inference.nodes.monitor.watched_node import NodeLimits, WatchedNode
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.heard import MOST_NODES, check_heartbeat
from perf_inference.nodes.reports.messages import OK, key_values, level
from perf_inference.nodes.reports.reporter import STATUS_QOS, Report, with_faults
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.parameters import declare, parameter
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.tegrastats_process import DEFAULT_COMMAND

_PERIOD_S = 1.0
_HISTORY_S = 60.0  # nobody asks the monitor for more
_FORGOTTEN = 12  # times stale_s: so long silent, a node may be forgotten for a new one


@dataclass(frozen=True)
class MonitorParameters:
    """Parameters of monitor_node."""

    stale_s: float = parameter(5.0, "a node silent for longer is STALE [s]", at_least=1, at_most=3600)
    expected: tuple[str, ...] = parameter(
        (), "nodes that should be there, NODE or NODE/PART as in /diagnostics (a node with an engine has the part "
        "engine, the recorder recorder, others node): one that never came is an ERROR; the starters name those that "
        "they start")  # fmt: skip
    expected_within_s: float = parameter(20.0, "so long an expected node may take to come [s]", at_least=1,
                                         at_most=3600)  # fmt: skip
    window_s: float = parameter(5.0, "shares of misses and drops are those of so long [s]", at_least=1, at_most=3600)
    deadline_miss_warn_pct: float = parameter(
        5.0, "share of deadline misses that is a WARN [%]: inferences that take longer than 1/rate, of all but the "
        "marked warm-up. With a node's own `rate` they take due_latency_ms, from the tick's due time; with the "
        "`expected_frequency` of an input total_ms, from when the reader had the message",
        at_least=0.001, at_most=100)  # fmt: skip
    rate_tolerance_pct: float = parameter(
        10.0, "how far a rate may stay below the expected one; more is a WARN [%]", at_least=0.001, at_most=100
    )
    drop_warn_pct: float = parameter(
        10.0, "share of messages lost before the callback, rejected, failed, or replaced although the engine is to run "
        "on each, that is a WARN [%]", at_least=0.001, at_most=100)  # fmt: skip
    temperature_warn_degc: float = parameter(85.0, "temperature that is a WARN [degC]", at_least=0, at_most=1000)
    temperature_error_degc: float = parameter(95.0, "and an ERROR [degC]", at_least=0, at_most=1000)
    memory_warn_pct: float = parameter(
        90.0, "share of the host's or a GPU's memory in use that is a WARN [%]", at_least=0.001, at_most=100
    )
    load_warn: float = parameter(2.0, "load per core that is a WARN", at_least=0.001, at_most=10_000)
    share_margin_pct: float = parameter(
        2.0, "a level is lowered when its share is better than the limit by so much [%]", at_least=0, at_most=100
    )
    temperature_margin_degc: float = parameter(3.0, "and its temperature by so much [degC]", at_least=0, at_most=100)
    load_margin: float = parameter(0.2, "and the load per core by so much", at_least=0, at_most=10_000)
    tegrastats_command: str = parameter(DEFAULT_COMMAND, "prints the board's figures on a Jetson; empty: none")
    tegrastats_log: str = parameter("", "keep the lines it prints in this file; empty: nowhere")

    def __post_init__(self) -> None:
        low, high = self.temperature_warn_degc, self.temperature_error_degc
        if high < low:
            raise ConfigError(
                f"parameter 'temperature_error_degc' must be at least {low:g}, the warning's, got {high:g}"
            )

    def of_nodes(self) -> NodeLimits:
        """Return what concerns the other nodes."""
        margin = self.share_margin_pct
        return NodeLimits(
            self.stale_s,
            self.window_s,
            Limits(self.deadline_miss_warn_pct, None, margin),
            Limits(self.drop_warn_pct, None, margin),
            Limits(100 - self.rate_tolerance_pct, None, margin, best=100),
            self.rate_tolerance_pct,
        )

    def of_machine(self) -> MachineLimits:
        """Return what concerns the machine."""
        return MachineLimits(
            self.stale_s,
            Limits(self.temperature_warn_degc, self.temperature_error_degc, self.temperature_margin_degc),
            Limits(self.memory_warn_pct, None, self.share_margin_pct),
            Limits(self.load_warn, None, self.load_margin),
        )


class MonitorNode(runner.RunnableNode):
    """inference/status -> /diagnostics, named `monitor_node: <node>/<part>`.

    The timings of single inferences are not listened to: the nodes count their own misses, and the heartbeats have
    the counts.
    """

    def __init__(self, name: str = "monitor_node") -> None:
        super().__init__(name)
        p = declare(self, MonitorParameters)
        self._limits = p.of_nodes()
        self._nodes: dict[str, WatchedNode] = {}
        self._missing = Missing(p.expected, p.expected_within_s, time.monotonic())
        self._faults = faults_of(self)
        self._machine = MachineStatuses(self.get_fully_qualified_name().lstrip("/"), p.of_machine())
        self._sampler = MachineSampler(
            p.tegrastats_command,
            tegrastats_log=Path(p.tegrastats_log) if p.tegrastats_log else None,
            period_s=_PERIOD_S,
            history_s=_HISTORY_S,
        )
        options = QoSOverridingOptions.with_default_policies()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10, qos_overriding_options=options)
        self.create_subscription(
            DiagnosticStatus, "inference/status", self._on_status, STATUS_QOS, qos_overriding_options=options
        )
        self._timer = self.create_timer(_PERIOD_S, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._sampler.start()  # in a thread of its own: a driver that hangs must not silence what we say of the nodes
        self.get_logger().info("publishing /diagnostics at 1 Hz")

    def stop(self) -> None:
        self._timer.cancel()

    def finish(self) -> None:
        self._sampler.close()

    def _on_status(self, message: DiagnosticStatus) -> None:
        try:
            check_heartbeat(message)
            self._node(message.name).heard(message, time.monotonic())
        except InputError as error:
            self._faults.refused("a heartbeat", error)

    def _node(self, name: str) -> WatchedNode:
        """Return the node of that name; where there are too many, a new one takes the place of one long silent.

        Raises:
            InputError: there are too many.
        """
        known = self._nodes.get(name)
        if known is not None:
            return known
        if len(self._nodes) >= MOST_NODES:
            oldest = min(self._nodes, key=lambda other: self._nodes[other].heard_s)
            if time.monotonic() - self._nodes[oldest].heard_s < _FORGOTTEN * self._limits.stale_s:
                raise InputError(f"at most {MOST_NODES} nodes are watched, and this is one more")
            del self._nodes[oldest]
        self._nodes[name] = WatchedNode(name, self._limits)
        return self._nodes[name]

    def _publish(self) -> None:
        now_ns = time.monotonic_ns()
        statuses: list[DiagnosticStatus] = []
        for _, node in sorted(self._nodes.items()):
            with self._faults.watching("a heartbeat's judgement"):  # of one node: the others are told of all the same
                statuses += node.statuses(now_ns / 1e9)
        statuses += self._missing.statuses(self._nodes, now_ns / 1e9)
        with self._faults.watching("the machine's figures"):
            sample = self._sampler.newest()
            if sample is not None:
                host, *others = self._machine.of(sample, now_ns)
                statuses += [self._with_own(host), *others]
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _with_own(self, host: DiagnosticStatus) -> DiagnosticStatus:
        """Add what is to be said of the monitor itself to the host's status, which has its share of the machine too."""
        report = with_faults(Report(OK, "running", {"watched_nodes": len(self._nodes)}), self._faults)
        host.values = [*host.values, *key_values(report.values)]
        if report.level != OK:
            host.message = report.message if level(host) == OK else f"{host.message}; {report.message}"
            host.level = max(level(host), report.level)
        return host


def main() -> None:
    """Run the node."""
    runner.main(MonitorNode)


if __name__ == "__main__":
    main()
