"""Where a camera's image lies in a model's, and the way back from the model's pixels to the camera's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.image_preprocessing import ImageFit
from perf_inference.errors import InputError
from perf_inference.tasks.vision.image_block import ImageBlock

Floats = NDArray[np.float32]
_ROUNDING = 0.01  # of the scales of two axes


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
        """Return the same in px of the model per px of the camera: each axis as it was resized, to whole px."""
        width, height = fit.camera_width_px, fit.camera_height_px
        return cls(fit.inner_width_px / width, fit.inner_height_px / height, fit.left_px, fit.top_px, width, height)

    def with_one_scale(self, size: tuple[int, int]) -> Placement:
        """Return it as those have it who forget that the resized image is whole px wide: one scale for both axes.

        Args:
            size: height and width of the model's image [px].
        """
        scale = min(size[1] / self.width_px, size[0] / self.height_px)
        left, top = self.offset_x_px, self.offset_y_px
        if left or top:  # bars on both sides, by the same arithmetic
            left = round((size[1] - self.width_px * scale) / 2 - 0.1)
            top = round((size[0] - self.height_px * scale) / 2 - 0.1)
        return replace(self, scale_x=scale, scale_y=scale, offset_x_px=left, offset_y_px=top)

    def to_camera(self, boxes_xyxy: Floats) -> Floats:
        """Return boxes [N, 4] in px of the camera's image, cut at its edges."""
        offset, scale, limit = self._corners
        boxes: Floats = boxes_xyxy - offset
        boxes /= scale
        np.maximum(boxes, 0, out=boxes)  # `np.clip` takes three times as long to begin
        return np.minimum(boxes, limit, out=boxes)

    @cached_property
    def _corners(self) -> tuple[Floats, Floats, Floats]:
        """Offset, scale and limit of x, y, x, y."""
        pairs = (self.offset_x_px, self.offset_y_px), (self.scale_x, self.scale_y), (self.width_px, self.height_px)
        offset, scale, limit = (np.array(pair * 2, np.float32) for pair in pairs)
        return offset, scale, limit

    def points_to_camera(self, points: Floats) -> Floats:
        """Return points [..., 2] in px of the camera's image, moved to its edge where they lie outside."""
        offset = np.array([self.offset_x_px, self.offset_y_px], np.float32)
        scale = np.array([self.scale_x, self.scale_y], np.float32)
        moved: Floats = np.clip((points - offset) / scale, 0, np.array([self.width_px, self.height_px], np.float32))
        return moved

    def rotated_to_camera(self, boxes_xywhr: Floats) -> Floats:
        """Return oriented boxes [N, 5] (centre, size, angle [rad]) in px of the camera's image; not cut.

        Where the two axes have one scale, but for the rounding to whole px: with two, a turned rectangle is none any
        more, and the box has the length of its sides' middle lines and the angle of the first.
        """
        moved: Floats = boxes_xywhr.copy()
        moved[:, 0] = (moved[:, 0] - self.offset_x_px) / self.scale_x
        moved[:, 1] = (moved[:, 1] - self.offset_y_px) / self.scale_y
        if abs(self.scale_x / self.scale_y - 1) < _ROUNDING:
            moved[:, 2:4] /= np.array([self.scale_x, self.scale_y], np.float32)
            return moved
        cos, sin = np.cos(moved[:, 4]), np.sin(moved[:, 4])
        along = np.stack([cos / self.scale_x, sin / self.scale_y])
        moved[:, 2] *= np.hypot(*along)
        moved[:, 3] *= np.hypot(sin / self.scale_x, cos / self.scale_y)
        moved[:, 4] = np.arctan2(along[1], along[0])
        return moved


def fit_of(block: ImageBlock, width_px: int, height_px: int) -> ImageFit:
    """Return where an image of this size lies in the model's; `left` and `top` are below 0 where it is cut.

    Sizes are rounded as those who trained such models round them: letterbox to the next px, top left (YOLOX) down,
    crop as torchvision's Resize and CenterCrop do.
    """
    height, width = block.size
    camera = (width_px, height_px)
    if block.fit == "stretch":
        return ImageFit(*camera, width, height, width, height)
    if block.fit == "crop":
        if width_px * height <= height_px * width:  # the width is what limits it
            inner = width, max(height, int(width * height_px / width_px))
        else:
            inner = max(width, int(height * width_px / height_px)), height
        return ImageFit(
            *camera, width, height, *inner, -round((inner[0] - width) / 2.0), -round((inner[1] - height) / 2.0)
        )
    return ImageFit.of(camera, (width, height), letterbox=True, centred=block.fit == "letterbox")


def least_rectangle(block: ImageBlock, width_px: int, height_px: int, stride: int) -> ImageBlock:
    """Return the letterbox block with no more bars than the model's stride asks for, where its size is free."""
    fit = fit_of(block, width_px, height_px)
    height = -(-fit.inner_height_px // stride) * stride
    width = -(-fit.inner_width_px // stride) * stride
    return replace(block, size=(height, width))


class View(NamedTuple):
    """Where what the model saw lies in the camera's image."""

    placement: Placement  # in the part that was looked at
    x_px: int  # where that part begins
    y_px: int
    width_px: int  # of the whole image
    height_px: int
    size: tuple[int, int]  # height and width of the model's image [px]


class Part(NamedTuple):
    """What the model looks at of a camera's image."""

    pixels: NDArray[Any]  # a view
    x_px: int  # where it begins
    y_px: int
    width_px: int  # of the whole image
    height_px: int
    block: ImageBlock  # what the model's image is to be


def part_of(frame: NDArray[Any], roi: tuple[int, int, int, int] | None, block: ImageBlock) -> Part:
    """Return the part of an image [H, W, ...] within a region x, y, width, height [px]; None: all of it.

    Raises:
        InputError: no image, or they do not overlap.
    """
    if frame.ndim < 2 or not frame.size:
        raise InputError(f"the model takes an image [height, width, 3], got an array {list(frame.shape)}")
    height, width = frame.shape[:2]
    if roi is None:
        return Part(frame, 0, 0, width, height, block)
    x, y = min(max(roi[0], 0), width), min(max(roi[1], 0), height)
    part = frame[y : min(max(roi[1] + roi[3], 0), height), x : min(max(roi[0] + roi[2], 0), width)]
    if not part.size:
        raise InputError(f"roi [x, y, width, height] must overlap the image of {width}x{height} px, got {list(roi)}")
    return Part(part, x, y, width, height, block)
