"""Tells a model's outputs apart: by its metadata, by their shapes and names, by what the user says; or refuses them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from perf_inference.engines.engine import ArraySpec, Engine
from perf_inference.errors import ConfigError
from perf_inference.tasks.class_names import names_of
from perf_inference.tasks.vision.coco import COCO, COCO_CATEGORIES
from perf_inference.tasks.vision.found import KINDS
from perf_inference.tasks.vision.outputs.head import AUTO, STRIDES, Asked, Head, is_ultralytics

_COEFFICIENTS = 32  # of the masks of every published model
_MOST_ROWS = 1000  # of a list of found objects; anchors of the smallest images in use are more


def head_of(engine: Engine, asked: Asked, size: tuple[int, int] | None) -> Head:
    """Return what an engine's outputs are.

    Args:
        size: (height, width) of the image that it takes [px]; None: any.

    Raises:
        ConfigError: they are no model's of these kinds, or may be several; with what was found and what decides.
    """
    return _Reader(engine, asked, size).head()


class _Reader:
    def __init__(self, engine: Engine, asked: Asked, size: tuple[int, int] | None) -> None:
        self._name, self._metadata = engine.info.name, engine.info.metadata
        self._specs, self._asked, self._size = engine.outputs, asked, size
        self._kind = self._said_kind()
        self._names = tuple(asked.class_names) or names_of(self._metadata)
        self._given = ", ".join(f"{spec.name} {[n or 'any' for n in spec.shape]}" for spec in engine.outputs)

    def head(self) -> Head:
        specs = {spec.name.lower(): spec for spec in self._specs}
        layout = {"dfine": "rtdetr"}.get(self._asked.layout, self._asked.layout)
        if {"dets", "labels"} <= specs.keys() and layout in (AUTO, "rfdetr"):
            return self._queries("rfdetr", specs["dets"], specs["labels"])
        if {"labels", "boxes", "scores"} <= specs.keys() and layout in (AUTO, "rtdetr"):
            ordered = [specs[name] for name in ("boxes", "scores", "labels")]
            return self._made("rtdetr", ordered, None, "detect")
        if {"logits", "pred_boxes"} <= specs.keys() and layout in (AUTO, "rtdetr"):
            return self._queries("rtdetr", specs["pred_boxes"], specs["logits"])
        if found := self._listed_objects(layout):
            return found
        flat = [spec for spec in self._specs if len(spec.shape) == 2]
        rows = [spec for spec in self._specs if len(spec.shape) == 3]
        prototypes = [spec for spec in self._specs if len(spec.shape) == 4]
        if len(rows) == 2 and not prototypes and layout in (AUTO, "yolo_nas"):
            return self._boxes_and_scores(rows)
        if len(flat) == len(self._specs) == 1 and layout in (AUTO, "classify") and self._kind in (AUTO, "classify"):
            return self._made("classify", flat, flat[0].shape[1], "classify")
        if len(rows) == 1 and len(prototypes) <= 1 and len(self._specs) == 1 + len(prototypes):
            return self._rows(rows[0], prototypes[0] if prototypes else None, layout)
        raise self._refused("no outputs of a classifier or detector that is known")

    # layouts ----------------------------------------------------------------------------------------------------------

    def _rows(self, spec: ArraySpec, prototypes: ArraySpec | None, layout: str) -> Head:
        if layout == AUTO:
            layout = self._layout_of(spec, prototypes is not None)
        elif layout == "ultralytics" and self._is_turned(spec) and not self._fits_the_image(spec.shape[1]):
            raise self._refused(f"{spec.shape[1]} rows, which are not the anchors of layout {layout} for its image")
        coefficients = (prototypes.shape[1] or 0) if prototypes else 0
        specs = [spec, *([prototypes] if prototypes else [])]
        numbers = spec.shape[1] if layout == "ultralytics" and not self._is_turned(spec) else spec.shape[2]
        if numbers is None:
            raise self._refused(f"no number of values in a row of layout {layout}; export it with fixed classes")
        first = {"ultralytics": 4, "rtdetr": 4, "end2end": 6}.get(layout, 5)
        kind, keypoints = self._kind_of(numbers - first, layout, coefficients)
        extra = {"obb": 1, "pose": keypoints[0] * keypoints[1], "segment": coefficients}.get(kind, 0)
        classes = None if layout == "end2end" else numbers - first - extra
        if (classes is not None and classes < 1) or (layout == "end2end" and numbers != 6 + extra):
            raise self._refused(
                f"no rows of kind {kind} in layout {layout}, which have {first} numbers, "
                f"{'' if layout == 'end2end' else 'the scores '}and {extra} more"
            )
        return self._made(layout, specs, classes, kind, keypoints, coefficients)

    def _layout_of(self, spec: ArraySpec, masks: bool) -> str:
        _, a, b = spec.shape
        said = self._metadata
        rows = a is not None and b is not None and a <= _MOST_ROWS and b < a
        if said.get("end2end", "").lower() == "true" or "'nms': True" in said.get("args", ""):
            return "end2end"
        cells = [] if self._size is None else [_cells(self._size, strides) for strides in STRIDES]
        if a in cells:
            return "ultralytics" if self._names and b == 4 + len(self._names) else "yolox"
        if a is not None and a % 3 == 0 and a // 3 in cells:
            return "yolov5"
        is_detr = rows and bool(self._names) and b == 4 + len(self._names) and not masks
        if is_detr and (b not in (6, 7) or (is_ultralytics(said) and self._says_no_end2end())):
            return "rtdetr"
        if is_detr and is_ultralytics(said) and "yolo" in said.get("description", "").lower():
            return "end2end"  # YOLOv10 of releases that do not say `end2end`
        if rows and b in (6, 7) and not is_detr:
            return "end2end"
        if rows and self._kind in ("pose", "segment"):
            return "end2end"
        if b is None or (a is not None and a < b):
            return "ultralytics"
        raise self._refused(
            f"several layouts that fit: rows of {b} numbers may be found objects (end2end) or a DETR's queries (rtdetr)"
            if is_detr else "no layout that fits the size of the image", "set layout"
        )  # fmt: skip

    def _says_no_end2end(self) -> bool:
        """Whether rows are no found objects: newer releases say it, older ones by the model's name alone."""
        return "end2end" in self._metadata or "detr" in self._metadata.get("description", "").lower()

    def _fits_the_image(self, rows: int | None) -> bool:
        return self._size is None or rows is None or rows in [_cells(self._size, strides) for strides in STRIDES]

    def _is_turned(self, spec: ArraySpec) -> bool:
        """Whether anchors come first although the layout is Ultralytics'."""
        _, a, b = spec.shape
        return a is not None and b is not None and a > b and b < _MOST_ROWS

    def _kind_of(self, left: int, layout: str, coefficients: int) -> tuple[str, tuple[int, int]]:
        """Return the kind of rows with so many numbers besides the box (and objectness), and the keypoints' shape."""
        points = self._keypoint_shape()
        kind = self._kind
        if kind == AUTO:
            kind = "segment" if coefficients else "detect" if layout in ("yolox", "rtdetr") else ""
        extra = left if layout == "end2end" else left - len(self._names)
        if not kind:
            if layout != "end2end" and not self._names:
                kind = self._kind_without_names(left, layout)
            elif extra in (0, 1):
                kind = ("detect", "obb")[extra]
            elif extra == _COEFFICIENTS and points == (0, 0):
                raise self._refused(
                    f"{extra} numbers more than boxes and scores in a row: the masks' coefficients, without the output "
                    "of the prototypes, or keypoints", "set kind and keypoint_shape, or export it with both outputs"
                )  # fmt: skip
            elif extra > 1:
                kind = "pose"
            else:
                raise self._wrong_names(left)
        if kind == "pose" and points == (0, 0):
            if layout != "end2end" and not self._names:
                raise self._refused("keypoints, and does not say how many", "set keypoint_shape, such as [17, 3]")
            depths = [depth for depth in (2, 3) if extra > 0 and extra % depth == 0]
            if len(depths) != 1:
                raise self._refused(
                    f"{extra} numbers of keypoints in a row, of two or of three each", "set keypoint_shape"
                )
            points = (extra // depths[0], depths[0])
        return kind, points

    def _kind_without_names(self, left: int, layout: str) -> str:
        if left == len(COCO) or self._asked.layout != AUTO or layout == "yolov5":
            return "detect"
        raise self._refused(
            f"neither a task nor names of its classes: it may give boxes of {left} classes, oriented boxes of "
            f"{left - 1}, or keypoints",
            f"set class_names, or kind: {', '.join(KINDS[1:])}",
        )

    def _queries(self, layout: str, boxes: ArraySpec, scores: ArraySpec) -> Head:
        if len(boxes.shape) != 3 or boxes.shape[2] not in (4, None) or len(scores.shape) != 3:
            raise self._refused("no boxes [B, Q, 4] and scores [B, Q, C]")
        is_detrs_own = layout == "rtdetr" and self._asked.layout == AUTO and boxes.shape[1] != 300
        if is_detrs_own or self._kind not in (AUTO, "detect"):
            raise self._refused(
                "queries that may be scored with a sigmoid (RT-DETR, D-FINE) or a softmax (DETR)", "set layout: rtdetr"
            )
        return self._made(layout, [boxes, scores], scores.shape[2], "detect")

    def _boxes_and_scores(self, rows: Sequence[ArraySpec]) -> Head:
        fours = [spec for spec in rows if spec.shape[2] == 4]
        others = [spec for spec in rows if spec not in fours] or list(rows[1:])
        boxes = fours[0] if fours else None
        by_name = [spec for spec in rows if "box" in spec.name.lower()]
        if len(fours) == 2:
            boxes = by_name[0] if len(by_name) == 1 else None
            others = [spec for spec in rows if spec is not boxes]
        if boxes is None or others[0].shape[1] != boxes.shape[1]:
            raise self._refused("no boxes [B, A, 4] beside scores [B, A, C] of as many anchors")
        return self._made("yolo_nas", [boxes, others[0]], others[0].shape[2], "detect")

    def _listed_objects(self, layout: str) -> Head | None:
        """Return the head of outputs that list found objects: count, boxes, scores, classes; or one of [N, 7]."""
        if layout not in (AUTO, "nms"):
            return None
        if len(self._specs) == 1 and self._specs[0].shape[1:] == (7,) and len(self._specs[0].shape) == 2:
            is_named = "flat" in self._specs[0].name.lower() or layout == "nms"
            return self._made("nms", list(self._specs), None, "detect") if is_named else None
        if len(self._specs) != 4:
            return None
        boxes = [spec for spec in self._specs if len(spec.shape) == 3 and spec.shape[2] == 4]
        counts = [spec for spec in self._specs if spec.shape[1:] in ((1,), ()) and "num" in spec.name.lower()]
        classes = [s for s in self._specs if any(w in s.name.lower() for w in ("class", "label")) and len(s.shape) == 2]
        scores = [s for s in self._specs if "score" in s.name.lower() and len(s.shape) == 2]
        if not (len(boxes) == len(counts) == len(classes) == len(scores) == 1):
            return None
        return self._made("nms", [counts[0], boxes[0], scores[0], classes[0]], None, "detect")

    # what the model says ----------------------------------------------------------------------------------------------

    def _made(
        self,
        layout: str,
        specs: Sequence[ArraySpec],
        classes: int | None,
        kind: str,
        keypoints: tuple[int, int] = (0, 0),
        masks: int = 0,
    ) -> Head:
        if self._kind not in (AUTO, kind):
            raise self._refused(f"no outputs of kind {self._kind}, but of {kind}")
        names, note = self._named(classes, layout)
        return Head(
            kind, layout, tuple(s.name for s in specs), names, classes, keypoints, masks,
            is_ultralytics(self._metadata), note,
        )  # fmt: skip

    def _named(self, count: int | None, layout: str) -> tuple[tuple[str, ...], str]:
        if self._names:
            if count is not None and len(self._names) != count and layout != "rfdetr":
                raise self._wrong_names(count)
            return self._names, ""
        if count == len(COCO):
            return COCO, ""
        if layout == "rfdetr" and count == len(COCO_CATEGORIES):
            return COCO_CATEGORIES, ""
        what = "its classes" if count is None else f"its {count} classes"
        return (), f"'{self._name}' does not name {what}: they are called class_0, ...; set class_names"

    def _said_kind(self) -> str:
        said = self._metadata.get("task", "")
        if self._asked.kind != AUTO:
            return self._asked.kind
        if said and said not in KINDS:
            raise ConfigError(
                f"'{self._name}' says that its task is {said[:60]!r}; a vision model's is {', '.join(KINDS)}"
            )
        return said or AUTO

    def _keypoint_shape(self) -> tuple[int, int]:
        if len(self._asked.keypoint_shape) == 2:
            return self._asked.keypoint_shape[0], self._asked.keypoint_shape[1]
        shape = _literal(self._metadata.get("kpt_shape", ""))
        if isinstance(shape, list | tuple) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape):
            return int(shape[0]), int(shape[1])
        return 0, 0

    def _wrong_names(self, count: int) -> ConfigError:
        return ConfigError(
            f"class_names must have {count} names for model '{self._name}' (outputs {self._given}), got "
            f"{len(self._names)}; if its rows are of another kind, set kind"
        )

    def _refused(self, found: str, remedy: str = "set layout and kind, or export it again") -> ConfigError:
        return ConfigError(f"'{self._name}' with outputs {self._given} has {found}; {remedy}")


def _cells(size: tuple[int, int], strides: Sequence[int]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # Python's parser has them all
        return None
