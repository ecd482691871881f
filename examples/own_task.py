"""A task of your own, as a node: how near is what is in front, from any model that makes depth of an image.

python own_task.py --ros-args -p model:=/models/depth.onnx -r image:=/camera/image_raw
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float32

from perf_inference.engines import Engine
from perf_inference.errors import EngineError
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.converter import Converter
from perf_inference.nodes.images.image_input import image_input
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.parameters import ImageEngineParameters
from perf_inference.pipeline import Frame

Arrays = Mapping[str, NDArray[Any]]


class NearestTask:
    """The image as the model's input [1, 3, H, W] in [0, 1]; of its output [1, H, W], a depth in m, the nearest."""

    def __init__(self, engine: Engine) -> None:
        (self._image,), (self._depth,) = engine.inputs, engine.outputs
        self._height_px, self._width_px = self._image.shape[2:]

    def preprocess(self, frame: NDArray[np.uint8]) -> tuple[Arrays, None]:
        resized = cv2.resize(frame, (self._width_px, self._height_px), interpolation=cv2.INTER_AREA)
        return {self._image.name: np.ascontiguousarray(resized.transpose(2, 0, 1)[None] / np.float32(255))}, None

    def postprocess(self, outputs: Arrays, context: None) -> float:
        nearest_m = float(outputs[self._depth.name].min())
        if not np.isfinite(nearest_m):
            raise EngineError("the depth must be finite")  # counted as failed; nothing is published
        return nearest_m

    def extra(self, result: float, context: None) -> Mapping[str, float]:
        return {"nearest_m": result}  # one more field of the timing


class NearestNode(ManagedNode):
    """image -> nearest (std_msgs/Float32, m); latency, ledger, hot swap, lifecycle and heartbeat come with it."""

    def __init__(self, name: str = "nearest_node") -> None:
        super().__init__(name, ImageEngineParameters)

    def configure(self) -> Work:
        p, converter, nearest = self.parameters, Converter(), self.create_publisher(Float32, "nearest", 10)

        def decode(arrival: Arrival, task: NearestTask) -> Frame:
            return Frame(converter.bgr(arrival.message), arrival.stamp_ns)

        def publish(result: float, frame: Frame, arrival: Arrival) -> None:
            nearest.publish(Float32(data=result))

        self._inference = Inference(self, p, NearestTask, decode, publish, lambda _: np.zeros((48, 64, 3), np.uint8))
        yield from self._inference.loading()
        offer, ledger = self._inference.pipeline.offer, self._inference.ledger
        source = image_input(self, p.image_transport, offer, self._inference.unreadable, ledger, p.expected_frequency)
        self._inference.watch("image", source)

    def listen(self, on: bool) -> Work:
        return self._inference.listen(on)

    def report(self) -> Report:
        return self._inference.report()


if __name__ == "__main__":
    runner.main(NearestNode)
