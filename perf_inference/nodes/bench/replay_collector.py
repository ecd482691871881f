"""What `bench replay` hears: the timings of the nodes, told apart by the stamps of what they answer."""

from __future__ import annotations

from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray

from perf_inference.nodes.bench.collector import Collector
from perf_inference.nodes.reports.messages import timing_record
from perf_inference.nodes.reports.reporter import TIMING_QOS


class Answer(NamedTuple):
    """One inference."""

    latency_ms: float  # from the stamp, which is when the message was due
    service_ms: float  # the node's own work, without the wait in its mailbox
    replaced: int  # messages that this one took the place of
    total_ms: float


class ReplayCollector(Collector):
    """Hears all nodes of a ROS domain."""

    def __init__(self, domain: int) -> None:
        super().__init__("replay_collector", domain)
        self.answers: dict[str, dict[int, Answer]] = {}  # by node, by stamp [ns]
        self._node.create_subscription(DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS)

    def publishers(self) -> int:
        """Return how many nodes tell their timings."""
        return int(self._node.count_publishers("inference/timing"))

    def heard(self) -> int:
        """Return how many answers there are."""
        return sum(map(len, self.answers.values()))

    def _on_timing(self, message: DiagnosticArray) -> None:
        for status in message.status:
            record = timing_record(status)
            stamp, latency, total = record["stamp_ns"], record["latency_ms"], record["total_ms"]
            if isinstance(stamp, int) and latency is not None and total is not None:
                work_ms = float(total) - float(record["queue_ms"] or 0)
                answer = Answer(float(latency), work_ms, int(record["dropped_before"] or 0), float(total))
                self.answers.setdefault(str(record["node"]), {}).setdefault(stamp, answer)
