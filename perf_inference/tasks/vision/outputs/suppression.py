"""Non-maximum suppression: of boxes that overlap, the best one stays."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_APART_PX = 7680.0  # between boxes of two classes: beyond the largest image in use, and small enough for float32
_FARTHEST_PX = 1e6  # from an image: a box beyond it is nonsense, and must not move the others
_MOST = 30_000  # candidates that are compared, best first
_MOST_PAIRS = 1_000_000  # of boxes that are compared at once
_FEW = 300  # boxes that OpenCV compares sooner
_BLOCK = 512  # boxes that are compared with each other at once


def suppress(
    boxes_xyxy: Floats, scores: Floats, classes: NDArray[np.int64], iou: float, agnostic: bool = False
) -> NDArray[np.intp]:
    """Return the indices of the boxes [N, 4] that stay, best first: each class for itself, or all together.

    A box is gone when a better one that stays overlaps it by more than `iou`. Boxes of negative size overlap nothing.
    """
    if not agnostic and len(scores) > 1:
        apart = max(_APART_PX, float(boxes_xyxy.max()) + 1, 1 - float(boxes_xyxy.min()))
        if apart > _APART_PX:
            boxes_xyxy = boxes_xyxy.astype(np.float64).clip(-_FARTHEST_PX, _FARTHEST_PX)
            apart = 2 * _FARTHEST_PX + 1
        boxes_xyxy = boxes_xyxy + (classes * apart).astype(boxes_xyxy.dtype)[:, None]
    if 1 < len(scores) <= _FEW:
        rectangles = boxes_xyxy.astype(np.float64)
        rectangles[:, 2:] -= rectangles[:, :2]
        if np.minimum.reduce(rectangles[:, 2:], axis=None) > 0:
            return _best(rectangles, scores, iou)
    order = np.argsort(-scores, kind="stable")[:_MOST]
    if len(order) < 2:
        return order
    sides = boxes_xyxy.T.take(order, axis=1)  # x0, y0, x1, y1
    is_solid = (sides[2] > sides[0]) & (sides[3] > sides[1])
    if is_solid.all():
        return order[_stays(sides.astype(np.float64), scores[order], iou)]
    stays = ~is_solid
    stays[is_solid] = _stays(sides[:, is_solid].astype(np.float64), scores[order[is_solid]], iou)
    return order[stays]


def _stays(sides: Doubles, scores: Floats, iou: float) -> NDArray[np.bool_]:
    """Return which of these boxes x0, y0, x1, y1 [4, N], best first, stay; the boxes of two classes lie apart.

    Few boxes, and those that lie nearly all in one place, go to OpenCV, which compares each with each that stays. Of
    many that lie apart only pairs that overlap in x are looked at: the best few hundred among each other, then those of
    them that stay with all others, which leaves little of these to be looked at in the next round.
    """
    stays = np.zeros(sides.shape[1], np.bool_)
    if len(stays) > _FEW:
        left = _Sides.of(sides)
        if left.pairs() <= _MOST_PAIRS:
            while len(left.rank):
                last = min(_BLOCK, len(left.rank)) - 1
                is_best = left.rank <= np.partition(left.rank, last)[last]
                best, left = left.only(is_best), left.only(~is_best)
                best = best.only(best.staying(iou))
                stays[best.rank] = True
                if len(left.rank):
                    left = left.only(~best.overlap(left, iou))
            return stays
    if len(stays):
        stays[_best(np.concatenate([sides[:2], sides[2:] - sides[:2]]).T, scores, iou)] = True
    return stays


def _best(rectangles: Doubles, scores: Floats, iou: float) -> NDArray[np.intp]:
    """Return the indices of the boxes x, y, width, height [N, 4] that stay, best first, compared each with each."""
    stay = cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, iou)  # which sorts them as `argsort` does
    return np.asarray(stay, np.intp).reshape(-1)


class _Sides(NamedTuple):
    """Boxes by their sides [N], in doubles, in the order of x; those of two classes lie apart in x."""

    x0: Doubles
    y0: Doubles
    x1: Doubles
    y1: Doubles
    area: Doubles
    rank: NDArray[np.intp]  # 0: of the best score

    @classmethod
    def of(cls, sides: Doubles) -> _Sides:
        """Return boxes [4, N], best first."""
        rank = np.argsort(sides[0], kind="stable")  # boxes of a class lie together already
        x0, y0, x1, y1 = sides.take(rank, axis=1)
        return cls(x0, y0, x1, y1, (x1 - x0) * (y1 - y0), rank)

    def only(self, mask: NDArray[np.bool_]) -> _Sides:
        index = np.flatnonzero(mask)
        x0, y0, x1, y1, area, rank = self
        return _Sides(x0[index], y0[index], x1[index], y1[index], area[index], rank[index])

    def pairs(self) -> int:
        """Return how many pairs overlap in x."""
        count = len(self.x0)
        return int(np.searchsorted(self.x0, self.x1, side="left").sum()) - count * (count + 1) // 2

    def staying(self, iou: float) -> NDArray[np.bool_]:
        """Return which are overlapped by more than `iou` by none of a better score that stays."""
        count = len(self.x0)
        i, j = _pairs(np.arange(count), np.searchsorted(self.x0, self.x1, side="left"))
        i, j = self._over(i, j, self, iou)
        is_better = self.rank[i] < self.rank[j]
        return _greedy(count, np.where(is_better, i, j), np.where(is_better, j, i))

    def overlap(self, others: _Sides, iou: float) -> NDArray[np.bool_]:
        """Return which of the others any of these overlaps by more than `iou`."""
        gone = np.zeros(len(others.x0), np.bool_)
        # Of two that overlap in x, the left side of one lies within the other.
        within = np.searchsorted(others.x0, self.x0, side="left"), np.searchsorted(others.x0, self.x1, side="left")
        _, j = self._over(*_ranges(*within), others, iou)
        gone[j] = True
        left = np.flatnonzero(~gone)
        others = others.only(~gone)
        within = np.searchsorted(self.x0, others.x0, side="right"), np.searchsorted(self.x0, others.x1, side="left")
        j, i = _ranges(*within)
        _, j = self._over(i, j, others, iou)
        gone[left[j]] = True
        return gone

    def _over(
        self, i: NDArray[np.intp], j: NDArray[np.intp], others: _Sides, iou: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return those of these pairs, which overlap in x, that overlap by more than `iou`."""
        high = np.minimum(self.y1[i], others.y1[j]) - np.maximum(self.y0[i], others.y0[j])
        near = np.flatnonzero(high > 0)
        i, j, high = i[near], j[near], high[near]
        common = high * (np.minimum(self.x1[i], others.x1[j]) - np.maximum(self.x0[i], others.x0[j]))
        over = np.flatnonzero(common > iou * (self.area[i] + others.area[j] - common))
        return i[over], j[over]


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
    which, j = _ranges(first + 1, last[first])
    return first[which], j


def _ranges(low: NDArray[np.intp], high: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the index of each range low <= j < high, as often as it is long, and its j; an empty one has none."""
    counts = np.maximum(high - low, 0)
    which = np.repeat(np.arange(len(low)), counts)
    starts = np.cumsum(counts) - counts - low
    return which, np.arange(len(which)) - starts[which]
