"""Masks and keypoints as messages of ROS itself: two images, and an organised point cloud."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField

from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.outputs.masks import images_of

_FIELDS = ("x", "y", "z", "confidence")


def mask_messages(header: Any, found: Found) -> tuple[Image, Image]:
    """Return `masks/class` (mono8: the class's number, 255: none) and `masks/instance` (mono16: index + 1, 0: none)."""
    kinds, which = images_of(found.masks, found.class_ids, found.width_px, found.height_px)
    return _image(header, kinds, "mono8"), _image(header, which, "mono16")


def keypoints_message(header: Any, found: Found) -> PointCloud2:
    """Return a cloud with a row for each object, in their order, and a column for each keypoint.

    x and y [px] of the image, z 0, and the keypoint's confidence, all float32.
    """
    keypoints = found.keypoints if found.keypoints is not None else np.zeros((0, 0, 3), np.float32)
    rows, columns = keypoints.shape[:2]
    points = np.zeros((rows, columns, len(_FIELDS)), np.float32)
    points[..., :2], points[..., 3] = keypoints[..., :2], keypoints[..., 2]
    message = PointCloud2(header=header, height=rows, width=columns, is_dense=True, is_bigendian=False)
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(_FIELDS)
    ]
    message.point_step = 4 * len(_FIELDS)
    message.row_step = message.point_step * columns
    message.data.frombytes(points.tobytes())
    return message


def _image(header: Any, pixels: NDArray[Any], encoding: str) -> Image:
    height, width = pixels.shape
    message = Image(header=header, height=height, width=width, encoding=encoding, is_bigendian=0)
    message.step = width * pixels.itemsize
    message.data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return message
