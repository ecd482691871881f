"""What is checked and computed of the scores and boxes of any layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import EngineError
from perf_inference.tasks.vision.outputs.head import STRIDES

Floats = NDArray[np.float32]
Raw = NDArray[Any]
SCORE_ERROR = 0.01  # of scores that were quantised
NONE_FINITE = "the model gave no score that is finite"


def above(best: Raw, confidence: float, allowed_none: bool = False) -> tuple[NDArray[np.intp], int]:
    """Return where scores are above the confidence, and how many are not finite.

    Raises:
        EngineError: none is finite (unless there may be none), or they are no scores.
    """
    if not best.size and allowed_none:
        return np.zeros(0, np.intp), 0
    if not best.size:
        raise EngineError("the model gave no rows")
    high, low = float(np.maximum.reduce(best, axis=None)), float(np.minimum.reduce(best, axis=None))
    not_finite = 0
    if not (math.isfinite(high) and math.isfinite(low)):
        finite = np.isfinite(best)
        not_finite = int(len(best) - finite.sum())
        if not_finite == len(best):
            raise EngineError(NONE_FINITE)
        best = np.where(finite, best, 0)
        high, low = float(best.max()), float(best.min())
    if high > 1 + SCORE_ERROR or low < -SCORE_ERROR:
        raise EngineError(
            f"the model gave a score of {worst(best):.3g}, and scores are from 0 to 1: its output is of another layout "
            "or kind; set layout, kind and class_names, or export it with its sigmoid"
        )
    return (best > confidence).nonzero()[0], not_finite


def worst(scores: Floats) -> float:
    high, low = float(scores.max()), float(scores.min())
    return high if high > 1 + SCORE_ERROR else low


def check_rows(rows: Raw, width: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != width:
        raise EngineError(f"the model's output must have rows of {width} numbers, got {list(rows.shape)}")


def class_numbers(values: Raw) -> NDArray[np.int64]:
    """Return class numbers, whatever they are written as.

    Raises:
        EngineError: they are none.
    """
    classes = np.asarray(values, np.float64)  # a million is none of half precision
    whole = np.nan_to_num(classes, nan=-1.0, posinf=-1.0, neginf=-1.0)
    if (whole < 0).any() or (whole > 1e6).any() or (np.abs(whole - np.round(whole)) > 1e-3).any():
        raise EngineError(f"the model gave classes that are no numbers of classes: {classes[:5].tolist()}")
    numbers: NDArray[np.int64] = np.round(whole).astype(np.int64)
    return numbers


def corners(boxes: Floats) -> Floats:
    """Return corners [N, 4] of rows that begin with centre and size."""
    centre, half = boxes.T[:2], boxes.T[2:4] / 2
    return np.concatenate([centre - half, centre + half]).T


def to_px(size: tuple[int, int]) -> Floats:
    return np.array([size[1], size[0], size[1], size[0]], np.float32)


def grid(size: tuple[int, int], count: int) -> Floats:
    """Return each anchor's cell (x, y) and stride [A, 3].

    Raises:
        EngineError: no strides in use give so many.
    """
    for strides in STRIDES:
        if sum((size[0] // stride) * (size[1] // stride) for stride in strides) == count:
            cells = []
            for stride in strides:
                ys, xs = np.mgrid[0 : size[0] // stride, 0 : size[1] // stride]
                cells.append(np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, stride)], axis=1))
            return np.concatenate(cells).astype(np.float32)
    raise EngineError(f"layout yolox has an anchor a cell; the model gave {count} for an image of {size[1]}x{size[0]}")
