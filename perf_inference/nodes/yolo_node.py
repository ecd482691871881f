"""Detect objects in camera images with any vision model: classes, boxes, poses, masks, oriented boxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from perf_inference.batch_pipeline import BatchPipeline
from perf_inference.engines import Engine
from perf_inference.errors import ConfigError
from perf_inference.inline_pipeline import InlinePipeline
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.image_input import image_input
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.vision.camera import Camera
from perf_inference.nodes.vision.parameters import LIVE, YoloParameters, limits_of, task_of
from perf_inference.nodes.vision.results import Results
from perf_inference.pipeline import Frame, Pipeline
from perf_inference.printable import shown
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.task import YoloTask


class YoloNode(ManagedNode):
    """image -> detections_json, and as its kind has them detections, classification, masks, keypoints, annotated.

    With the parameter `cameras` it is front/image -> front/detections_json ... for each of their names.
    """

    def __init__(self, name: str = "yolo_node") -> None:
        super().__init__(name, YoloParameters)

    def configure(self) -> Work:
        p: YoloParameters = self.parameters
        names = p.camera_names()
        self._live: dict[str, Any] = {name: getattr(p, name) for name in LIVE}

        def task_with_notes(engine: Engine) -> YoloTask:
            task = task_of(engine, p, self._live)
            if task.note:
                self.get_logger().warning(task.note)
            return task

        self._cameras = {name: Camera(self, p, name) for name in names}
        self._inference = Inference(
            self,
            p,
            task_with_notes,
            self._decode,
            self._publish,
            blank=YoloTask.blank,
            queue_size=p.queue_size,
            rate_hz=p.expected_frequency or None,
            pipeline=_pipeline_of(p),
            sources=len(names),
        )
        yield from self._inference.loading()
        self.judge_from_now_on(self._on_set)
        for name, camera in self._cameras.items():
            self._watch(name, camera)
        engine, task = self._inference.engine, self._inference.task
        block = task.block
        self.get_logger().info(
            f"{engine.info.name} ({engine.info.runtime} {engine.info.precision} on {engine.info.device}, "
            f"{task.layout} layout, {len(task.names)} classes, {task.kind}, images {block.size[1]}x{block.size[0]} "
            f"{block.fit} {block.colour} {block.interpolation}) waits for "
            + ", ".join(source.topic for source in self._inference.inputs.values())
        )

    @property
    def results(self) -> Results:
        """The topics of the first camera."""
        return next(iter(self._cameras.values())).results

    def listen(self, on: bool) -> Work:
        return self._inference.listen(on)

    def report(self) -> Report:
        return self._inference.report()

    def _watch(self, name: str, camera: Camera) -> None:
        p, pipeline = self.parameters, self._inference.pipeline

        def offer(arrival: Arrival) -> None:
            pipeline.offer(arrival._replace(source=name))

        images = image_input(
            self,
            p.image_transport,
            offer if name else pipeline.offer,
            self._inference.unreadable,
            pipeline.lanes[name].ledger,
            p.expected_frequency,
            f"{camera.prefix}image",
            p.reliability,
            own_thread=getattr(pipeline, "work", True),
        )
        self._inference.watch(camera.name, images)
        self.at_clean_up(images.stop_reading)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        given = {one.name: one.value for one in parameters if one.name in LIVE}
        if given:
            live = {**self._live, **{name: () if value is None else value for name, value in given.items()}}
            try:
                self._inference.task.limits = limits_of(self._inference.task, self.parameters, live)
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=shown(error, 1000))
            self._live = live
            for camera in self._cameras.values():
                if camera.tracker is not None:
                    camera.tracker.confidence = live["confidence"]
        return SetParametersResult(successful=True)

    def _decode(self, arrival: Arrival, task: YoloTask) -> Frame:
        return self._cameras[arrival.source].decoded(arrival)

    def _publish(self, result: Found, frame: Frame, arrival: Arrival) -> None:
        self._cameras[arrival.source].publish(result, frame, arrival)
        if result.not_finite:
            self.get_logger().warning(
                f"{result.not_finite} anchors of the model's output are not finite and were left out",
                throttle_duration_sec=10.0,
            )


def _pipeline_of(p: YoloParameters) -> Callable[..., Pipeline]:
    if not p.cameras:
        return InlinePipeline
    return partial(BatchPipeline, sources={name: {"camera": name} for name in p.cameras}, wait_ms=p.batch_wait_ms)


def main() -> None:
    """Run the node."""
    runner.main(YoloNode)


if __name__ == "__main__":
    main()
