"""YOLO detectors: the output layouts in use, told apart by their shapes, to boxes in the camera's pixels.

`ultralytics`  [1, 4 + classes, anchors]   boxes as centre and size in input px, scores ready (v8 to v12)
`yolov5`       [1, anchors, 5 + classes]   the same with objectness; three anchors in a cell (v5 to v7)
`yolox`        [1, anchors, 5 + classes]   centre as offset in its cell, size as logarithm, both in strides
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.engines.image_preprocessing import ImageFront
from perf_inference.errors import ConfigError, EngineError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.detector_kind import check_kind, check_task, named_classes
from perf_inference.tasks.image import Image, ImageInput, Placement

LAYOUTS = ("auto", "ultralytics", "yolov5", "yolox")
STRIDES = (8, 16, 32)
_SCORE_ERROR = 0.01  # of scores that were quantised
_LARGEST_LOGARITHM = 10.0  # of a size in strides: e^10 is wider than any image
# fmt: off
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on


@dataclass(frozen=True)
class Detection:
    """One object, in px of the camera's image."""

    name: str
    score: float
    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float


class Detections(list[Detection]):
    """The detections of one image, best first."""

    not_finite = 0  # anchors that were left out because a number of theirs was infinite or none


class YoloTask:
    """Letterbox in, named boxes out."""

    def __init__(
        self,
        engine: Engine,
        layout: str = "auto",
        confidence: float = 0.4,
        iou: float = 0.5,
        max_detections: int = 100,
        class_names: Sequence[str] = (),
        default_size_px: int = 640,
        class_agnostic: bool = False,
    ) -> None:
        """Read what the model's specs and metadata tell.

        Args:
            class_agnostic: one object has one class: boxes that overlap suppress each other whatever their classes.

        Raises:
            ConfigError: a model that is no detector of a known layout, or names that do not fit its classes.
        """
        spec, metadata = engine.inputs[0], engine.info.metadata
        self._name, self._output = engine.info.name, engine.outputs[0].name
        size = default_size_px
        self.layout = layout_of(engine, layout, size)
        self.front = front_of_layout(self.layout, spec.dtype)
        rgb, scale, self._centred = self.front.rgb, self.front.scale, self.front.centred
        self._input = ImageInput.of(spec, size, size, rgb, scale, metadata)
        self._confidence, self._iou, self._max, self._agnostic = confidence, iou, max_detections, class_agnostic
        check_task(engine)
        self.names, self.note = named_classes(engine, self.layout, layout, given=class_names, usual=COCO)
        self._grid = _grid(self._input) if self.layout == "yolox" else None

    def blank(self) -> Image:
        """Return an image of nothing, to warm the engine up."""
        return self._input.blank()

    def preprocess(self, frame: Image) -> tuple[Mapping[str, NDArray[Any]], Placement]:
        """Return the engine's input of a BGR image [H, W, 3]."""
        array, placement = self._input.letterboxed(frame, self._centred)
        return {self._input.name: array}, placement

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Placement) -> Detections:
        """Return the detections over the confidence, best first, after non-maximum suppression.

        Anchors that are not finite (a sum that half floats could not hold) are left out and counted.

        Raises:
            EngineError: an output that does not have the layout's shape, is not finite, or has other numbers than this
                layout can have.
        """
        raw = np.asarray(outputs[self._output][0], np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            centre, size, scores = split(raw, self.layout, self._grid)
        if scores.shape[1] != len(self.names):
            raise EngineError(f"the model gave {scores.shape[1]} class scores for {len(self.names)} class names")
        kinds = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), kinds]
        finite = np.isfinite(best) & np.isfinite(centre).all(axis=1) & np.isfinite(size).all(axis=1)
        if self.layout == "yolox":  # whose sizes are cut
            finite &= np.isfinite(raw[:, 2:4]).all(axis=1)
        if not finite.any():
            what = "boxes" if np.isfinite(best).any() else "scores"
            raise EngineError(f"the model gave {what} that are not finite")
        self._check_scores(best[finite], kinds[finite])
        keep = finite & (best >= self._confidence)
        if self.layout == "yolox" and (raw[keep, 2:4] > _LARGEST_LOGARITHM).any():
            raise EngineError(
                f"'{self._name}' gave sizes that are no logarithms, as layout yolox has them; if its boxes are in px "
                "already, set layout: yolov5"
            )
        boxes = np.concatenate([centre[keep] - size[keep] / 2, centre[keep] + size[keep] / 2], axis=1)
        groups = np.zeros_like(kinds[keep]) if self._agnostic else kinds[keep]
        chosen = suppress(boxes, best[keep], groups, self._iou)[: self._max]
        placed = context.to_camera(boxes[chosen])
        result = Detections(
            Detection(self.names[kind], float(score), *(float(v) for v in box))
            for kind, score, box in zip(kinds[keep][chosen], best[keep][chosen], placed, strict=True)
        )
        result.not_finite = int(len(finite) - finite.sum())
        return result

    def _check_scores(self, best: NDArray[np.float32], kinds: NDArray[Any]) -> None:
        """Refuse what cannot be a score: an angle, a coordinate, or what no sigmoid has been applied to."""
        at = int(best.argmax())
        if best[at] > 1 + _SCORE_ERROR or best.min() < -_SCORE_ERROR:
            which = at if best[at] > 1 + _SCORE_ERROR else int(best.argmin())
            raise EngineError(
                f"'{self._name}' gave the score {best[which]:.3g} for {self.names[kinds[which]]!r}, which must be "
                f"from 0 to 1: its output is not layout {self.layout} with {len(self.names)} classes; set layout and "
                "class_names, or export it for detection, with the sigmoid in it"
            )

    def extra(self, result: Detections, context: Placement) -> Mapping[str, Scalar]:
        return {"detections": len(result), "anchors_not_finite": result.not_finite}


def split(
    raw: NDArray[np.float32], layout: str, grid: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return (centre [A, 2], size [A, 2], class scores [A, C]) in input px of one image's raw output.

    Args:
        raw: [4 + C, A] for `ultralytics`, else [A, 5 + C].
        grid: for `yolox`, [A, 3]: each anchor's cell (x, y) and stride.
    """
    if layout == "ultralytics":
        rows = raw.T
        return rows[:, 0:2], rows[:, 2:4], rows[:, 4:]
    scores = raw[:, 5:] * raw[:, 4:5]
    if layout == "yolov5" or grid is None:
        return raw[:, 0:2], raw[:, 2:4], scores
    stride = grid[:, 2:3]
    # https://github.com/Megvii-BaseDetection/YOLOX, yolox/utils/demo_utils.py: centre = (offset + cell) * stride
    return (raw[:, 0:2] + grid[:, 0:2]) * stride, np.exp(np.minimum(raw[:, 2:4], _LARGEST_LOGARITHM)) * stride, scores


def suppress(
    boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], kinds: NDArray[Any], iou: float
) -> NDArray[np.intp]:
    """Return the indices that survive non-maximum suppression within each class, best first."""
    if len(boxes_xyxy) == 0:
        return np.zeros(0, np.intp)
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    apart = kinds[:, None] * (np.abs(boxes_xyxy).max() + 1) * 2  # boxes of two classes never overlap
    rects = np.concatenate([boxes_xyxy[:, :2] + apart, sizes], axis=1).astype(np.float64)
    chosen = np.asarray(cv2.dnn.NMSBoxes(rects.tolist(), scores.tolist(), 0.0, iou), np.intp).reshape(-1)
    order: NDArray[np.intp] = chosen[np.argsort(-scores[chosen], kind="stable")]
    return order


def _grid(image: ImageInput) -> NDArray[np.float32]:
    cells = []
    for stride in STRIDES:
        ys, xs = np.mgrid[0 : image.height_px // stride, 0 : image.width_px // stride]
        cells.append(np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, stride)], axis=1))
    return np.concatenate(cells).astype(np.float32)


def front_of_layout(layout: str, dtype: np.dtype[Any]) -> ImageFront:
    """Return how images are prepared for a detector whose input has this dtype."""
    # Ultralytics and YOLOv5 exports want RGB in 0..1; YOLOX wants BGR in 0..255, placed at the top left.
    plain = layout == "yolox" or dtype == np.uint8
    return ImageFront(letterbox=True, centred=layout != "yolox", rgb=not plain, scale=1.0 if plain else 1 / 255)


def layout_of(engine: Engine, layout: str = "auto", default_size_px: int = 640) -> str:
    """Return the layout of a detector's output: the one asked for, or that of its shape.

    Raises:
        ConfigError: a model that is no detector of a known layout.
    """
    check_kind(engine)
    size, spec = default_size_px, engine.inputs[0]
    image = ImageInput.of(spec, size, size, rgb=False, scale=1.0, metadata=engine.info.metadata)
    shape = engine.outputs[0].shape
    if len(shape) != 3:
        given = ", ".join(f"{output.name} {list(output.shape)}" for output in engine.outputs)
        raise ConfigError(
            f"a detector's output must be [1, 4+classes, anchors] or [1, anchors, 5+classes], got {given}; "
            f"known layouts: {', '.join(LAYOUTS[1:])}"
        )
    if layout != "auto":
        return layout
    _, a, b = shape
    cells = sum((image.height_px // s) * (image.width_px // s) for s in STRIDES)
    if a == cells:
        return "yolox"
    if a is not None and a == 3 * cells:
        return "yolov5"
    if a is not None and (b is None or a < b):
        return "ultralytics"
    raise ConfigError(
        f"cannot tell the layout of output {list(shape)}: for an image of {image.width_px}x{image.height_px} px "
        f"ultralytics has [1, 4+classes, {cells}], yolox [1, {cells}, 5+classes], yolov5 [1, {3 * cells}, 5+classes]"
    )
