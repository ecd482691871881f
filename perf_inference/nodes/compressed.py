"""The pictures of sensor_msgs/CompressedImage, with the pixels that compressed_image_transport gives."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # JPEG, PNG


def decode(message: Any) -> NDArray[Any]:
    """Return the picture [height, width(, 3 or 4)], uint8 or uint16, grey or in BGR(A) order.

    What it is its first bytes tell: cameras write what they like into `format`.

    Raises:
        InputError: neither JPEG nor PNG, cut off, or broken.
    """
    data = np.frombuffer(message.data, np.uint8)
    if not data[:8].tobytes().startswith(_BEGINNINGS):
        raise InputError(
            f"a compressed image must be JPEG or PNG, got {len(data)} bytes of format '{message.format}' that begin "
            f"with {data[:4].tobytes().hex() or 'nothing'}"
        )
    try:
        picture = cv2.imdecode(
            data, cv2.IMREAD_UNCHANGED
        )  # which leaves out a rotation that the camera did not ask for
    except cv2.error as error:
        raise InputError(f"a compressed image of format '{message.format}' is broken: {error.err}") from error
    if picture is None:
        raise InputError(f"a compressed image of {len(data)} bytes, format '{message.format}', is cut off or broken")
    return np.asarray(picture)


def is_rgb(format_: str) -> bool:
    """Return whether the picture was compressed with red and blue exchanged, as the first publishers did.

    compressed_image_transport writes `rgb8; jpeg compressed bgr8`: what came in, and what it was compressed as; without
    a `bgr` at the end, its subscriber takes the data to be RGB (compressed_subscriber.cpp).
    """
    encoding, separator, how = format_.partition(";")
    return bool(separator) and encoding.startswith(("rgb", "bgr")) and "compressed bgr" not in how
