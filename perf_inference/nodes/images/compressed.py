"""The images of sensor_msgs/CompressedImage, with the pixels that compressed_image_transport gives."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from perf_inference.errors import InputError
from perf_inference.files.images import decode_image
from perf_inference.nodes.images.encodings import encoding_of, holds_numbers


def decode(message: Any) -> NDArray[Any]:
    """Return the image [height, width(, 3 or 4)], uint8 or uint16, grey or in BGR(A) order.

    What it is its first bytes tell: cameras write what they like into `format`.

    Raises:
        InputError: neither JPEG nor PNG, too big, cut off, or broken; a depth.
    """
    encoding = message.format.partition(";")[0].strip()
    if "compressedDepth" in message.format or holds_numbers(encoding):
        encoding_of(encoding if holds_numbers(encoding) else "16UC1")
    try:
        return decode_image(message.data)  # which leaves out a rotation that the camera did not ask for
    except InputError as error:
        raise InputError(f"a compressed image of format '{message.format:.80}' {error}") from error


def is_rgb(format_: str) -> bool:
    """Return whether the image was compressed with red and blue exchanged, as the first publishers did.

    compressed_image_transport writes `rgb8; jpeg compressed bgr8`: what came in, and what it was compressed as; without
    a `bgr` at the end, its subscriber takes the data to be RGB (compressed_subscriber.cpp).
    """
    encoding, separator, how = format_.partition(";")
    return bool(separator) and encoding.startswith(("rgb", "bgr")) and "compressed bgr" not in how
