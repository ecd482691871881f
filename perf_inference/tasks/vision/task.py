"""Vision models as a task of the pipeline: a camera's image in, what is in it out, in the camera's pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError, EngineError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.vision.found import Found, Mask
from perf_inference.tasks.vision.image import Image, ImageInput, front_of_block
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.origin import block_of, image_spec
from perf_inference.tasks.vision.outputs.candidates import Candidates, candidates, class_scores
from perf_inference.tasks.vision.outputs.head import AUTO, LAYOUTS, Asked, is_ultralytics_before
from perf_inference.tasks.vision.outputs.masks import NOT_FINITE, masks_of
from perf_inference.tasks.vision.outputs.reader import head_of
from perf_inference.tasks.vision.outputs.suppression import suppress, suppress_rotated
from perf_inference.tasks.vision.placement import Part, Placement, View, least_rectangle, part_of
from perf_inference.tasks.vision.prepare import prepare_into

__all__ = ["LAYOUTS", "Limits", "View", "YoloTask"]
_STRIDE = 32
_OWN_SCALES = (8, 4, 174)  # the release of Ultralytics since which boxes come back by the scale of each axis
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Limits:
    """What of the found objects is wanted; may change between two images."""

    confidence: float = 0.25
    """Scores are strictly above it."""
    iou: float = 0.7
    max_detections: int = 300
    class_agnostic: bool = False
    """Boxes that overlap suppress each other whatever their classes."""
    classes: frozenset[int] | None = None
    """None: all."""
    roi: tuple[int, int, int, int] | None = None
    """x, y, width, height [px]: the part of the image that the model looks at."""
    min_size_px: float = 0.0
    """Of the shorter side of a box."""
    top: int = 5
    """Classes of a classifier, whatever their score."""


class _Known(NamedTuple):
    """What is so for every image of one shape that is looked at as a whole."""

    shape: tuple[int, ...]
    placement: Placement
    view: View


class YoloTask:
    """For classifiers and detectors of all kinds and layouts that `head.py` lists, YOLO's and others."""

    def __init__(
        self,
        engine: Engine,
        layout: str = AUTO,
        confidence: float = 0.4,
        iou: float = 0.5,
        max_detections: int = 100,
        class_names: Sequence[str] = (),
        default_size_px: int = 640,
        class_agnostic: bool = False,
        kind: str = AUTO,
        image: Mapping[str, Any] = _NOTHING,
        keypoint_shape: Sequence[int] = (),
        limits: Limits | None = None,
    ) -> None:
        """Read what the model's specs and metadata tell.

        Args:
            image: keys of the image block that differ from what the model's origin asks for.
            limits: instead of the single values.

        Raises:
            ConfigError: a model of no known kind or layout, of several, or names that do not fit its classes.
        """
        spec = image_spec(engine)
        asked = Asked(kind, layout, tuple(class_names), tuple(keypoint_shape))
        sides = spec.shape[1:3] if spec.shape[3] in (1, 3) else spec.shape[2:4]
        is_free = None in sides and "size" not in image
        size = None if sides[0] is None or sides[1] is None else (sides[0], sides[1])
        in_graph = ImageInput.graphs_size(engine.info.metadata, spec)
        self.head = head_of(engine, asked, in_graph or size)
        self._input = ImageInput(spec, block_of(engine, self.head, image, default_size_px), engine.info.metadata)
        self.block = self._input.block
        self.layout, self.kind, self.note = self.head.layout, self.head.kind, self.head.note
        self.names = self.head.names or tuple(f"class_{i}" for i in range(self.head.classes or 0))
        self._is_rectangle = is_free and self.block.fit == "letterbox" and not self._input.in_graph
        self._stride = _whole(engine.info.metadata.get("stride", ""), _STRIDE)
        self._has_one_scale = self.layout == "yolox" or is_ultralytics_before(engine.info.metadata, _OWN_SCALES)
        self.batch = spec.shape[0]  # None: any
        self.is_in_graph = self._input.in_graph is not None
        self._sizes = [other for other in engine.inputs if other is not spec]
        self._last: _Known | None = None
        self.limits = limits or Limits(confidence, iou, max_detections, class_agnostic)

    @property
    def front(self) -> Any:
        """What a model's graph would have to do to the camera's image.

        Raises:
            ConfigError: a graph does not do this.
        """
        return front_of_block(self.block)

    def blank(self) -> Image:
        """Return an image of nothing, to warm the engine up."""
        return self._input.blank()

    def class_numbers(self, wanted: Sequence[str | int]) -> frozenset[int] | None:
        """Return the numbers of classes that are said by name or number; None for none said.

        Raises:
            ConfigError: the model has no such class.
        """
        if not wanted:
            return None
        known = {name: number for number, name in reversed(list(enumerate(self.names)))}
        numbers = set()
        for one in wanted:
            text = str(one).strip()
            number = known.get(text, int(text) if text.isdecimal() else -1)
            if number < 0 or (self.names and number >= len(self.names)):
                raise ConfigError(
                    f"classes must be names or numbers of the model's classes, got {text[:60]!r}; it has "
                    f"{len(self.names)}: {', '.join(self.names)[:200]}"
                )
            numbers.add(number)
        return frozenset(numbers)

    def preprocess(self, frame: Image) -> tuple[Mapping[str, NDArray[Any]], View]:
        """Return the engine's inputs of a BGR image [H, W, 3].

        Raises:
            InputError: an image of another form, or one that the region of interest is outside of.
        """
        known = self._last
        if known is not None and known.shape == frame.shape and self.limits.roi is None:
            array, placement = self.prepared(frame)
            if placement is known.placement or placement == known.placement:
                return {self._input.name: array}, known.view
        part = self.part_of(frame)
        if self._is_rectangle or (self.batch or 1) > 1:
            array = np.zeros((self.batch or 1, *part.block.shape), part.block.dtype)
            placement = prepare_into(array[0], part.pixels, part.block)
        else:
            array, placement = self.prepared(part.pixels)
            if part.pixels is frame and not self._sizes:
                self._last = _Known(frame.shape, placement, self.view_of(part, placement))
        return self.inputs_of(array, part.block), self.view_of(part, placement)

    def part_of(self, frame: Image) -> Part:
        """Return what the model looks at of a BGR image [H, W, 3], and how it wants to have it.

        Raises:
            InputError: the region of interest is outside of the image.
        """
        part = part_of(frame, self.limits.roi, self.block)
        if not self._is_rectangle:
            return part
        return part._replace(
            block=least_rectangle(self.block, part.pixels.shape[1], part.pixels.shape[0], self._stride)
        )

    def prepared(self, pixels: Image) -> tuple[NDArray[Any], Placement]:
        """Return the array of one image, for a model of batch 1; it is valid until this thread's next call."""
        return self._input.prepared(pixels)

    def inputs_of(self, array: NDArray[Any], block: ImageBlock) -> Mapping[str, NDArray[Any]]:
        """Return the engine's inputs of an array [B, ...] of prepared images."""
        inputs = {self._input.name: array}
        for spec in self._sizes:  # boxes come back in px of the model's image
            inputs[spec.name] = np.tile(np.array([block.size[::-1]], spec.dtype), (len(array), 1))
        return inputs

    def view_of(self, part: Part, placement: Placement) -> View:
        """Return where what the model sees of an image lies in it."""
        if self._has_one_scale and part.block.fit.startswith("letterbox"):
            placement = placement.with_one_scale(part.block.size)
        return View(placement, part.x_px, part.y_px, part.width_px, part.height_px, part.block.size)

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: View) -> Found:
        """Return what is in the image, best first.

        Raises:
            EngineError: outputs of another shape than the head's, no finite score, or scores that are none.
        """
        return self.found(outputs, context, self.limits)

    def extra(self, result: Found, context: View) -> Mapping[str, Scalar]:
        return {"detections": len(result), "anchors_not_finite": result.not_finite}

    def found(self, outputs: Mapping[str, NDArray[Any]], view: View, limits: Limits, index: int = 0) -> Found:
        """Return what is in one image of a batch."""
        head = self.head
        if head.layout == "classify":
            return self._classified(_one(outputs[head.outputs[0]], index, False), view, limits)
        arrays = [_one(outputs[name], index, len(head.outputs) == 1 and head.layout == "nms") for name in head.outputs]
        some = candidates(head, arrays, limits.confidence, view.size)
        if limits.classes is not None:
            some = some.only(np.isin(some.classes, list(limits.classes)))
        some = some.only(self._chosen(some, limits))
        return self._placed_objects(some, arrays, view, limits)

    def _chosen(self, some: Candidates, limits: Limits) -> NDArray[np.intp]:
        """Return the indices of the candidates that stay, best first."""
        if self.head.is_suppressed:
            return np.argsort(-some.scores, kind="stable")[: limits.max_detections]
        if self.kind == "obb":
            boxes = np.concatenate([some.boxes, some.extra[:, -1:]], axis=1)
            kept = suppress_rotated(boxes, some.scores, some.classes, limits.iou, limits.class_agnostic)
        else:
            kept = suppress(some.boxes, some.scores, some.classes, limits.iou, limits.class_agnostic)
        return kept[: limits.max_detections]

    def _placed_objects(self, some: Candidates, arrays: Sequence[NDArray[Any]], view: View, limits: Limits) -> Found:
        placement = view.placement
        shift = np.array([view.x_px, view.y_px], np.float32) if view.x_px or view.y_px else None
        masks: tuple[Mask, ...] = ()
        keypoints = None
        if self.kind == "obb":
            boxes = placement.rotated_to_camera(np.concatenate([some.boxes, some.extra[:, -1:]], axis=1))
        else:
            boxes = placement.to_camera(some.boxes)
        if limits.min_size_px > 0:
            sides = boxes[:, 2:4] if self.kind == "obb" else boxes[:, 2:] - boxes[:, :2]
            large = sides.min(axis=1, initial=np.inf) >= limits.min_size_px
            some, boxes = some.only(large), boxes[large]
        if self.kind == "pose":
            keypoints = self._keypoints(some.extra, placement)
            if shift is not None:
                keypoints[..., :2] += shift
        elif self.kind == "segment":
            drawn = masks_of(some.extra, arrays[1], some.boxes, placement, view.size)
            masks = tuple(mask for mask in drawn if mask is not None and mask is not NOT_FINITE)
            if len(masks) < len(drawn):
                full = np.array([mask is not None and mask is not NOT_FINITE for mask in drawn], np.bool_)
                lost = sum(mask is NOT_FINITE for mask in drawn)
                some, boxes = some.only(full)._replace(not_finite=some.not_finite + lost), boxes[full]
            if shift is not None:
                masks = tuple(mask._replace(x_px=mask.x_px + view.x_px, y_px=mask.y_px + view.y_px) for mask in masks)
        if shift is not None:
            boxes[:, :2] += shift
            if self.kind != "obb":
                boxes[:, 2:] += shift
        return Found(
            self.kind, view.width_px, view.height_px, self.names, some.classes, some.scores, boxes, keypoints, masks,
            not_finite=some.not_finite,
        )  # fmt: skip

    def _keypoints(self, extra: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
        count, depth = self.head.keypoint_shape
        raw = extra.reshape(len(extra), count, depth)
        points = np.ones((len(extra), count, 3), np.float32)
        points[..., :2] = placement.points_to_camera(raw[..., :2])
        if depth > 2:
            points[..., 2] = raw[..., 2]
        return points

    def _classified(self, output: NDArray[Any], view: View, limits: Limits) -> Found:
        scores = class_scores(self.head, [output])
        if self.head.classes is not None and len(scores) != self.head.classes:
            raise EngineError(f"the model gave {len(scores)} class scores, its output says {self.head.classes}")
        order = np.argsort(-scores, kind="stable")
        if limits.classes is not None:
            order = order[np.isin(order, list(limits.classes))]
        order = order[: limits.top]
        nothing = np.zeros((len(order), 0), np.float32)
        return Found("classify", view.width_px, view.height_px, self.names, order, scores[order], nothing)


def _one(output: NDArray[Any], index: int, is_flat: bool) -> NDArray[Any]:
    """Return one image's part of an output."""
    if is_flat:  # rows of all images, each with the image's number
        rows: NDArray[Any] = output[output[:, 0] == index].copy()
        rows[:, 0] = 0
        return rows
    if not output.ndim or len(output) <= index:
        raise EngineError(f"the model gave an output {list(output.shape)} without a row for each image")
    one: NDArray[Any] = output[index]
    return one


def _whole(text: str, default: int) -> int:
    return int(text) if text.strip().isdecimal() and 0 < int(text) <= 1024 else default
