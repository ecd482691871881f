"""Detect objects in camera images with any YOLO model."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String

from perf_inference.engines import Engine
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.converter import Canvas, Converter
from perf_inference.nodes.images.image_input import image_input
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.parameters import ImageEngineParameters, declare, model_parameter, parameter
from perf_inference.nodes.vision.detections import detections_dict, detections_message
from perf_inference.pipeline import Frame
from perf_inference.tasks.vision.yolo import LAYOUTS, Detection, YoloTask

_RESULT_QOS = QoSProfile(depth=10)


@dataclass(frozen=True)
class YoloParameters(ImageEngineParameters):
    """Parameters of yolo_node."""

    model: str = model_parameter("detector")
    layout: str = parameter("auto", "layout of the model's output; auto: by its shape", choices=LAYOUTS)
    confidence: float = parameter(0.4, "detections below this score are left out", at_least=0, at_most=1)
    iou: float = parameter(0.5, "boxes of one class that overlap more are one object", at_least=0, at_most=1)
    class_agnostic: bool = parameter(False, "boxes that overlap are one object whatever their classes")
    max_detections: int = parameter(100, "detections of one image, best first", at_least=1, at_most=10_000)
    class_names: tuple[str, ...] = parameter(
        (), "names of the classes; empty: the model's own, or COCO's for 80 classes"
    )
    input_size: int = parameter(640, "side of the model's input [px] where the model leaves it free",
                                at_least=32, at_most=4096)  # fmt: skip


class YoloNode(runner.RunnableNode):
    """image -> detections_json, detections (where vision_msgs is installed), annotated (while somebody listens)."""

    def __init__(self, name: str = "yolo_node") -> None:
        super().__init__(name)
        p = declare(self, YoloParameters)

        def task_of(engine: Engine) -> YoloTask:
            return YoloTask(
                engine, p.layout, p.confidence, p.iou, p.max_detections, p.class_names, p.input_size, p.class_agnostic
            )

        self._converter, self._canvas = Converter(), Canvas()
        options = QoSOverridingOptions.with_default_policies()
        self._json = self.create_publisher(String, "detections_json", _RESULT_QOS, qos_overriding_options=options)
        self._annotated = self.create_publisher(Image, "annotated", 1, qos_overriding_options=options)
        self._array = None
        if importlib.util.find_spec("vision_msgs"):
            from vision_msgs.msg import Detection2DArray

            self._array = self.create_publisher(
                Detection2DArray, "detections", _RESULT_QOS, qos_overriding_options=options
            )
        self._inference = Inference(
            self,
            p,
            task_of,
            self._decode,
            self._publish,
            blank=YoloTask.blank,
            queue_size=p.queue_size,
            rate_hz=p.expected_frequency or None,
        )
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
            ),
        )
        engine, task = self._inference.engine, self._inference.task
        self.get_logger().info(
            f"{engine.info.name} ({engine.info.runtime} {engine.info.precision} on {engine.info.device}, "
            f"{task.layout} layout, {len(task.names)} classes) waits for {self._inference.inputs['image'].topic}"
        )

    def finish(self) -> None:
        self._inference.finish()

    def _decode(self, arrival: Arrival, task: YoloTask) -> Frame:
        return Frame(self._converter.bgr(arrival.message), arrival.stamp_ns)

    def _publish(self, result: list[Detection], frame: Frame, arrival: Arrival) -> None:
        header = arrival.message.header
        self._json.publish(String(data=orjson.dumps(detections_dict(header, result)).decode()))
        if self._array is not None:
            self._array.publish(detections_message(header, result))
        if self._annotated.get_subscription_count():
            annotate(self._canvas.put(frame.data, header), result)
            self._annotated.publish(self._canvas.message)


def annotate(image: NDArray[np.uint8], detections: list[Detection]) -> None:
    """Draw the boxes and their names into the BGR image."""
    for d in detections:
        corner = (round(d.x0_px), round(d.y0_px))
        cv2.rectangle(image, corner, (round(d.x1_px), round(d.y1_px)), (0, 255, 255), 2)
        label = f"{d.name} {d.score:.2f}"
        origin = (corner[0], max(12, corner[1] - 5))
        cv2.putText(image, label, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(image, label, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 255), 1, cv2.LINE_AA)


def main() -> None:
    """Run the node."""
    runner.main(YoloNode)


if __name__ == "__main__":
    main()
