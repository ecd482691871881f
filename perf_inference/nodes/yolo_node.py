"""Detect objects in camera images with any vision model: classes, boxes, poses, masks, oriented boxes."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from perf_inference.engines import Engine
from perf_inference.errors import ConfigError
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.converter import Converter
from perf_inference.nodes.images.image_input import image_input
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.vision.parameters import LIVE, YoloParameters, limits_of, task_of
from perf_inference.nodes.vision.results import Results
from perf_inference.pipeline import Frame
from perf_inference.printable import shown
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.task import YoloTask
from perf_inference.tasks.vision.tracking import ByteTracker


class YoloNode(ManagedNode):
    """image -> detections_json, and as its kind has them detections, classification, masks, keypoints, annotated."""

    def __init__(self, name: str = "yolo_node") -> None:
        super().__init__(name, YoloParameters)

    def configure(self) -> Work:
        p: YoloParameters = self.parameters
        self._live: dict[str, Any] = {name: getattr(p, name) for name in LIVE}

        def task_with_notes(engine: Engine) -> YoloTask:
            task = task_of(engine, p, self._live)
            if task.note:
                self.get_logger().warning(task.note)
            return task

        self._tracker = ByteTracker(p.confidence, p.track_lost_s) if p.tracker == "bytetrack" else None
        self._converter = Converter(p.image_bits, self.get_logger().warning)
        self.results = Results(self, by_index=p.class_id == "index")
        self._inference = Inference(
            self,
            p,
            task_with_notes,
            self._decode,
            self._publish,
            blank=YoloTask.blank,
            queue_size=p.queue_size,
            rate_hz=p.expected_frequency or None,
        )
        yield from self._inference.loading()
        self.judge_from_now_on(self._on_set)
        pipeline = self._inference.pipeline
        self._inference.watch(
            "image",
            image_input(
                self,
                p.image_transport,
                pipeline.offer,
                self._inference.unreadable,
                pipeline.ledger,
                p.expected_frequency,
                p.reliability,
            ),
        )
        engine, task = self._inference.engine, self._inference.task
        block = task.block
        self.get_logger().info(
            f"{engine.info.name} ({engine.info.runtime} {engine.info.precision} on {engine.info.device}, "
            f"{task.layout} layout, {len(task.names)} classes, {task.kind}, images {block.size[1]}x{block.size[0]} "
            f"{block.fit} {block.colour} {block.interpolation}) waits for {self._inference.inputs['image'].topic}"
        )

    def listen(self, on: bool) -> Work:
        return self._inference.listen(on)

    def report(self) -> Report:
        return self._inference.report()

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        given = {one.name: one.value for one in parameters if one.name in LIVE}
        if given:
            live = {**self._live, **{name: () if value is None else value for name, value in given.items()}}
            try:
                self._inference.task.limits = limits_of(self._inference.task, self.parameters, live)
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=shown(error, 1000))
            self._live = live
            if self._tracker is not None:
                self._tracker.confidence = live["confidence"]
        return SetParametersResult(successful=True)

    def _decode(self, arrival: Arrival, task: YoloTask) -> Frame:
        return Frame(self._converter.bgr(arrival.message), arrival.stamp_ns)

    def _publish(self, result: Found, frame: Frame, arrival: Arrival) -> None:
        more = {}
        if self._tracker is not None and result.kind != "classify":
            result = self._tracker.update(result, frame.stamp_ns or arrival.received_ns)
            more = {"tracks_lost": self._tracker.lost, "tracks_found": self._tracker.found}
        self.results.publish(arrival.message.header, frame.data, result, more)
        if result.not_finite:
            self.get_logger().warning(
                f"{result.not_finite} anchors of the model's output are not finite and were left out",
                throttle_duration_sec=10.0,
            )


def main() -> None:
    """Run the node."""
    runner.main(YoloNode)


if __name__ == "__main__":
    main()
