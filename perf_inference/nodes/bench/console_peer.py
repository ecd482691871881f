"""Nodes that say what real ones say, in one process: heartbeats twice a second, and timings at a rate."""

from __future__ import annotations

import contextlib
import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from perf_inference.measure.heartbeat import Heartbeat, InputState
from perf_inference.measure.ledger import Counts
from perf_inference.measure.stamps import Timing
from perf_inference.nodes.reports.messages import OK, key_values, timing_status
from perf_inference.nodes.reports.reporter import KEPT_STATUS_QOS, TIMING_QOS

_BATCH_S, _BEAT_S, _INFER_NS = 0.1, 0.5, 9_000_000


class Talker(Node):
    """One of them."""

    def __init__(self, name: str, rate_hz: float) -> None:
        super().__init__(name)
        self._rate_hz, self._seq, self._hardware_id = rate_hz, 0, f"robot/{time.time_ns()}"
        self._status = self.create_publisher(DiagnosticStatus, "inference/status", KEPT_STATUS_QOS)
        self._timing = self.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
        self.create_timer(_BEAT_S, self._beat)
        self.create_timer(_BATCH_S, self._batch)
        self._owed = 0.0

    def _beat(self) -> None:
        counts = Counts(received=self._seq, processed=self._seq).as_dict()
        state = InputState(counts, "/camera/image_raw", None, 0.01, None, {"frame_rate_node": self._rate_hz})
        said = Heartbeat(
            engine="detector", runtime="onnx", precision="fp32", device="cpu", driven_by="image", inferences=self._seq,
            rate_hz=self._rate_hz, expected_hz=self._rate_hz, deadline_ms=1e3 / self._rate_hz, deadlines=self._seq,
            deadline_misses=0, samples=100, inputs={"image": state},
            others={"engine_state": "running detector (onnx fp32 on cpu)", "process_memory_mb": 150.0},
        )  # fmt: skip
        self._status.publish(
            DiagnosticStatus(level=OK, name=self.get_name(), message="running", hardware_id=self._hardware_id,
                             values=key_values(said.as_values()))
        )  # fmt: skip

    def _batch(self) -> None:
        self._owed += self._rate_hz * _BATCH_S
        statuses = []
        while self._owed >= 1:
            self._owed, self._seq = self._owed - 1, self._seq + 1
            now_ns, system_ns = time.monotonic_ns(), time.time_ns()
            stages = {"queue": 300_000, "decode": 1_000_000, "preprocess": 1_200_000, "infer": _INFER_NS,
                      "postprocess": 400_000, "publish": 300_000}  # fmt: skip
            timing = Timing(self.get_name(), "detector", "fp32", "cpu", self._seq, system_ns, system_ns, system_ns,
                            now_ns, stages, sum(stages.values()), 16_000_000, 0, 16_000_000)  # fmt: skip
            statuses.append(timing_status(timing.as_dict(), self._hardware_id))
        if statuses:
            self._timing.publish(DiagnosticArray(status=statuses))


def main() -> None:
    """Run so many of them at this rate: `console_peer NODES RATE`."""
    count, rate_hz = int(sys.argv[1]), float(sys.argv[2])
    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    for index in range(count):
        executor.add_node(Talker(f"node_{index:02d}", rate_hz))
    print("talking", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.5)


if __name__ == "__main__":
    main()
