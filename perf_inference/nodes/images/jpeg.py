"""An image as JPEG, to be looked at."""

from __future__ import annotations

import cv2

from perf_inference.errors import InputError
from perf_inference.nodes.images.converter import Bgr

_QUALITY = 80


def jpeg_of(image: Bgr, widest_px: int) -> bytes:
    """Return a BGR image [height, width, 3] as JPEG, at most so wide [px].

    Raises:
        InputError: it has no pixel, or cannot be a JPEG.
    """
    height, width = image.shape[:2]
    if not image.size:
        raise InputError(f"an image must have a pixel at least, got {width}x{height}")
    if width > widest_px:
        size = (widest_px, max(1, round(height * widest_px / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    try:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    except cv2.error as error:
        raise InputError(f"a {width}x{height} image cannot be made a JPEG: {error.err}") from error
    if not done:
        raise InputError(f"a {width}x{height} image cannot be made a JPEG")
    return bytes(data)
