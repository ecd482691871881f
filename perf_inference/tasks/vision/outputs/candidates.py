"""From a model's raw outputs to candidates: what scores above the confidence, and nothing else, is looked at.

All of an output is read once, for its best scores; the few columns or rows above the confidence are copied out of it,
and everything later works on those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import EngineError
from perf_inference.tasks.vision.outputs.head import Head
from perf_inference.tasks.vision.outputs.scores import (
    NONE_FINITE,
    SCORE_ERROR,
    above,
    check_rows,
    class_numbers,
    corners,
    grid,
    to_px,
)

Floats = NDArray[np.float32]
Raw = NDArray[Any]
_LARGEST_LOGARITHM = 10.0  # of a size in strides: e^10 is wider than any image
_DECODED = 4.0  # YOLOX's offsets are about 0.5; its decoded centres are spread over the image
_SMALL = 1e30  # a sum of two numbers below it is finite


class Candidates(NamedTuple):
    """What scores above the confidence, in px of the model's image, in the order of the output."""

    boxes: Floats  # [N, 4] xyxy; of oriented boxes centre and size
    scores: Floats  # [N]
    classes: NDArray[np.int64]  # [N]
    extra: Floats  # [N, e]: angle, keypoints or mask coefficients
    not_finite: int = 0  # left out, because a number of theirs is infinite or none

    def only(self, index: NDArray[Any]) -> Candidates:
        """Return those of these indices, in their order, or of a mask."""
        return Candidates(
            self.boxes[index], self.scores[index], self.classes[index], self.extra[index], self.not_finite
        )

    def finite(self) -> Candidates:
        """Return those whose numbers are all finite."""
        if np.isfinite(self.boxes).all() and np.isfinite(self.extra).all():
            return self
        finite = np.asarray(np.isfinite(self.boxes).all(axis=1) & np.isfinite(self.extra).all(axis=1))
        left_out = int(len(finite) - finite.sum())
        return self.only(finite)._replace(not_finite=self.not_finite + left_out)


def candidates(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    """Return the candidates of one image.

    Args:
        outputs: in the head's order, without their batch axis.
        confidence: scores strictly above it.
        size: height and width of the model's image [px].

    Raises:
        EngineError: outputs of another shape than the head's, without any finite score, or with scores that are none.
    """
    if head.layout == "ultralytics":
        return _ultralytics(head, outputs[0], confidence)
    with np.errstate(invalid="ignore", over="ignore"):
        found = _READERS[head.layout](head, outputs, confidence, size)
    return found.finite()


def class_scores(head: Head, outputs: Sequence[Raw]) -> Floats:
    """Return a classifier's probabilities [C].

    Logits become probabilities: older releases of Ultralytics leave the softmax out of the graph.

    Raises:
        EngineError: they are not finite, or none.
    """
    scores = np.asarray(outputs[0], np.float32).reshape(-1)
    if not scores.size or not np.isfinite(scores).all():
        raise EngineError(f"the model gave {scores.size} class scores, of which not all are finite")
    is_share = scores.min() >= -SCORE_ERROR and scores.max() <= 1 + SCORE_ERROR
    if is_share and (not head.is_ultralytics or abs(float(scores.sum()) - 1) < SCORE_ERROR):
        return scores
    powers = np.exp(scores - scores.max())
    probabilities: Floats = powers / powers.sum()
    return probabilities


# layouts --------------------------------------------------------------------------------------------------------------


def _ultralytics(head: Head, raw: Raw, confidence: float) -> Candidates:
    classes = head.classes or 0
    width = 4 + classes + head.extra
    if raw.ndim == 2 and raw.shape[0] != width and raw.shape[1] == width:
        raw = raw.T
    check_rows(raw.T, width)
    if raw.dtype != np.float32:
        with np.errstate(invalid="ignore", over="ignore"):
            raw = raw.astype(np.float32)
    best = raw[4] if classes == 1 else np.maximum.reduce(raw[4 : 4 + classes])
    index, not_finite = above(best, confidence)
    rows = np.ascontiguousarray(raw.take(index, axis=1).T)
    # To keep NumPy silent and to look for numbers that are not finite takes an eighth of all this.
    if not len(rows) or np.maximum.reduce(np.abs(rows), axis=None) < _SMALL:
        return _of_rows(head, rows, best.take(index), not_finite)
    with np.errstate(invalid="ignore", over="ignore"):
        return _of_rows(head, rows, best.take(index), not_finite).finite()


def _of_rows(head: Head, rows: Floats, scores: Floats, not_finite: int) -> Candidates:
    """Return rows of box, class scores and extra as candidates."""
    first = 4 + (head.classes or 0)
    boxes = rows[:, :4] if head.kind == "obb" else corners(rows)
    return Candidates(boxes, scores, rows[:, 4:first].argmax(axis=1), rows[:, first:], not_finite)


def _end2end(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    rows = np.asarray(outputs[0], np.float32)
    check_rows(rows, 6 + head.extra)
    index, not_finite = above(rows[:, 4], confidence)
    rows = rows[index]
    return Candidates(rows[:, :4], rows[:, 4], class_numbers(rows[:, 5]), rows[:, 6:], not_finite)


def _with_objectness(
    head: Head, rows: Floats, confidence: float
) -> tuple[NDArray[np.intp], Floats, NDArray[np.int64], int]:
    """Return of rows that score above the confidence: their indices, scores, classes, and how many are not finite."""
    classes = head.classes or 0
    check_rows(rows, 5 + classes + head.extra)
    index, not_finite = above(rows[:, 4], confidence)
    scores = rows[index, 5 : 5 + classes] * rows[index, 4:5]
    kinds = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), kinds]
    passed, more = above(best, confidence, allowed_none=True)
    return index[passed], best[passed], kinds[passed], not_finite + more


def _yolov5(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    rows = np.asarray(outputs[0], np.float32)
    index, best, kinds, not_finite = _with_objectness(head, rows, confidence)
    chosen = rows[index]
    return Candidates(corners(chosen[:, :4]), best, kinds, chosen[:, 5 + (head.classes or 0) :], not_finite)


def _yolox(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    rows = np.asarray(outputs[0], np.float32)
    index, best, kinds, not_finite = _with_objectness(head, rows, confidence)
    boxes = rows[index, :4]
    decoded = len(rows) and float(np.median(np.abs(rows[:, :2]))) > _DECODED
    if not decoded:
        cells = grid(size, len(rows))[index]
        if (boxes[:, 2:] > _LARGEST_LOGARITHM).any() and np.isfinite(boxes).all():
            raise EngineError(
                "the model gave sizes that are no logarithms, as layout yolox has them; set layout to what it has"
            )
        stride = cells[:, 2:3]
        # https://github.com/Megvii-BaseDetection/YOLOX, yolox/utils/demo_utils.py: centre = (offset + cell) * stride
        boxes = np.concatenate([(boxes[:, :2] + cells[:, :2]) * stride, np.exp(boxes[:, 2:]) * stride], axis=1)
    return Candidates(corners(boxes), best, kinds, np.zeros((len(best), 0), np.float32), not_finite)


def _yolo_nas(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    boxes, scores = (np.asarray(output, np.float32) for output in outputs)
    check_rows(boxes, 4)
    check_rows(scores, head.classes or scores.shape[-1])
    if len(boxes) != len(scores):
        raise EngineError(f"the model gave {len(boxes)} boxes and {len(scores)} rows of scores")
    best = scores.max(axis=1)
    index, not_finite = above(best, confidence)
    return _plain(boxes[index], best[index], scores[index].argmax(axis=1), not_finite)


def _nms(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    if len(outputs) == 1:
        rows = np.asarray(outputs[0], np.float32).reshape(-1, 7)
        rows = rows[rows[:, 0] == 0]
        boxes, scores, classes = rows[:, 1:5], rows[:, 5], rows[:, 6]
        if not len(rows):
            return _plain(boxes, scores, np.zeros(0, np.int64), 0)
    else:
        count = int(np.asarray(outputs[0]).reshape(-1)[0])
        boxes, scores = (np.asarray(output, np.float32) for output in outputs[1:3])
        classes = np.asarray(outputs[3])
        if not 0 <= count <= len(boxes) or not len(boxes) == len(scores) == len(classes):
            raise EngineError(
                f"the model gave {count} objects in {len(boxes)} boxes, {len(scores)} scores, {len(classes)} classes"
            )
        if not count:
            return _plain(boxes[:0], scores[:0], np.zeros(0, np.int64), 0)
        boxes, scores, classes = boxes[:count], scores[:count], classes[:count]
    index, not_finite = above(scores, confidence)
    return _plain(boxes[index], scores[index], class_numbers(classes[index]), not_finite)


def _rtdetr(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    if len(outputs) == 3:  # boxes in px of the image's size that the model was given
        boxes, scores = (np.asarray(output, np.float32) for output in outputs[:2])
        check_rows(boxes, 4)
        labels = np.asarray(outputs[2]).reshape(-1)
        if not len(boxes) == len(scores) == len(labels):
            raise EngineError(f"the model gave {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels")
        index, not_finite = above(scores.reshape(-1), confidence)
        return _plain(boxes[index], scores.reshape(-1)[index], class_numbers(labels[index]), not_finite)
    if len(outputs) == 2:
        return _rfdetr(head, outputs, confidence, size)
    rows = np.asarray(outputs[0], np.float32)
    check_rows(rows, 4 + (head.classes or 0))
    best = rows[:, 4:].max(axis=1)
    index, not_finite = above(best, confidence)
    boxes = corners(rows[index, :4]) * to_px(size)
    return _plain(boxes, best[index], rows[index, 4:].argmax(axis=1), not_finite)


def _rfdetr(head: Head, outputs: Sequence[Raw], confidence: float, size: tuple[int, int]) -> Candidates:
    """Read queries and logits: each pair of a query and a class is a candidate, as those models are evaluated."""
    boxes, logits = (np.asarray(output, np.float32) for output in outputs)
    check_rows(boxes, 4)
    check_rows(logits, head.classes or logits.shape[-1])
    if len(boxes) != len(logits):
        raise EngineError(f"the model gave {len(boxes)} boxes and {len(logits)} rows of scores")
    scores: Floats = np.reciprocal(1 + np.exp(-logits))
    finite = np.isfinite(logits)
    if not finite.any():
        raise EngineError(NONE_FINITE)
    query, kind = np.nonzero(finite & (scores > confidence))
    best = scores[query, kind]
    order = np.argsort(-best, kind="stable")[: len(boxes)]
    query, kind = query[order], kind[order]
    not_finite = int((~finite.all(axis=1)).sum())
    return _plain(corners(boxes[query]) * to_px(size), best[order], kind, not_finite)


def _plain(boxes: Raw, scores: Floats, classes: NDArray[Any], not_finite: int) -> Candidates:
    return Candidates(boxes, scores, classes.astype(np.int64), np.zeros((len(scores), 0), np.float32), not_finite)


_READERS: dict[str, Callable[[Head, Sequence[Raw], float, tuple[int, int]], Candidates]] = {
    "end2end": _end2end,
    "yolov5": _yolov5,
    "yolox": _yolox,
    "yolo_nas": _yolo_nas,
    "nms": _nms,
    "rtdetr": _rtdetr,
    "rfdetr": _rfdetr,
}
