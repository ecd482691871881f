"""The topics of what was found: each message is made while somebody listens to it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header, String

from perf_inference.nodes.images.converter import Canvas
from perf_inference.nodes.images.raw_image import RawImage
from perf_inference.nodes.vision.detections import (
    classification_message,
    detections_dict,
    detections_message,
    label_info_message,
)
from perf_inference.nodes.vision.pixels import keypoints_message, mask_messages
from perf_inference.tasks.vision.annotate import annotate
from perf_inference.tasks.vision.found import Found

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_RESULT_QOS = QoSProfile(depth=10)
_KEPT_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Results:
    """The publishers of one camera's results; `prefix` is put before their topics."""

    def __init__(self, node: Node, by_index: bool, prefix: str = "") -> None:
        self._by_index, self._prefix, self._node = by_index, prefix, node
        self._name = node.get_fully_qualified_name()  # several detectors may publish on one topic
        self._canvas = Canvas()
        self._names: tuple[str, ...] | None = None
        self._json = self._publisher(String, "detections_json", _RESULT_QOS)
        self.annotated = self._publisher(Image, "annotated", QoSProfile(depth=1))
        self._class_mask = self._publisher(Image, "masks/class", QoSProfile(depth=1))
        self._instance_mask = self._publisher(Image, "masks/instance", QoSProfile(depth=1))
        self._keypoints = self._publisher(PointCloud2, "keypoints", _RESULT_QOS)
        self._array = self._classification = self._labels = None
        if importlib.util.find_spec("vision_msgs"):
            from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

            self._array = self._publisher(Detection2DArray, "detections", _RESULT_QOS)
            self._classification = self._publisher(Classification, "classification", _RESULT_QOS)
            self._labels = self._publisher(LabelInfo, "label_info", _KEPT_QOS)

    def publish(self, source: Any, image: Any, found: Found, more: Mapping[str, Any] = _NOTHING) -> None:
        """Publish what was found in an image, with the header of its message; `more` goes into `detections_json`."""
        if _heard(self._json):
            head = source if isinstance(source, RawImage) else source.header
            said = {**detections_dict(head, found, self._by_index), "node": self._name, **more}
            self._json.publish(String(data=orjson.dumps(said).decode()))
        if found.kind == "classify":
            if self._classification is not None and _heard(self._classification):
                self._classification.publish(classification_message(source.header, found, self._by_index))
        elif self._array is not None and _heard(self._array):
            self._array.publish(detections_message(source.header, found, self._by_index))
        if found.kind == "segment" and (_heard(self._class_mask) or _heard(self._instance_mask)):
            for publisher, message in zip(
                (self._class_mask, self._instance_mask), mask_messages(source.header, found), strict=True
            ):
                publisher.publish(message)
        if found.kind == "pose" and _heard(self._keypoints):
            self._keypoints.publish(keypoints_message(source.header, found))
        if _heard(self.annotated):
            annotate(self._canvas.put(image, source.header), found)
            self.annotated.publish(self._canvas.message)
        self._say_labels(source, tuple(found.names))

    def _say_labels(self, source: Any, names: tuple[str, ...]) -> None:
        if self._labels is not None and names != self._names:  # again after another model has taken over
            self._labels.publish(label_info_message(Header(frame_id=source.header.frame_id), names))
        self._names = names

    def _publisher(self, type_: Any, topic: str, qos: QoSProfile) -> Any:
        return self._node.create_publisher(
            type_, self._prefix + topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )


def _heard(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count())
