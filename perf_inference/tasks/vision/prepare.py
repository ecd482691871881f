"""From a camera's image to a model's array, as its `ImageBlock` says: the one function for every kind of model."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.image_preprocessing import ImageFit
from perf_inference.errors import InputError
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.placement import Placement, fit_of
from perf_inference.tasks.vision.resize import Step, resize, resized, steps

Pixels = NDArray[Any]
_COMPUTED = {"uint8": np.uint8, "float16": np.float32, "float32": np.float32, "float64": np.float64}


def prepare(image: Pixels, block: ImageBlock) -> tuple[Pixels, Placement]:
    """Return the model's array with its batch axis, [1, C, H, W] or [1, H, W, C], and where the image lies in it.

    Args:
        image: BGR uint8 [H, W, 3]; grey uint8 [H, W] too; for `depth` uint16 or float32 [H, W]. It may be a view.

    Raises:
        InputError: an image of another shape or dtype.
    """
    return Preparation(block)(image)


class Preparation:
    """`prepare` into memory that is kept: each thread has its own, and overwrites it with its next image.

    A model's input of a few MB in fresh memory costs more in page faults than the work on its pixels.
    """

    def __init__(self, block: ImageBlock) -> None:
        self.block = block
        self._mine = threading.local()

    def __call__(self, image: Pixels) -> tuple[Pixels, Placement]:
        """Return as `prepare`; the array is valid until this thread's next call."""
        kept: _Canvas | None = getattr(self._mine, "canvas", None)
        if kept is None:
            kept = self._mine.canvas = _Canvas(self.block)
        placement = kept.put(image)
        return kept.array, placement


def prepare_into(target: Pixels, image: Pixels, block: ImageBlock) -> Placement:
    """Write the image into one place of a batch, [C, H, W] or [H, W, C] of the block's dtype; return where it lies.

    Raises:
        InputError: as `prepare`.
    """
    canvas = _Canvas(block, target)
    return canvas.put(image)


class BatchPreparation:
    """The same for several images at once, each in a place of its own."""

    def __init__(self, block: ImageBlock, places: int) -> None:
        self.block = block
        self.array: Pixels = np.zeros((places, *block.shape), block.dtype)
        self._canvases = [_Canvas(block, place) for place in self.array]

    def put(self, place: int, image: Pixels) -> Placement:
        """Write an image into its place of `array`; return where it lies in it.

        Raises:
            InputError: as `prepare`.
        """
        return self._canvases[place].put(image)


class _Canvas:
    """An array of the block's shape whose bars are written once for each size of camera."""

    def __init__(self, block: ImageBlock, target: Pixels | None = None) -> None:
        self._block = block
        computed = _COMPUTED[block.dtype]
        self.array: Pixels = np.empty((1, *block.shape), block.dtype) if target is None else target[None]
        self._work: Pixels = self.array if self.array.dtype == computed else np.empty(self.array.shape, computed)
        self._fit: ImageFit | None = None
        self._placement: Placement | None = None
        self._direct: NDArray[np.uint8] | None = None  # where an image goes without another step ...
        self._steps: tuple[Step, ...] = ()  # ... than these, if it is of
        self._shape: tuple[int, ...] = ()
        self._factors = [(np.float32(a), np.float32(b)) for a, b in zip(*block.factors(), strict=True)]
        self._channels: list[NDArray[np.uint8]] = []

    def put(self, image: Pixels) -> Placement:
        known = self._direct is not None and image.shape == self._shape and image.dtype == np.uint8
        if known and resized(image, self._steps, self._direct) is self._direct:
            assert self._placement is not None
            return self._placement
        block = self._block
        image = _checked(image, block)
        height, width = image.shape[:2]
        fit = self._fit
        if fit is None or (fit.camera_width_px, fit.camera_height_px) != (width, height):
            fit = fit_of(block, width, height)
            self._fill(fit)
            self._fit, self._placement, self._direct = fit, Placement.of(fit), self._place_of(fit)
            self._shape, inner = image.shape, (fit.inner_width_px, fit.inner_height_px)
            self._steps = steps(width, height, *inner, block.interpolation)
        assert self._placement is not None
        pixels = resize(image, fit.inner_width_px, fit.inner_height_px, block.interpolation)
        if fit.left_px < 0 or fit.top_px < 0:
            pixels = pixels[-fit.top_px :, -fit.left_px :][: fit.height_px, : fit.width_px]
        if block.layout == "nchw":
            self._put_planes(pixels, fit)
        else:
            self._put_pixels(pixels, fit)
        if self._work is not self.array:
            with np.errstate(over="ignore"):
                np.copyto(self.array, self._work, casting="same_kind")
        return self._placement

    def _place_of(self, fit: ImageFit) -> NDArray[np.uint8] | None:
        """Return where a resized image belongs, if that is all that is done to it."""
        if self._work is not self.array or not self._block.is_plain or self._block.colour != "bgr":
            return None
        if self._block.layout != "nhwc" or self.array.dtype != np.uint8 or fit.left_px < 0 or fit.top_px < 0:
            return None
        if self._block.interpolation == "pil_bilinear":
            return None
        place: NDArray[np.uint8] = self.array[
            0, fit.top_px : fit.top_px + fit.inner_height_px, fit.left_px : fit.left_px + fit.inner_width_px
        ]
        return place if place.flags.c_contiguous else None

    def _fill(self, fit: ImageFit) -> None:
        if fit.inner_width_px >= fit.width_px and fit.inner_height_px >= fit.height_px:
            return
        for channel, (a, b) in enumerate(self._factors):
            into = self._work[0, channel] if self._block.layout == "nchw" else self._work[0, ..., channel]
            level = np.array([self._block.fill], into.dtype)
            _scale(level, a, level)
            into[:] = level + into.dtype.type(b)

    def _put_planes(self, pixels: Pixels, fit: ImageFit) -> None:
        rows = slice(max(fit.top_px, 0), max(fit.top_px, 0) + pixels.shape[0])
        columns = slice(max(fit.left_px, 0), max(fit.left_px, 0) + pixels.shape[1])
        into = self._work[0, :, rows, columns]
        for channel, (plane, (a, b)) in enumerate(zip(self._planes(pixels), self._factors, strict=True)):
            if into.dtype == np.uint8:
                np.copyto(into[channel], plane)
            elif plane.dtype == np.uint8 and into.dtype == np.float32:
                _scale(plane, a, into[channel])
                if b:
                    into[channel] += b
            else:
                _scale(plane, a, into[channel])
                into[channel] += b

    def _planes(self, pixels: Pixels) -> list[Pixels]:
        """Return the channels in the model's order, each [H, W]."""
        if pixels.ndim == 2:
            return [pixels]
        if not self._channels or self._channels[0].shape != pixels.shape[:2]:
            self._channels = [np.empty(pixels.shape[:2], np.uint8) for _ in range(3)]
        if pixels.shape[0] > 1 and pixels.strides[1:] != (3, 1):
            pixels = np.ascontiguousarray(pixels)
        cv2.split(pixels, self._channels)
        planes: list[Pixels] = list(self._channels)
        return planes[::-1] if self._block.colour == "rgb" else planes

    def _put_pixels(self, pixels: Pixels, fit: ImageFit) -> None:
        rows = slice(max(fit.top_px, 0), max(fit.top_px, 0) + pixels.shape[0])
        columns = slice(max(fit.left_px, 0), max(fit.left_px, 0) + pixels.shape[1])
        into = self._work[0, rows, columns]
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        elif self._block.colour == "rgb":
            pixels = pixels[..., ::-1]
        if into.dtype == np.uint8 or self._block.is_plain:
            np.copyto(into, pixels, casting="unsafe")
            return
        a, b = (np.array(column, into.dtype) for column in zip(*self._factors, strict=True))
        if (a == a[0]).all():
            _scale(pixels, a[0], into)
        else:
            np.multiply(pixels, a, out=into, casting="unsafe")
        if b.any():
            into += b


def _scale(levels: Pixels, factor: Any, into: Pixels) -> None:
    """Write levels times the factor; one of 1 / 255 divides, as those do who trained the model: bit for bit."""
    divisor = np.float32(np.round(1 / float(factor)))
    if divisor > 1 and np.float32(1 / float(divisor)) == np.float32(factor):
        np.divide(levels, into.dtype.type(divisor), out=into, casting="unsafe")
    else:
        np.multiply(levels, into.dtype.type(factor), out=into, casting="unsafe")


def _checked(image: Pixels, block: ImageBlock) -> Pixels:
    """Return the image with the channels that the block resizes: three, or none for grey and depth.

    Raises:
        InputError: another shape or dtype.
    """
    dtypes: tuple[type[Any], ...] = (np.uint16, np.float32) if block.colour == "depth" else (np.uint8,)
    wanted = (2,) if block.colour == "depth" else (2, 3)
    fits = image.ndim in wanted and image.dtype in dtypes and image.size > 0
    if not fits or (image.ndim == 3 and image.shape[2] != 3):
        kind = "a depth image uint16 or float32 [H, W]" if block.colour == "depth" else "an image uint8 [H, W, 3]"
        raise InputError(f"the model takes {kind}, got {image.dtype} {list(image.shape)}")
    if block.colour == "gray" and image.ndim == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    if block.colour in ("rgb", "bgr") and image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    return image
