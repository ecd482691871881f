"""Between image messages and BGR arrays: views where the encoding allows, else one conversion into reused memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from perf_inference.errors import InputError
from perf_inference.nodes.images import compressed
from perf_inference.nodes.images.encodings import SIXTEEN, Encoding, convert, encoding_of, pixels
from perf_inference.nodes.images.raw_image import RawImage

Bgr = NDArray[np.uint8]
_LOOKED_AT = 3  # images
_TWELVE_BITS = 1 << 12
_OF_SHAPE = {1: "mono", 3: "bgr", 4: "bgra"}


class Converter:
    """Makes the messages of one input BGR, in memory that it keeps: for one thread.

    The image that it returned last is never written to: two buffers take turns, and a turn that fails is taken again.
    So an image is good until the second that is made after it, which is what a worker with one frame in work, and
    one that looks at the newest image again and again, need.
    """

    def __init__(self, bits: int = SIXTEEN, warn: Callable[[str], None] = lambda said: None) -> None:
        """Begin with no memory.

        Args:
            bits: that the camera uses of 16.
            warn: told once, where an image of 16 bits uses 12 or fewer and that was not said.
        """
        self._bits, self._warn, self._left = bits, warn, _LOOKED_AT
        self._buffers: dict[str, NDArray[Any]] = {}  # by use
        self._out: Bgr = np.empty((0, 0, 3), np.uint8)
        self._spare: Bgr = self._out

    def bgr(self, message: Image | CompressedImage | RawImage) -> Bgr:
        """Return the image as BGR uint8 [height, width, 3]: a view of the message's data where that is BGR.

        Rows that end in padding stay as they are: the view is not contiguous then.

        Raises:
            InputError: an unknown encoding, or a `step` or size that does not fit the data; a broken JPEG or PNG.
        """
        if isinstance(message, CompressedImage):
            return self._decompressed(message)
        known = encoding_of(message.encoding)
        image, chroma = pixels(message, known)
        if known.code is None and chroma is None and image.dtype == np.uint8:
            return image
        return self._converted(image, chroma, known, message.encoding)

    def _decompressed(self, message: CompressedImage) -> Bgr:
        image = compressed.decode(message)
        name = _OF_SHAPE[1 if image.ndim == 2 else image.shape[2]]
        if compressed.is_rgb(message.format):
            name = name.replace("bgr", "rgb")
        name += str(image.dtype.itemsize * 8)
        return image if name == "bgr8" else self._converted(image, None, encoding_of(name), name)

    def _look_for_few_bits(self, image: NDArray[Any], name: str) -> None:
        """Warn where none of the first images of 16 bits has a pixel over 12 bits: it would be all but black."""
        most = int(image.max())
        self._left = self._left - 1 if most < _TWELVE_BITS else 0
        if not self._left and most < _TWELVE_BITS:
            self._warn(
                f"no pixel of the {name} images is above {most} of 65535: they would be all but black; if the camera "
                "has 10 or 12 bits, set image_bits to that number"
            )

    def _converted(self, image: NDArray[Any], chroma: NDArray[Any] | None, known: Encoding, name: str) -> Bgr:
        if self._left and self._bits == SIXTEEN and image.dtype.itemsize == 2:
            self._look_for_few_bits(image, name)
        height = image.shape[0] * 2 // 3 if known.semi_planar == 1 else image.shape[0]
        shape = (height, image.shape[1], 3)
        if self._spare.shape != shape:
            self._spare = np.empty(shape, np.uint8)
        try:
            made = convert(image, chroma, known, self._spare, self._buffer, self._bits)
        except cv2.error as error:
            raise InputError(f"a {shape[1]}x{height} image cannot be {name}: {error.err}") from error
        if made is not self._spare:  # OpenCV has not written where it was asked to
            return made
        self._out, self._spare = self._spare, self._out
        return self._out

    def _buffer(self, use: str, shape: tuple[int, ...], dtype: type[Any]) -> NDArray[Any]:
        """Return memory for what lies between message and image."""
        kept = self._buffers.get(use)
        if kept is None or kept.shape != shape:
            kept = self._buffers[use] = np.empty(shape, dtype)
        return kept


def to_bgr(message: Image | CompressedImage | RawImage) -> Bgr:
    """Return one message's image as `Converter.bgr` does, in memory of its own."""
    return Converter().bgr(message)


class Canvas:
    """A `bgr8` message whose memory is drawn to, and reused for the next image.

    `publish` has serialized a message when it returns, so that the next image may be put into the same one.
    """

    def __init__(self) -> None:
        self.message = Image(encoding="bgr8", is_bigendian=0)
        self._image: Bgr = np.empty((0, 0, 3), np.uint8)

    def room(self, shape: tuple[int, int, int]) -> Bgr:
        """Return the message's own memory for an image [height, width, 3], to be drawn to."""
        if self._image.shape != shape:
            height, width = shape[:2]
            self.message = Image(height=height, width=width, encoding="bgr8", is_bigendian=0, step=width * 3)
            self.message.data.frombytes(bytes(height * width * 3))  # a setter copies once more
            self._image = np.frombuffer(self.message.data, np.uint8).reshape(shape)
        return self._image

    def put(self, image: Bgr, header: Any) -> Bgr:
        """Copy a BGR image [height, width, 3] into the message; return the message's own, to be drawn to.

        One that lies there already (`room`) stays where it is.
        """
        height, width = image.shape[:2]
        room = self.room((height, width, 3))
        if image is not room and not np.may_share_memory(image, room):
            np.copyto(room, image)
        self.message.header = header
        return self._image


def from_bgr(image: Bgr, header: Any) -> Image:
    """Return a `bgr8` message of a BGR image [height, width, 3], with a copy of its pixels."""
    canvas = Canvas()
    canvas.put(image, header)
    return canvas.message
