"""What `bench share` hears: the timings and the detections of our node or of the plain one."""

from __future__ import annotations

from itertools import pairwise

import orjson
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String

from perf_inference.measure.stamps import STAGES
from perf_inference.nodes.bench.collector import Collector
from perf_inference.nodes.reports.messages import timing_record
from perf_inference.nodes.reports.reporter import TIMING_QOS

PARTS = ("transport", *STAGES)  # of the time from the stamp to the end of publishing


class ShareCollector(Collector):
    """Hears one detector of a ROS domain; frames are told apart by their stamps."""

    def __init__(self, domain: int) -> None:
        super().__init__("share_collector", domain)
        self.parts_ms: dict[int, dict[str, float]] = {}  # by stamp [ns]
        self.objects: dict[int, list[tuple[str, float, float, float, float]]] = {}  # name, x, y, width, height
        subscribe = self._node.create_subscription
        subscribe(DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS)
        subscribe(String, "plain/timing", self._on_plain, TIMING_QOS)
        self._detections = subscribe(String, "detections_json", self._on_detections, 100)

    def hears(self) -> bool:
        """Return whether a detector is there; where rclpy tells it, whether its detections would come."""
        if hasattr(self._detections, "get_publisher_count"):  # not in Humble
            return bool(self._detections.get_publisher_count())
        return bool(self._node.count_publishers("detections_json"))

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
