"""The encodings of sensor_msgs/image_encodings.hpp that mean an image, and OpenCV's conversions of them to BGR.

Where cv_bridge converts an encoding to `bgr8`, the pixels here are the same: the same OpenCV conversions, alpha left
out, and 16 bits to 8 by 255 / 65535 (vision_opencv, cv_bridge.cpp: getConversionCodes, toCvCopyImpl). What it refuses
but its cvtColorForDisplay guesses (8UC3 is bgr8) is taken as guessed there, and NV12, NV21 and NV24 with it. 16UC1 is
a depth in mm (REP 118) and no image. Of a camera with fewer than 16 bits, the number of them is given. There is nothing
that cv_bridge could add, so it is not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError

Array = NDArray[Any]
Buffer = Callable[[str, tuple[int, ...], type[Any]], Array]  # (use, shape, dtype) -> memory to write to
SIXTEEN = 16


class Encoding(NamedTuple):
    """How the pixels of an encoding lie in memory, and what makes them BGR."""

    channels: int
    code: int | None = None  # cv2's conversion to BGR; None: it is BGR
    dtype: type[Any] = np.uint8
    even_width: bool = False
    semi_planar: int = 0  # bytes of chroma per row of luma in half widths: a second plane (NV12: 1, NV24: 4)


def _known() -> dict[str, Encoding]:
    packed = {
        "bgr": (3, None), "rgb": (3, cv2.COLOR_RGB2BGR), "bgra": (4, cv2.COLOR_BGRA2BGR),
        "rgba": (4, cv2.COLOR_RGBA2BGR), "mono": (1, cv2.COLOR_GRAY2BGR),
        "bayer_rggb": (1, cv2.COLOR_BAYER_BG2BGR),  # OpenCV names the second row's second pixel
        "bayer_bggr": (1, cv2.COLOR_BAYER_RG2BGR),
        "bayer_gbrg": (1, cv2.COLOR_BAYER_GR2BGR),
        "bayer_grbg": (1, cv2.COLOR_BAYER_GB2BGR),
    }  # fmt: skip
    known = {name + "8": Encoding(*entry) for name, entry in packed.items()}
    known |= {name + "16": Encoding(*entry, np.uint16) for name, entry in packed.items()}
    for bits in ("8", "16"):
        for channels, name in ((1, "mono"), (3, "bgr"), (4, "bgra")):
            if (bits, channels) != ("16", 1):
                known[f"{bits}UC{channels}"] = known[name + bits]
    uyvy, yuyv = (Encoding(2, code, even_width=True) for code in (cv2.COLOR_YUV2BGR_UYVY, cv2.COLOR_YUV2BGR_YUY2))
    known |= {"yuv422": uyvy, "uyvy": uyvy, "yuv422_yuy2": yuyv, "yuyv": yuyv}
    known["nv12"] = Encoding(1, cv2.COLOR_YUV2BGR_NV12, even_width=True, semi_planar=1)
    known["nv21"] = Encoding(1, cv2.COLOR_YUV2BGR_NV21, even_width=True, semi_planar=1)
    known["nv24"] = Encoding(1, semi_planar=4)
    return known


ENCODINGS = _known()
# ITU-R BT.601 in video range, as OpenCV's NV12: B, G, R of (Y, U, V, 1)
_BT601 = np.array([[1.164, 2.018, 0.0, -276.928], [1.164, -0.391, -0.813, 135.488], [1.164, 0.0, 1.596, -222.912]])


def encoding_of(name: str) -> Encoding:
    """Return what is known of an encoding.

    Raises:
        InputError: it is not known, or means no image.
    """
    known = ENCODINGS.get(name)
    if known is not None:
        return known
    if holds_numbers(name):
        raise InputError(
            f"image encoding '{name}' holds numbers, such as a depth, and no image; convert it to mono8, mono16 or "
            "bgr8 before, or remap `image` to a topic with images"
        )
    raise InputError(f"image encoding must be one of {', '.join(ENCODINGS)}, got '{name}'")


def holds_numbers(name: str) -> bool:
    """Return whether an encoding is a type of OpenCV's that is not known to mean an image."""
    return name not in ENCODINGS and re.fullmatch(r"(8|16|32|64)[USF]C?\d*", name) is not None


def pixels(message: Any, known: Encoding) -> tuple[Array, Array | None]:
    """Return views of the message's data: [height, width(, channels)], and the second plane where there is one.

    Raises:
        InputError: a `step` or size that does not fit the data.
    """
    height, width, step, name = message.height, message.width, message.step, message.encoding
    row_bytes = width * known.channels * np.dtype(known.dtype).itemsize
    if not (height and width):
        raise InputError(f"an image must have pixels, got {width}x{height}")
    if step < row_bytes:
        raise InputError(f"image step must be at least {row_bytes} bytes for {width} px of {name}, got {step}")
    half_rows = known.semi_planar == 1
    rows = height * (2 + known.semi_planar) // 2
    data, got = message.data, len(message.data)
    if known.semi_planar and got == step * height == rows * row_bytes:
        step = row_bytes  # depthai's: all bytes by the rows of luma
    if (known.even_width and width % 2) or (half_rows and height % 2):
        raise InputError(f"{name} must have an even width{' and height' * half_rows}, got {width}x{height}")
    if got < step * (rows - 1) + row_bytes:  # the last row may come without its padding
        raise InputError(
            f"image data must have {step * rows} bytes for {width}x{height} {name} with step {step}, got {got}"
        )
    if known.semi_planar == 1:  # both planes in one array, as cv2 takes them
        return np.ndarray((rows, width), np.uint8, data, 0, (step, 1)), None
    if known.semi_planar:
        luma = np.ndarray((height, width), np.uint8, data, 0, (step, 1))
        return luma, np.ndarray((height, width, 2), np.uint8, data, step * height, (2 * step, 2, 1))
    dtype = np.dtype(known.dtype).newbyteorder(">" if message.is_bigendian else "<")
    pixel_bytes = known.channels * dtype.itemsize
    if known.channels == 1:
        return np.ndarray((height, width), dtype, data, 0, (step, pixel_bytes)), None
    return np.ndarray((height, width, known.channels), dtype, data, 0, (step, pixel_bytes, dtype.itemsize)), None


def convert(
    image: Array, chroma: Array | None, known: Encoding, out: Array, buffer: Buffer, bits: int = SIXTEEN
) -> Array:
    """Return the image as BGR, written to `out` [height, width, 3].

    Args:
        bits: that are used of 16, from the lowest on.
    """
    if chroma is not None:
        return np.asarray(cv2.transform(cv2.merge((image, chroma[..., 0], chroma[..., 1])), _BT601, dst=out))
    if known.dtype is np.uint16:
        return _from_16_bits(image, known, out, buffer, 255 / ((1 << bits) - 1))
    assert known.code is not None
    return np.asarray(cv2.cvtColor(image, known.code, dst=out))


def _from_16_bits(image: Array, known: Encoding, out: Array, buffer: Buffer, scale: float) -> Array:
    if not image.dtype.isnative or image.strides[0] % 2:
        native = buffer("native", image.shape, np.uint16)
        np.copyto(native, image)  # swaps the bytes where they must be
        image = native
    if known.code is None:
        return np.asarray(cv2.convertScaleAbs(image, out, scale))
    if known.channels == 1 and known.code != cv2.COLOR_GRAY2BGR:  # bayer: the mosaic first, as cv_bridge does
        mosaic = buffer("mosaic", (*image.shape, 3), np.uint16)
        return np.asarray(cv2.convertScaleAbs(cv2.cvtColor(image, known.code, dst=mosaic), out, scale))
    narrow = cv2.convertScaleAbs(image, buffer("narrow", image.shape, np.uint8), scale)
    return np.asarray(cv2.cvtColor(narrow, known.code, dst=out))
