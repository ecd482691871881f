"""Lets a torchvision that was built for CUDA import beside a CPU build of PyTorch: import this before both are used.

Its compiled operators do not load there. `nms` is written here, by its documentation; nothing else is needed.
With NMS_LIBRARY, which is `nms.c` compiled, it is in C, as in a torchvision whose operators load.
"""

from __future__ import annotations

import ctypes
import os
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


def nms_in_c(path: str) -> Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]:
    call = ctypes.CDLL(path).nms
    call.restype = ctypes.c_int64
    pointer = ctypes.c_void_p
    call.argtypes = [pointer, pointer, ctypes.c_int64, ctypes.c_float, pointer, pointer]

    def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
        boxes = boxes.contiguous()
        order = torch.argsort(scores, descending=True, stable=True)
        count = len(order)
        gone, kept = torch.empty(count, dtype=torch.uint8), torch.empty(count, dtype=torch.int64)
        left = call(boxes.data_ptr(), order.data_ptr(), count, threshold, gone.data_ptr(), kept.data_ptr())
        return kept[:left]

    return nms


_suppress = nms_in_c(os.environ["NMS_LIBRARY"]) if os.environ.get("NMS_LIBRARY") else nms
_LIBRARY.impl("nms", _suppress, "CPU")
torchvision.ops.boxes._assert_has_ops = lambda: None
