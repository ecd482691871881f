"""Resizing as those did it who trained the model: three ways that give other pixels, and other scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Step = tuple[tuple[int, int], int]  # width and height [px], and OpenCV's interpolation
_BITS = 22  # of Pillow's coefficients: 32 less 8 of a level and 2 to spare


def resize(image: Pixels, width_px: int, height_px: int, interpolation: str) -> Pixels:
    """Return [height_px, width_px(, C)] of an image [H, W(, C)], a copy, or the image itself where it fits."""
    if interpolation == "pil_bilinear" and image.shape[:2] != (height_px, width_px):
        return antialiased(image, width_px, height_px)
    height, width = image.shape[:2]
    return resized(image, steps(width, height, width_px, height_px, interpolation))


def area(image: Pixels, width_px: int, height_px: int) -> Pixels:
    """Return the image at this size, every pixel of it having its part in the result."""
    return resize(image, width_px, height_px, "area")


def resized(image: Pixels, plan: Sequence[Step], into: NDArray[np.uint8] | None = None) -> Pixels:
    """Return the image after these steps; the last may put it `into` memory of its size and dtype, or not."""
    last = len(plan) - 1
    for number, (size, how) in enumerate(plan):
        image = cv2.resize(image, size, into if number == last else None, interpolation=how)
    return image


def steps(width: int, height: int, width_px: int, height_px: int, interpolation: str) -> tuple[Step, ...]:
    """Return the calls of OpenCV's `resize` that make an image of one size one of another; none where it fits.

    OpenCV averages areas quickly where one pixel comes of whole ones, of 2 x 2 above all, and slowly otherwise: 6.2 ms
    from 1920x1080 to 256x192, this 0.7. So for `area` the image is halved as long as it can be; what is then left to
    do, where it is less than 2, leaves no pixel out when interpolated. The embedded models' scores are the same
    (models/README.md).
    """
    if (width, height) == (width_px, height_px):
        return ()
    if interpolation != "area":
        return (((width_px, height_px), cv2.INTER_LINEAR if interpolation == "bilinear" else cv2.INTER_NEAREST),)
    plan: list[Step] = []
    whole = width % width_px == height % height_px == 0  # halved only as long as it stays so: exact
    while width >= 2 * width_px and height >= 2 * height_px and width % 2 == height % 2 == 0:
        if whole and (width // 2 % width_px or height // 2 % height_px):
            break
        width, height = width // 2, height // 2
        plan.append(((width, height), cv2.INTER_AREA))
    if (width, height) != (width_px, height_px):
        is_small = width < 2 * width_px and height < 2 * height_px
        plan.append(((width_px, height_px), cv2.INTER_LINEAR if is_small else cv2.INTER_AREA))
    return tuple(plan)


def antialiased(image: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return the image as Pillow's bilinear filter makes it, to the level: triangles as wide as a pixel of the result.

    One axis after the other, each rounded to whole levels; which is first is Pillow 13's choice (before it, the rows
    always were, which differs by a level here and there):
    https://github.com/python-pillow/Pillow/blob/13.0.0/src/libImaging/Resample.c
    """
    height, width = image.shape[:2]
    columns_first = height > height_px and height - height_px > 2 * (width - width_px)
    for axis in (0, 1) if columns_first else (1, 0):
        if axis == 0 and height != height_px:
            image = _columns(image, height_px)
        elif axis == 1 and width != width_px:
            image = np.ascontiguousarray(_columns(image.swapaxes(0, 1), width_px).swapaxes(0, 1))
    return image


def _columns(image: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """Return the image with its first axis resampled."""
    first, weights = _taps(image.shape[0], length)
    rows = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    total = np.full((length, rows.shape[1]), 1 << (_BITS - 1), np.int32)
    part = np.empty_like(total)
    for tap in range(weights.shape[1]):
        used = np.minimum(first + tap, image.shape[0] - 1)  # a weight of 0 stands where there is no such row
        np.multiply(rows[used], weights[:, tap, None], out=part, dtype=np.int32)
        total += part
    total >>= _BITS
    return np.clip(total, 0, 255).astype(np.uint8).reshape(length, *image.shape[1:])


@lru_cache(maxsize=64)
def _taps(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return for each pixel of the result its first old one [new], and the weights from there on [new, taps]."""
    scale = old / new
    support = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centres + support + 0.5).astype(np.intp), old)
    offsets = np.arange(int((last - first).max()))
    weights = np.clip(1 - np.abs((first[:, None] + offsets - centres[:, None] + 0.5) / support), 0, None)
    weights[first[:, None] + offsets >= last[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return first, (0.5 + weights * (1 << _BITS)).astype(np.int32)
