"""Non-maximum suppression: of boxes that overlap, the best one stays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_APART_PX = 7680.0  # between boxes of two classes: beyond the largest image in use, and small enough for float32
_MOST = 30_000  # candidates that are compared, best first
_MOST_PAIRS = 1_000_000  # of boxes that are compared at once
_FEW = 300  # boxes that OpenCV compares sooner


def suppress(
    boxes_xyxy: Floats, scores: Floats, classes: NDArray[np.int64], iou: float, agnostic: bool = False
) -> NDArray[np.intp]:
    """Return the indices of the boxes [N, 4] that stay, best first: each class for itself, or all together.

    A box is gone when a better one that stays overlaps it by more than `iou`. Boxes of negative size overlap nothing.
    """
    order = np.argsort(-scores, kind="stable")[:_MOST]
    if len(order) < 2:
        return order
    boxes = boxes_xyxy[order]
    if not agnostic:
        apart = max(_APART_PX, float(np.abs(boxes).max()) + 1)
        boxes = boxes + (classes[order] * apart).astype(np.float32)[:, None]
    solid = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    stays = np.ones(len(order), np.bool_)
    stays[solid] = _stays(boxes[solid].astype(np.float64), scores[order[solid]], iou)
    return order[stays]


def _stays(boxes: Doubles, scores: Floats, iou: float) -> NDArray[np.bool_]:
    """Return which of these boxes [N, 4], best first, stay; the boxes of two classes lie apart.

    Few boxes, and those that lie nearly all in one place, go to OpenCV, which compares each with each that stays. Of
    many that lie apart only pairs that overlap in x are looked at, all at once.
    """
    if len(boxes) > _FEW:
        by_x = np.argsort(boxes[:, 0])
        x0, y0, x1, y1 = np.ascontiguousarray(boxes[by_x].T)
        last = np.searchsorted(x0, x1, side="left")
        counts = last - np.arange(len(by_x)) - 1
        if int(counts.sum()) <= _MOST_PAIRS:
            i, j = _pairs(np.arange(len(by_x)), last)
            high = np.minimum(np.repeat(y1, counts), y1[j]) - np.maximum(np.repeat(y0, counts), y0[j])
            near = np.flatnonzero(high > 0)
            i, j, high = i[near], j[near], high[near]
            areas = (x1 - x0) * (y1 - y0)
            common = high * (np.minimum(x1[i], x1[j]) - x0[j])  # x0 rises
            over = common > iou * (areas[i] + areas[j] - common)
            i, j = by_x[i[over]], by_x[j[over]]
            return _greedy(len(boxes), np.minimum(i, j), np.maximum(i, j))
    stays = np.zeros(len(boxes), np.bool_)
    if len(boxes):
        rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        stays[np.asarray(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, iou), np.intp).reshape(-1)] = True
    return stays


def _greedy(count: int, better: NDArray[np.intp], worse: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which stay when a box goes that a better one which stays overlaps.

    What is true of the best boxes is true for good after as many rounds as there are boxes in the longest chain.
    """
    stays = np.ones(count, np.bool_)
    while True:
        now = np.ones(count, np.bool_)
        now[worse[stays[better]]] = False
        if np.array_equal(now, stays):
            return stays
        stays = now


def suppress_rotated(
    boxes_xywhr: Floats, scores: Floats, classes: NDArray[np.int64], iou: float, agnostic: bool = False
) -> NDArray[np.intp]:
    """Return the indices of the oriented boxes [N, 5] that stay, best first.

    A box is gone when any better one, whether that stays or not, has a probabilistic IoU of at least `iou` with it
    (J. Murrugarra-Llerena et al., arXiv 2106.06072). So pairs do not depend on each other; and only those are compared
    whose centres are near enough: with the Bhattacharyya distance d, 1 - sqrt(1 - exp(-d)) >= iou bounds d, and d is at
    least |c1 - c2|^2 / (4 (v1 + v2)), v a box's larger variance.
    """
    order = np.argsort(-scores, kind="stable")[:_MOST]
    if len(order) < 2 or iou <= 0:
        return order[:1] if iou <= 0 else order
    boxes = boxes_xywhr[order].astype(np.float64)
    groups = np.zeros(len(order), np.int64) if agnostic else classes[order]
    apart_px = (groups * _APART_PX)[:, None]  # as far as those put classes apart who compare all in float32: it rounds
    boxes[:, :2] = (boxes[:, :2] + apart_px).astype(np.float32) - apart_px
    gone = np.zeros(len(order), np.bool_)
    largest_distance = -np.log(max(1 - (1 - iou) ** 2, 1e-12)) + 1e-3
    variance = (boxes[:, 2:4] ** 2).max(axis=1) / 12
    shape = _covariance(boxes)
    reach = np.sqrt(4 * largest_distance * (variance + variance.max()))
    x = boxes[:, 0] + groups * (np.ptp(boxes[:, 0]) + reach.max() + 1)  # classes apart, so that they are no pairs
    by_x = np.argsort(x, kind="stable")
    last = np.searchsorted(x[by_x], x[by_x] + reach[by_x], side="right")
    for first in _pieces(last - np.arange(len(by_x)) - 1):
        i, j = _pairs(first, last)
        i, j = by_x[i], by_x[j]
        apart = ((boxes[i, :2] - boxes[j, :2]) ** 2).sum(axis=1)
        near = apart <= 4 * largest_distance * (variance[i] + variance[j])
        i, j = i[near], j[near]
        overlap = _probabilistic_iou(boxes, shape, i, j) >= iou
        gone[np.maximum(i[overlap], j[overlap])] = True  # the later one has the lower score
    return order[~gone]


def probabilistic_iou(first_xywhr: Floats, second_xywhr: Floats) -> Floats:
    """Return the probabilistic IoU of oriented boxes [N, 5], each with its own of the others."""
    boxes = np.concatenate([first_xywhr, second_xywhr]).astype(np.float64)
    index = np.arange(len(first_xywhr))
    return _probabilistic_iou(boxes, _covariance(boxes), index, index + len(index)).astype(np.float32)


def _covariance(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (a, b, c) [3, N] of the covariances [[a, c], [c, b]] of boxes as Gaussians."""
    along, across = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return np.stack([
        along * cos**2 + across * sin**2, along * sin**2 + across * cos**2, (along - across) * cos * sin
    ])  # fmt: skip


def _probabilistic_iou(
    boxes: NDArray[np.float64], shape: NDArray[np.float64], i: NDArray[np.intp], j: NDArray[np.intp]
) -> NDArray[np.float64]:
    a, b, c = shape[:, i] + shape[:, j]
    dx, dy = (boxes[i, :2] - boxes[j, :2]).T
    determinant = a * b - c * c
    areas = (boxes[i, 2] * boxes[i, 3] * boxes[j, 2] * boxes[j, 3]) / 144  # root of the product of both determinants
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (a * dy * dy + b * dx * dx - 2 * c * dx * dy) / (determinant + 1e-7) / 4
        unlike = np.log(determinant / (4 * np.abs(areas) + 1e-7) + 1e-7) / 2
    distance = np.clip(np.nan_to_num(apart + unlike, nan=100.0, posinf=100.0), 1e-7, 100.0)
    result: NDArray[np.float64] = 1 - np.sqrt(1 - np.exp(-distance) + 1e-7)
    return result


def _pieces(counts: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the boxes, in pieces of about so many pairs as are compared at once."""
    bounds = np.searchsorted(np.cumsum(counts), np.arange(_MOST_PAIRS, int(counts.sum()) + _MOST_PAIRS, _MOST_PAIRS))
    return [piece for piece in np.split(np.arange(len(counts)), bounds[:-1]) if len(piece)]


def _pairs(first: NDArray[np.intp], last: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return i and j of all pairs i < j < last[i]."""
    counts = last[first] - first - 1
    i = np.repeat(first, counts)
    starts = np.cumsum(counts) - counts
    j = np.arange(len(i)) - np.repeat(starts, counts) + i + 1
    return i, j
