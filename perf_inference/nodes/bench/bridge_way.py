"""cv_bridge's steps in Python, for the benchmarks and tests that compare with them: it is not imported itself.

vision_opencv, cv_bridge/core.py (imgmsg_to_cv2, cv2_to_imgmsg) and cv_bridge.cpp (cvtColor2, toCvCopyImpl): an ndarray
on the message's data, `ascontiguousarray`, a byte swap where needed, then in C++ the conversion into new memory, and
once more a copy into NumPy's own.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from perf_inference.nodes.images.converter import Canvas, Converter
from perf_inference.nodes.images.encodings import encoding_of
from perf_inference.nodes.images.raw_image import read_image

_PADDING = 64
_PIXEL_BYTES = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "mono8": 1, "mono16": 2, "rgb16": 6, "bayer_rggb8": 1,
                "bayer_rggb16": 2, "yuyv": 2}  # fmt: skip


def imgmsg_to_bgr8(message: Image) -> NDArray[np.uint8]:
    """Return what `CvBridge().imgmsg_to_cv2(message, "bgr8")` returns."""
    known = encoding_of(message.encoding)
    dtype = np.dtype(known.dtype).newbyteorder(">" if message.is_bigendian else "<")
    shape: tuple[int, ...] = (message.height, message.step // (dtype.itemsize * known.channels), known.channels)
    pixels = np.ndarray(shape if known.channels > 1 else shape[:2], dtype, message.data)
    pixels = np.ascontiguousarray(pixels[: message.height, : message.width])
    if message.is_bigendian == (sys.byteorder == "little"):
        pixels = pixels.byteswap().view(known.dtype)
    made = pixels.copy() if known.code is None else cv2.cvtColor(pixels, known.code)
    if known.dtype is np.uint16:
        made = cv2.convertScaleAbs(made, alpha=255 / 65535)
    return np.asarray(made).copy()


def bgr8_to_imgmsg(pixels: NDArray[np.uint8], header: Any) -> Image:
    """Return what `CvBridge().cv2_to_imgmsg(image, "bgr8", header)` returns."""
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding="bgr8")
    message.data.frombytes(pixels.tobytes())
    message.step = len(message.data) // message.height
    return message


class Row(NamedTuple):
    """One conversion, here and as cv_bridge does it."""

    name: str
    here: Callable[[], Any]
    bridge: Callable[[], Any]


def rows(width: int, height: int) -> Iterator[Row]:
    """Yield all conversions of images of this size."""

    def message(encoding: str, padding: int = 0, bigendian: int = 0) -> Any:
        step = width * _PIXEL_BYTES[encoding] + padding
        data = array("B", np.random.default_rng(0).integers(0, 256, step * height, np.uint8).tobytes())
        return Image(height=height, width=width, encoding=encoding, step=step, data=data, is_bigendian=bigendian)

    def row(name: str, image: Any) -> Row:
        converter = Converter()
        return Row(name, lambda: converter.bgr(image), lambda: imgmsg_to_bgr8(image))

    for encoding in _PIXEL_BYTES:
        yield row(encoding, message(encoding))
    for encoding, unit in (("bgr8", 3), ("rgb8", 3)):
        yield row(f"{encoding} padded", message(encoding, _PADDING * unit))
    yield row("mono16 big endian", message("mono16", bigendian=1))
    for encoding in ("bgr8", "rgb8"):
        cdr, converter = serialize_message(message(encoding)), Converter()
        yield Row(
            f"{encoding} serialized",
            lambda cdr=cdr, converter=converter: converter.bgr(read_image(cdr)),  # type: ignore[misc]
            lambda cdr=cdr: imgmsg_to_bgr8(deserialize_message(cdr, Image)),  # type: ignore[misc]
        )
    pixels, canvas, header = Converter().bgr(message("bgr8")), Canvas(), message("bgr8").header
    yield Row(
        "annotated", lambda: canvas.put(pixels, header), lambda: bgr8_to_imgmsg(pixels.copy(), header)
    )  # fmt: skip
