"""What `bench share` hears: the timings and the detections of our node or of the plain one."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from perf_inference.measure.stamps import STAGES
from perf_inference.nodes.reports.messages import timing_record
from perf_inference.nodes.reports.reporter import TIMING_QOS

PARTS = ("transport", *STAGES)  # of the time from the stamp to the end of publishing


class ShareCollector:
    """Hears one detector of a ROS domain; frames are told apart by their stamps."""

    def __init__(self, domain: int) -> None:
        self.parts_ms: dict[int, dict[str, float]] = {}  # by stamp [ns]
        self.objects: dict[int, list[tuple[str, float, float, float, float]]] = {}  # name, x, y, width, height
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO, domain_id=domain)
        self._node = rclpy.create_node("share_collector", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        subscribe = self._node.create_subscription
        subscribe(DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS)
        subscribe(String, "plain/timing", self._on_plain, TIMING_QOS)
        self._detections = subscribe(String, "detections_json", self._on_detections, 100)

    def spin_until(self, predicate: Callable[[], Any], timeout_s: float) -> bool:
        """Take what comes until the predicate is true; return whether it became so in time."""
        deadline = time.monotonic() + timeout_s
        while not (true := bool(predicate())) and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)
        return true

    def hears(self) -> bool:
        """Return whether a detector is there; where rclpy tells it, whether its detections would come."""
        if hasattr(self._detections, "get_publisher_count"):  # not in Humble
            return bool(self._detections.get_publisher_count())
        return bool(self._node.count_publishers("detections_json"))

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
        self._context.destroy()

    def _on_timing(self, message: DiagnosticArray) -> None:
        for status in message.status:
            record = timing_record(status)
            stages = {stage: float(record[f"{stage}_ms"] or 0) for stage in STAGES}
            latency_ms = record["latency_ms"]
            if isinstance(record["stamp_ns"], int) and latency_ms is not None:
                transport_ms = float(latency_ms) - float(record["total_ms"] or 0)
                self.parts_ms[record["stamp_ns"]] = {"transport": transport_ms, **stages}

    def _on_plain(self, message: String) -> None:
        record = orjson.loads(message.data)
        readings = [record["stamp_ns"], *record["marks_ns"]]
        taken = [(after - before) / 1e6 for before, after in pairwise(readings)]
        transport_ms, *rest = taken
        names = ("decode", "preprocess", "infer", "postprocess", "publish")
        self.parts_ms[record["stamp_ns"]] = {
            "transport": transport_ms, "queue": 0.0, **dict(zip(names, rest, strict=True))
        }  # fmt: skip

    def _on_detections(self, message: String) -> None:
        content = orjson.loads(message.data)
        stamp = content["header"]["stamp"]
        self.objects[stamp["sec"] * 1_000_000_000 + stamp["nanosec"]] = sorted(
            (
                d["results"][0]["hypothesis"]["class_id"],
                d["bbox"]["center"]["position"]["x"],
                d["bbox"]["center"]["position"]["y"],
                d["bbox"]["size_x"],
                d["bbox"]["size_y"],
            )
            for d in content["detections"]
        )
