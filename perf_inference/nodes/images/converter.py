"""Between image messages and BGR arrays: views where the encoding allows, else one conversion into reused memory."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from perf_inference.errors import InputError
from perf_inference.nodes.images import compressed
from perf_inference.nodes.images.encodings import Encoding, convert, encoding_of, pixels
from perf_inference.nodes.images.raw_image import RawImage

Picture = NDArray[np.uint8]
_OF_SHAPE = {1: "mono", 3: "bgr", 4: "bgra"}


class Converter:
    """Makes the messages of one input BGR, in memory that it keeps: for one thread.

    The picture that it returned last is never written to: two buffers take turns, and a turn that fails is taken again.
    So a picture is good until the second that is made after it, which is what a worker with one frame in work, and
    one that looks at the newest picture again and again, need.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}  # by use
        self._out: Picture = np.empty((0, 0, 3), np.uint8)
        self._spare: Picture = self._out

    def bgr(self, message: Image | CompressedImage | RawImage) -> Picture:
        """Return the picture as BGR uint8 [height, width, 3]: a view of the message's data where that is BGR.

        Rows that end in padding stay as they are: the view is not contiguous then.

        Raises:
            InputError: an unknown encoding, or a `step` or size that does not fit the data; a broken JPEG or PNG.
        """
        if isinstance(message, CompressedImage):
            return self._decompressed(message)
        known = encoding_of(message.encoding)
        picture, chroma = pixels(message, known)
        if known.code is None and chroma is None and picture.dtype == np.uint8:
            return picture
        return self._converted(picture, chroma, known, message.encoding)

    def _decompressed(self, message: CompressedImage) -> Picture:
        picture = compressed.decode(message)
        name = _OF_SHAPE[1 if picture.ndim == 2 else picture.shape[2]]
        if compressed.is_rgb(message.format):
            name = name.replace("bgr", "rgb")
        name += str(picture.dtype.itemsize * 8)
        return picture if name == "bgr8" else self._converted(picture, None, encoding_of(name), name)

    def _converted(self, picture: NDArray[Any], chroma: NDArray[Any] | None, known: Encoding, name: str) -> Picture:
        height = picture.shape[0] * 2 // 3 if known.semi_planar == 1 else picture.shape[0]
        shape = (height, picture.shape[1], 3)
        if self._spare.shape != shape:
            self._spare = np.empty(shape, np.uint8)
        try:
            made = convert(picture, chroma, known, self._spare, self._buffer)
        except cv2.error as error:
            raise InputError(f"a {shape[1]}x{height} image cannot be {name}: {error.err}") from error
        if made is not self._spare:  # OpenCV has not written where it was asked to
            return made
        self._out, self._spare = self._spare, self._out
        return self._out

    def _buffer(self, use: str, shape: tuple[int, ...], dtype: type[Any]) -> NDArray[Any]:
        """Return memory for what lies between message and picture."""
        kept = self._buffers.get(use)
        if kept is None or kept.shape != shape:
            kept = self._buffers[use] = np.empty(shape, dtype)
        return kept


def to_bgr(message: Image | CompressedImage | RawImage) -> Picture:
    """Return one message's picture as `Converter.bgr` does, in memory of its own."""
    return Converter().bgr(message)


class Canvas:
    """A `bgr8` message whose memory is drawn to, and reused for the next picture.

    `publish` has serialized a message when it returns, so that the next picture may be put into the same one.
    """

    def __init__(self) -> None:
        self.message = Image(encoding="bgr8", is_bigendian=0)
        self._picture: Picture = np.empty((0, 0, 3), np.uint8)

    def put(self, picture: Picture, header: Any) -> Picture:
        """Copy a BGR picture [height, width, 3] into the message; return the message's own, to be drawn to."""
        if self._picture.shape == picture.shape:
            np.copyto(self._picture, picture)
        else:
            height, width = picture.shape[:2]
            self.message = Image(height=height, width=width, encoding="bgr8", is_bigendian=0, step=width * 3)
            self.message.data.frombytes(np.ascontiguousarray(picture).data.cast("B"))  # a setter copies once more
            self._picture = np.frombuffer(self.message.data, np.uint8).reshape(picture.shape)
        self.message.header = header
        return self._picture


def from_bgr(picture: Picture, header: Any) -> Image:
    """Return a `bgr8` message of a BGR picture [height, width, 3], with a copy of its pixels."""
    canvas = Canvas()
    canvas.put(picture, header)
    return canvas.message
