"""Masks of segmentation models, at the camera's resolution, and their run-length form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import EngineError
from perf_inference.tasks.vision.found import Mask
from perf_inference.tasks.vision.placement import Placement

Floats = NDArray[np.float32]
NO_CLASS = 255
NOT_FINITE = Mask(-1, -1, np.zeros((0, 0), np.bool_))
_MARGIN = 2  # cells round a box that take part in its interpolation


def masks_of(
    coefficients: Floats, prototypes: Floats, boxes: Floats, placement: Placement, size: tuple[int, int]
) -> tuple[Mask | None, ...]:
    """Return the mask of each object, within its box; None where no pixel of the model's image is of it, NOT_FINITE
    where a number of it is infinite or none.

    A pixel of the model's image is of the object where the weighted sum of the prototypes, interpolated between the
    middles of their cells, is above 0 (a probability of one half); one of the camera's where most of what lies under it
    is.

    Args:
        coefficients: [N, M].
        prototypes: [M, h, w], over the model's image.
        boxes: [N, 4] xyxy in px of the model's image.
        size: height and width of the model's image [px].

    Raises:
        EngineError: prototypes of another shape.
    """
    prototypes = np.asarray(prototypes, np.float32)
    if prototypes.ndim != 3 or len(prototypes) != coefficients.shape[1] or not prototypes.size:
        raise EngineError(
            f"the model's prototypes must be [{coefficients.shape[1]}, height, width], got {list(prototypes.shape)}"
        )
    first = np.clip(np.ceil(boxes[:, :2]), 0, size[::-1]).astype(int).tolist()
    last = np.clip(np.ceil(boxes[:, 2:]), 0, size[::-1]).astype(int).tolist()
    return tuple(
        _mask(weights, prototypes, (*low, *high), placement, size)
        for weights, low, high in zip(coefficients, first, last, strict=True)
    )


def _mask(
    weights: Floats,
    prototypes: Floats,
    box: tuple[int, int, int, int],
    placement: Placement,
    size: tuple[int, int],
) -> Mask | None:
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return None
    _, high, wide = prototypes.shape
    x_cells, y_cells = wide / size[1], high / size[0]  # of a px of the model's image
    left, top = max(int(x0 * x_cells) - _MARGIN, 0), max(int(y0 * y_cells) - _MARGIN, 0)
    right, bottom = min(int(x1 * x_cells) + _MARGIN + 1, wide), min(int(y1 * y_cells) + _MARGIN + 1, high)
    with np.errstate(over="ignore", invalid="ignore"):
        part = np.tensordot(weights, prototypes[:, top:bottom, left:right], 1)
    if not np.isfinite(part).all():
        return NOT_FINITE
    seen = _warped(part, (x_cells, (x0 + 0.5) * x_cells - left), (y_cells, (y0 + 0.5) * y_cells - top),
                   (x1 - x0, y1 - y0), cv2.BORDER_REPLICATE) > 0  # fmt: skip
    if not seen.any():
        return None
    x_scale, y_scale, x_off, y_off = (
        placement.scale_x, placement.scale_y, placement.offset_x_px, placement.offset_y_px
    )  # fmt: skip
    begin_x, begin_y = max(int((x0 - x_off) / x_scale) - 1, 0), max(int((y0 - y_off) / y_scale) - 1, 0)
    end_x = min(int((x1 - x_off) / x_scale) + 2, placement.width_px)
    end_y = min(int((y1 - y_off) / y_scale) + 2, placement.height_px)
    if end_x <= begin_x or end_y <= begin_y:
        return Mask(min(begin_x, placement.width_px), min(begin_y, placement.height_px), np.zeros((0, 0), np.bool_))
    levels = _warped(
        seen.view(np.uint8) * np.uint8(255),
        (x_scale, (begin_x + 0.5) * x_scale + x_off - x0),
        (y_scale, (begin_y + 0.5) * y_scale + y_off - y0),
        (end_x - begin_x, end_y - begin_y),
        cv2.BORDER_CONSTANT,
    )
    return Mask(begin_x, begin_y, levels > 128)


def _warped(
    pixels: NDArray[Any], x: tuple[float, float], y: tuple[float, float], size: tuple[int, int], border: int
) -> NDArray[Any]:
    """Return (width, height) px of an image, interpolated: px i lies at x[0] * i + x[1]; middles are at 0.5, 1.5 ..."""
    to_old = np.array([[x[0], 0, x[1] - 0.5], [0, y[0], y[1] - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, to_old, size, flags=flags, borderMode=border))


def run_lengths(mask: Mask, width_px: int, height_px: int) -> dict[str, Any]:
    """Return the mask of the whole image as COCO's compressed run-length form, {"size": [h, w], "counts": text}.

    Runs of pixels that are not, that are, that are not ... of the object, down one column after the other; each number,
    from the fourth on less the one two before, in groups of five bits, lowest first, as letters from '0' on
    (https://github.com/cocodataset/cocoapi, common/maskApi.c).
    """
    padded = np.pad(mask.pixels.T.astype(np.int8), ((0, 0), (1, 1)))  # [w, h + 2]: a column in a row
    steps = np.diff(padded, axis=1)
    starts, ends = ((steps == sign).nonzero() for sign in (1, -1))
    begin = (starts[0] + mask.x_px) * height_px + starts[1] + mask.y_px
    end = (ends[0] + mask.x_px) * height_px + ends[1] + mask.y_px
    joined = begin[1:] == end[:-1]  # from the foot of a column to the head of the next
    if joined.any():
        begin, end = begin[np.append(True, ~joined)], end[np.append(~joined, True)]
    edges = np.concatenate([[0], np.stack([begin, end], axis=1).reshape(-1), [width_px * height_px]])
    counts = np.diff(edges)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [height_px, width_px], "counts": _compressed(counts)}


def pixels_of(runs: dict[str, Any]) -> NDArray[np.bool_]:
    """Return the mask [h, w] of its run-length form."""
    height, width = runs["size"]
    counts: list[int] = []
    value = shift = 0
    for letter in runs["counts"].encode():
        group = letter - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    pixels: NDArray[np.bool_] = flat.reshape(width, height).T
    return pixels


def _compressed(counts: NDArray[np.int64]) -> str:
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    groups: list[NDArray[np.int64]] = []
    alive = np.ones(len(values), np.bool_)
    used: list[NDArray[np.bool_]] = []
    while alive.any():
        group = values & 31
        values = values >> 5
        more = np.where(group & 16, values != -1, values != 0)
        groups.append(group | np.where(more, 32, 0))
        used.append(alive)
        alive = alive & more
    letters = (np.stack(groups, axis=1) + 48).astype(np.uint8)
    return letters[np.stack(used, axis=1)].tobytes().decode("ascii")


def images_of(masks: Sequence[Mask], classes: NDArray[np.int64], width_px: int, height_px: int) -> tuple[
    NDArray[np.uint8], NDArray[np.uint16]]:  # fmt: skip
    """Return the class (NO_CLASS: none) and the index + 1 (0: none) of the object at each pixel.

    Where objects overlap, the better one has the pixel: it stands first.
    """
    kinds = np.full((height_px, width_px), NO_CLASS, np.uint8)
    which = np.zeros((height_px, width_px), np.uint16)
    for index in range(len(masks) - 1, -1, -1):
        mask = masks[index]
        high, wide = mask.pixels.shape
        part = np.s_[mask.y_px : mask.y_px + high, mask.x_px : mask.x_px + wide]
        which[part][mask.pixels] = index + 1
        kinds[part][mask.pixels] = min(int(classes[index]), NO_CLASS - 1)
    return kinds, which
