"""From a camera image to an image model's input, and back from its pixels to the camera's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.image_preprocessing import ImageFit, fit_in_graph
from perf_inference.errors import ConfigError, InputError

Image = NDArray[np.uint8]
_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class ImageInput:
    """How an image model wants its image."""

    name: str
    width_px: int
    height_px: int
    channels_first: bool  # NCHW float; else NHWC uint8 with normalisation inside the graph
    dtype: np.dtype[Any]
    rgb: bool = False
    scale: float = 1.0  # multiplies 0..255
    in_graph: ImageFit | None = None  # the graph resizes and normalises the camera's image itself

    @classmethod
    def of(
        cls,
        spec: ArraySpec,
        width_px: int,
        height_px: int,
        rgb: bool,
        scale: float,
        metadata: Mapping[str, str] = _NO_METADATA,
    ) -> ImageInput:
        """Read layout and size from an engine's input; the given size stands where the spec leaves it free.

        Args:
            metadata: of the model; they say when its graph takes the camera's images as they are.

        Raises:
            ConfigError: no image of three channels.
        """
        if fit := fit_in_graph(metadata, spec.name):
            if spec.shape != (1, fit.camera_height_px, fit.camera_width_px, 3) or spec.dtype != np.uint8:
                raise ConfigError(
                    f"input '{spec.name}' must be uint8 [1,{fit.camera_height_px},{fit.camera_width_px},3] as the "
                    f"model's metadata say, got {spec.dtype} {list(spec.shape)}; build it again with --image-size"
                )
            return cls(spec.name, fit.width_px, fit.height_px, False, spec.dtype, in_graph=fit)
        if len(spec.shape) != 4 or 3 not in (spec.shape[1], spec.shape[3]):
            raise ConfigError(
                f"model input '{spec.name}' must be an image, [1,3,H,W] or [1,H,W,3], got {list(spec.shape)}"
            )
        first = spec.shape[1] == 3
        height, width = spec.shape[2:4] if first else spec.shape[1:3]
        return cls(spec.name, width or width_px, height or height_px, first, spec.dtype, rgb, scale)

    def letterboxed(self, image: Image, centred: bool = True) -> tuple[NDArray[Any], Placement]:
        """Return the input's array of a BGR image [H, W, 3] with its aspect ratio kept, and where it lies.

        Raises:
            InputError: the graph takes images of another size.
        """
        if self.in_graph:
            return self._untouched(image, self.in_graph)
        boxed, placement = letterbox(image, self.width_px, self.height_px, centred=centred)
        return self.array(boxed), placement

    def stretched(self, image: Image) -> tuple[NDArray[Any], Placement]:
        """Return the input's array of a BGR image [H, W, 3] that fills it, and where it lies.

        Raises:
            InputError: the graph takes images of another size.
        """
        if self.in_graph:
            return self._untouched(image, self.in_graph)
        resized, placement = stretch(image, self.width_px, self.height_px)
        return self.array(resized), placement

    def blank(self) -> Image:
        """Return a black image as the camera may send it."""
        size = (self.in_graph.camera_height_px, self.in_graph.camera_width_px) if self.in_graph else (480, 640)
        return np.zeros((*size, 3), np.uint8)

    def _untouched(self, image: Image, fit: ImageFit) -> tuple[NDArray[Any], Placement]:
        height, width = image.shape[:2]
        if (width, height) != (fit.camera_width_px, fit.camera_height_px):
            raise InputError(
                f"the model was built for images of {fit.camera_width_px}x{fit.camera_height_px} px, got "
                f"{width}x{height}; build it with --image-size {width}x{height}, or without --image-size for any size"
            )
        return np.ascontiguousarray(image[None]), Placement.of(fit)

    def array(self, image: Image) -> NDArray[Any]:
        """Return [1,3,H,W] or [1,H,W,3] of a BGR image that already has the input's size."""
        if self.rgb:
            image = image[..., ::-1]
        if self.channels_first:
            image = image.transpose(2, 0, 1)
        if self.dtype == np.uint8:
            return np.ascontiguousarray(image[None])
        array = np.ascontiguousarray(image[None], dtype=self.dtype)
        if self.scale != 1.0:
            array *= self.dtype.type(self.scale)
        return array


@dataclass(frozen=True)
class Placement:
    """Where the camera's image lies in the model's: model px = camera px * scale + offset."""

    scale_x: float
    scale_y: float
    offset_x_px: float
    offset_y_px: float
    width_px: int  # the camera's image
    height_px: int

    @classmethod
    def of(cls, fit: ImageFit) -> Placement:
        """Return the same in px of the model per px of the camera."""
        width, height = fit.camera_width_px, fit.camera_height_px
        return cls(fit.inner_width_px / width, fit.inner_height_px / height, fit.left_px, fit.top_px, width, height)

    def to_camera(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return boxes [N, 4] in px of the camera's image, cut at its edges."""
        offset = np.array([self.offset_x_px, self.offset_y_px] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        limit = np.array([self.width_px, self.height_px] * 2, np.float32)
        boxes: NDArray[np.float32] = np.clip((boxes_xyxy - offset) / scale, 0, limit)
        return boxes


def stretch(image: Image, width_px: int, height_px: int) -> tuple[Image, Placement]:
    """Return the image resized to exactly this size (a copy, or the image itself where it fits)."""
    height, width = image.shape[:2]
    placement = Placement(width_px / width, height_px / height, 0.0, 0.0, width, height)
    if (width, height) == (width_px, height_px):
        return image, placement
    return _resized(image, width_px, height_px), placement


def _resized(image: Image, width_px: int, height_px: int) -> Image:
    """Return the image at this size, every pixel of it having its part in the result.

    OpenCV averages areas quickly where one pixel comes of k x k whole ones and slowly otherwise (0.65 ms from 640x480
    to 256x192, 4.4 from 1920x1080); so it is first shrunk by a whole number, and what is left, under 2, leaves no pixel
    out when interpolated. The embedded models' scores are the same (models/README.md).
    """
    height, width = image.shape[:2]
    most = min(width // width_px, height // height_px)
    k = next((k for k in range(most, 1, -1) if width % k == height % k == 0), 1)
    if k > 1:
        width, height = width // k, height // k
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if (width, height) == (width_px, height_px):
        return image
    how = cv2.INTER_LINEAR if width < 2 * width_px and height < 2 * height_px else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width_px, height_px), interpolation=how), np.uint8)


def letterbox(
    image: Image, width_px: int, height_px: int, fill: int = 114, centred: bool = True
) -> tuple[Image, Placement]:
    """Return the image resized with its aspect ratio kept and grey bars (level `fill`) around or below it."""
    height, width = image.shape[:2]
    fit = ImageFit.of((width, height), (width_px, height_px), letterbox=True, centred=centred)
    inner, _ = stretch(image, fit.inner_width_px, fit.inner_height_px)
    if inner.shape[:2] == (height_px, width_px):
        return inner, Placement.of(fit)
    boxed = np.full((height_px, width_px, 3), fill, np.uint8)
    boxed[fit.top_px : fit.top_px + fit.inner_height_px, fit.left_px : fit.left_px + fit.inner_width_px] = inner
    return boxed, Placement.of(fit)
