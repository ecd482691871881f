"""YOLO detectors: the output layouts in use, told apart by their shapes, to boxes in the camera's pixels.

`ultralytics`  [1, 4 + classes, anchors]   boxes as centre and size in input px, scores ready (v8 to v12)
`yolov5`       [1, anchors, 5 + classes]   the same with objectness; three anchors in a cell (v5 to v7)
`yolox`        [1, anchors, 5 + classes]   centre as offset in its cell, size as logarithm, both in strides
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError, EngineError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.vision.image import Image, ImageInput, front_of_block
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.placement import Placement

LAYOUTS = ("auto", "ultralytics", "yolov5", "yolox")
STRIDES = (8, 16, 32)
ULTRALYTICS = ImageBlock(fit="letterbox", scale=1 / 255)
YOLOX = ImageBlock(fit="letterbox_top_left", colour="bgr")
OURS = ImageBlock(fit="letterbox", colour="bgr", interpolation="area")  # the embedded models
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
        spec, output = engine.inputs[0], engine.outputs[0]
        self._output = output.name
        size, metadata = default_size_px, engine.info.metadata
        shape_input = ImageInput(spec, replace(YOLOX, size=(size, size)), metadata)
        self.layout = _layout(output.shape, shape_input) if layout == "auto" else layout
        block = YOLOX if self.layout == "yolox" else OURS if spec.dtype == np.uint8 else ULTRALYTICS
        self._input = ImageInput(spec, replace(block, size=(size, size)), metadata)
        self.front = front_of_block(self._input.block)
        self._confidence, self._iou, self._max, self._agnostic = confidence, iou, max_detections, class_agnostic
        self.names = _names(engine, self.layout, class_names)
        self._grid = _grid(self._input) if self.layout == "yolox" else None

    def blank(self) -> Image:
        """Return an image of nothing, to warm the engine up."""
        return self._input.blank()

    def preprocess(self, frame: Image) -> tuple[Mapping[str, NDArray[Any]], Placement]:
        """Return the engine's input of a BGR image [H, W, 3]."""
        array, placement = self._input.prepared(frame)
        return {self._input.name: array}, placement

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Placement) -> list[Detection]:
        """Return the detections over the confidence, best first, after non-maximum suppression.

        Raises:
            EngineError: an output that does not have the layout's shape or is not finite.
        """
        raw = np.asarray(outputs[self._output][0], np.float32)
        centre, size, scores = split(raw, self.layout, self._grid)
        if scores.shape[1] != len(self.names):
            raise EngineError(f"the model gave {scores.shape[1]} class scores for {len(self.names)} class names")
        kinds = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), kinds]
        if not np.isfinite(best).all():
            raise EngineError("the model gave scores that are not finite")
        keep = best >= self._confidence
        if not (np.isfinite(centre[keep]).all() and np.isfinite(size[keep]).all()):
            raise EngineError("the model gave boxes that are not finite")
        boxes = np.concatenate([centre[keep] - size[keep] / 2, centre[keep] + size[keep] / 2], axis=1)
        groups = np.zeros_like(kinds[keep]) if self._agnostic else kinds[keep]
        chosen = suppress(boxes, best[keep], groups, self._iou)[: self._max]
        placed = context.to_camera(boxes[chosen])
        return [
            Detection(self.names[kind], float(score), *(float(v) for v in box))
            for kind, score, box in zip(kinds[keep][chosen], best[keep][chosen], placed, strict=True)
        ]

    def extra(self, result: list[Detection], context: Placement) -> Mapping[str, Scalar]:
        return {"detections": len(result)}


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
    return (raw[:, 0:2] + grid[:, 0:2]) * stride, np.exp(np.minimum(raw[:, 2:4], 10)) * stride, scores


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


def _layout(shape: tuple[int | None, ...], image: ImageInput) -> str:
    if len(shape) != 3:
        raise ConfigError(
            f"a detector's output must be [1, 4+classes, anchors] or [1, anchors, 5+classes], got {list(shape)}; "
            f"known layouts: {', '.join(LAYOUTS[1:])}"
        )
    _, a, b = shape
    cells = sum((image.height_px // s) * (image.width_px // s) for s in STRIDES)
    if a == cells:
        return "yolox"
    if a is not None and a == 3 * cells:
        return "yolov5"
    if a is not None and (b is None or a < b):
        return "ultralytics"
    raise ConfigError(f"cannot tell the layout of output {list(shape)}; set layout to one of {', '.join(LAYOUTS[1:])}")


def _names(engine: Engine, layout: str, given: Sequence[str]) -> tuple[str, ...]:
    shape = engine.outputs[0].shape
    count = shape[1] - 4 if layout == "ultralytics" and shape[1] else (shape[2] or 5) - 5
    names = tuple(given) or _metadata_names(engine.info.metadata.get("names", ""))
    if not names:
        names = COCO if count == len(COCO) else tuple(f"class_{i}" for i in range(count))
    if len(names) != count:
        raise ConfigError(f"class_names must have {count} names for model '{engine.info.name}', got {len(names)}")
    return names


def _metadata_names(text: str) -> tuple[str, ...]:
    """Return the names of Ultralytics' metadata entry, "{0: 'person', 1: ...}"."""
    try:
        table = ast.literal_eval(text) if text else {}
        return tuple(str(table[i]) for i in range(len(table)))
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):  # Python's parser has them all
        return ()
