"""Lets a torchvision that was built for CUDA import beside a CPU build of PyTorch: import this before both are used.

Its compiled operators do not load there. `nms` is written here, by its documentation; nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")
_LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of the boxes that no better one overlaps by more than the threshold, best first."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool)
    kept = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        low, high = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2]), torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        common = (high - low).clamp(min=0).prod(dim=1)
        alive[i + 1 :] &= ~(common / (areas[i] + areas[i + 1 :] - common) > iou_threshold)
    return order[kept]


def suppress_by(other: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]) -> None:
    """Let this do what `nms` does, from now on."""
    _suppress[0] = other


_suppress = [nms]
_LIBRARY.impl("nms", lambda boxes, scores, threshold: _suppress[0](boxes, scores, threshold), "CPU")
torchvision.ops.boxes._assert_has_ops = lambda: None
