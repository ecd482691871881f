"""The yardstick of `bench share`: a detector node as a tutorial writes it, for the embedded detector's model.

It runs as a file of its own and imports nothing of this package, which would tune its process. One callback does it
all, and each message is converted with the steps and copies of `CvBridge().imgmsg_to_cv2(message, "bgr8")`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import time
from typing import Any

import cv2
import numpy as np
import onnxruntime
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

CONFIDENCE, IOU = 0.4, 0.5
_KEPT = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # for who finds this node late


class PlainDetector(Node):
    """image -> detections_json; then what its clock said of this image -> plain/timing."""

    def __init__(self, model: str, threads: int, reliable: bool) -> None:
        super().__init__("plain_detector")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        image = self._session.get_inputs()[0]
        self._input, (self._height, self._width) = image.name, image.shape[1:3]
        self._names = ast.literal_eval(self._session.get_modelmeta().custom_metadata_map["names"])
        self._detections = self.create_publisher(String, "detections_json", 10)
        self._timing = self.create_publisher(String, "plain/timing", _KEPT)
        self.create_subscription(
            Image, "image", self._on_image, QoSProfile(depth=10) if reliable else qos_profile_sensor_data
        )

    def _on_image(self, message: Image) -> None:
        marks = [time.time_ns()]
        image = imgmsg_to_bgr8(message)
        marks.append(time.time_ns())
        resized = cv2.resize(image, (self._width, self._height))
        batch = np.expand_dims(resized, 0)
        marks.append(time.time_ns())
        output = self._session.run(None, {self._input: batch})[0]
        marks.append(time.time_ns())
        found = self._found(output[0].T, message.width / self._width, message.height / self._height)
        marks.append(time.time_ns())
        self._detections.publish(String(data=json.dumps({"header": _header(message), "detections": found})))
        marks.append(time.time_ns())
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        self._timing.publish(String(data=json.dumps({"stamp_ns": stamp_ns, "marks_ns": marks})))

    def _found(self, rows: NDArray[np.float32], scale_x: float, scale_y: float) -> list[dict[str, Any]]:
        scores = rows[:, 4:]
        kinds = scores.argmax(axis=1)
        best = scores.max(axis=1)
        keep = best > CONFIDENCE
        cx, cy, w, h = (rows[keep, :4] * [scale_x, scale_y, scale_x, scale_y]).T
        boxes = np.stack([cx - w / 2, cy - h / 2, w, h], axis=1)
        chosen = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), best[keep].tolist(), CONFIDENCE, IOU), int).reshape(-1)
        return [
            {
                "results": [{"hypothesis": {"class_id": self._names[kinds[keep][i]], "score": float(best[keep][i])}}],
                "bbox": {
                    "center": {"position": {"x": float(cx[i]), "y": float(cy[i])}, "theta": 0.0},
                    "size_x": float(w[i]),
                    "size_y": float(h[i]),
                },
            }
            for i in chosen
        ]


def imgmsg_to_bgr8(message: Image) -> NDArray[np.uint8]:
    """Return what cv_bridge returns for a message that is bgr8 already, with the same copies.

    cv_bridge/core.py, imgmsg_to_cv2: an ndarray on the data, `ascontiguousarray` (no copy where there is no padding),
    then cvtColor2 in C++, which copies for equal encodings (toCvCopyImpl) and once more into NumPy's own memory.
    """
    rows = np.ndarray(shape=(message.height, int(message.step / 3), 3), dtype=np.uint8, buffer=message.data)
    image = np.ascontiguousarray(rows[: message.height, : message.width, :])
    return image.copy().copy()


def _header(message: Image) -> dict[str, Any]:
    stamp = message.header.stamp
    return {"stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec}, "frame_id": message.header.frame_id}


def main() -> None:
    """Run the node until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--reliable", action="store_true")
    options = parser.parse_args()
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(PlainDetector(options.model, options.threads, options.reliable))


if __name__ == "__main__":
    main()
