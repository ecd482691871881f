"""The topics of a camera: image, image/compressed, camera_info; nothing is made for a topic that nobody reads."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from perf_inference.camera.calibration import Calibration
from perf_inference.camera.source import Bgr, Source
from perf_inference.errors import InputError
from perf_inference.nodes.images.converter import Canvas

_QOS = QoSProfile(depth=5)  # reliable: readers of both kinds hear it (REP 2003)


class Outlet:
    """Publishes images, each with the stamp that it was taken at; used by the camera's thread."""

    def __init__(self, node: Node, frame_id: str, calibration: Calibration | None, jpeg_quality: int) -> None:
        """Make the publishers.

        As image_transport has it, `image` is what is remapped: `image:=/front/image_raw` publishes
        /front/image_raw/compressed and /front/camera_info, unless that is remapped itself.
        """
        self._frame_id, self._calibration = frame_id, calibration
        self._quality = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
        image = node.resolve_topic_name("image")
        self._raw = _publisher(node, Image, "image")
        self._compressed = _publisher(node, CompressedImage, f"{image}/compressed")
        self._info: Any = None
        if calibration is not None:
            own = node.resolve_topic_name("camera_info")
            beside = f"{image.rpartition('/')[0]}/camera_info"
            remapped = own != f"{node.get_namespace().rstrip('/')}/camera_info"
            self._info = _publisher(node, CameraInfo, own if remapped else beside)
            self._info_message = _info_message(calibration)
        self._canvas = Canvas()
        self.topic = self._raw.topic_name
        self.published = {"raw": 0, "compressed": 0, "camera_info": 0}
        self.problem = ""

    def take(self, source: Source, stamp: Any) -> bool:
        """Decode the image that was grabbed, straight into the message, and publish it; False: nobody reads.

        Raises:
            InputError: it cannot be decoded.
        """
        raw, compressed = self._raw.get_subscription_count() > 0, self._compressed.get_subscription_count() > 0
        info = self._info is not None and self._info.get_subscription_count() > 0
        if not (raw or compressed or info):
            return False
        header = Header(stamp=stamp, frame_id=self._frame_id)
        image = source.image(self._canvas.room)
        if info:
            self._publish_info(image, header)
        if raw:
            self._canvas.put(image, header)
            self._raw.publish(self._canvas.message)
            self.published["raw"] += 1
        if compressed:
            self._publish_compressed(image, header)
        return True

    def _publish_compressed(self, image: Bgr, header: Header) -> None:
        try:
            _, data = cv2.imencode(".jpg", image, self._quality)
        except cv2.error as error:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise InputError(f"an image of {size} cannot be JPEG: {error.err[:200]}") from None
        message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
        message.data = array("B")
        message.data.frombytes(data.data.cast("B"))  # a setter copies once more
        self._compressed.publish(message)
        self.published["compressed"] += 1

    def _publish_info(self, image: Bgr, header: Header) -> None:
        calibration = self._calibration
        assert calibration is not None
        height, width = image.shape[:2]
        if (width, height) != (calibration.width_px, calibration.height_px):
            self.problem = (
                f"no camera_info: the calibration is for images of {calibration.width_px}x{calibration.height_px}, the "
                f"camera gives {width}x{height}; calibrate it at that size, or set width and height"
            )
            return
        self.problem = ""
        self._info_message.header = header
        self._info.publish(self._info_message)
        self.published["camera_info"] += 1


def _publisher(node: Node, kind: Any, topic: str) -> Any:
    overridable = QoSOverridingOptions.with_default_policies()
    return node.create_publisher(kind, topic, _QOS, qos_overriding_options=overridable)


def _info_message(calibration: Calibration) -> CameraInfo:
    message = CameraInfo(width=calibration.width_px, height=calibration.height_px, distortion_model=calibration.model)
    message.d, message.k = list(calibration.d), list(calibration.k)
    message.r, message.p = list(calibration.r), list(calibration.p)
    return message
