"""Between sensor_msgs/Image and BGR arrays: views where the encoding allows, one conversion otherwise."""

from __future__ import annotations

import sys
from array import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from perf_inference.errors import InputError

# encoding: (channels, dtype, cv2 conversion to BGR; None: it is BGR)
_ENCODINGS: dict[str, tuple[int, type[Any], int | None]] = {
    "bgr8": (3, np.uint8, None),
    "8UC3": (3, np.uint8, None),
    "rgb8": (3, np.uint8, cv2.COLOR_RGB2BGR),
    "bgra8": (4, np.uint8, cv2.COLOR_BGRA2BGR),
    "8UC4": (4, np.uint8, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, np.uint8, cv2.COLOR_RGBA2BGR),
    "mono8": (1, np.uint8, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, np.uint8, cv2.COLOR_GRAY2BGR),
    "mono16": (1, np.uint16, cv2.COLOR_GRAY2BGR),
    "16UC1": (1, np.uint16, cv2.COLOR_GRAY2BGR),
    "bayer_rggb8": (1, np.uint8, cv2.COLOR_BAYER_BG2BGR),  # OpenCV names the second row's second pixel
    "bayer_bggr8": (1, np.uint8, cv2.COLOR_BAYER_RG2BGR),
    "bayer_gbrg8": (1, np.uint8, cv2.COLOR_BAYER_GR2BGR),
    "bayer_grbg8": (1, np.uint8, cv2.COLOR_BAYER_GB2BGR),
    "yuv422": (2, np.uint8, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, np.uint8, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, np.uint8, cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": (2, np.uint8, cv2.COLOR_YUV2BGR_YUY2),
}


def to_bgr(message: Image) -> NDArray[np.uint8]:
    """Return the picture as BGR uint8 [height, width, 3]: a view of the message's data for `bgr8`, else a copy.

    Raises:
        InputError: an unknown encoding, or a `step` or size that does not fit the data.
    """
    known = _ENCODINGS.get(message.encoding)
    if known is None:
        raise InputError(f"image encoding must be one of {', '.join(_ENCODINGS)}, got '{message.encoding}'")
    channels, dtype, conversion = known
    height, width, step = message.height, message.width, message.step
    row_bytes = width * channels * np.dtype(dtype).itemsize
    if not (height and width):
        raise InputError(f"an image must have pixels, got {width}x{height}")
    if step < row_bytes:
        raise InputError(
            f"image step must be at least {row_bytes} bytes for {width} px of {message.encoding}, got {step}"
        )
    if len(message.data) < step * (height - 1) + row_bytes:
        raise InputError(
            f"image data must have {step * height} bytes for {width}x{height} {message.encoding} with step {step}, "
            f"got {len(message.data)}"
        )
    raw = np.frombuffer(message.data, np.uint8)
    if len(raw) >= step * height:
        rows = raw[: step * height].reshape(height, step)[:, :row_bytes]
    else:  # the last row may come without its padding
        rows = np.lib.stride_tricks.as_strided(raw, (height, row_bytes), (step, 1), writeable=False)
    if dtype is np.uint16:
        wide = np.ascontiguousarray(rows).view(np.uint16)
        if bool(message.is_bigendian) != (sys.byteorder == "big"):
            wide = wide.byteswap()
        rows = (wide >> 8).astype(np.uint8)
        pixels = rows.reshape(height, width)
    else:
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = rows.reshape(shape) if step == row_bytes else np.ascontiguousarray(rows).reshape(shape)
    if conversion is None:
        return pixels
    try:
        return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)
    except cv2.error as error:
        raise InputError(f"a {width}x{height} image cannot be {message.encoding}: {error.err}") from error


def from_bgr(picture: NDArray[np.uint8], header: Any) -> Image:
    """Return a `bgr8` message of a BGR picture [height, width, 3], with a copy of its pixels."""
    height, width = picture.shape[:2]
    data = array("B", bytes(0))
    data.frombytes(np.ascontiguousarray(picture).data.cast("B"))
    return Image(header=header, height=height, width=width, encoding="bgr8", is_bigendian=0, step=width * 3, data=data)
