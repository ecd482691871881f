"""Output layouts, suppression, and real images through a real model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.engines import ArraySpec, EngineInfo
from perf_inference.errors import ConfigError, EngineError
from perf_inference.tasks.vision.coco import COCO
from perf_inference.tasks.vision.outputs.suppression import suppress
from perf_inference.tasks.vision.task import YoloTask

F32 = np.dtype(np.float32)


class Engine:
    """The specs of a detector, and the output that it is given."""

    def __init__(
        self, output: tuple[int | None, ...], names: str = "", image: tuple[int, ...] = (1, 3, 64, 64)
    ) -> None:
        self.inputs = (ArraySpec("images", image, F32),)
        self.outputs = (ArraySpec("output0", output, F32),)
        self.info = EngineInfo("d", "fake", "fp32", "cpu", {"names": names})

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return inputs

    def close(self) -> None: ...


CELLS = 64 + 16 + 4  # of a 64x64 input with strides 8, 16 and 32


@pytest.mark.parametrize(
    ("output", "layout"),
    [
        ((1, 7, CELLS), "ultralytics"),
        ((1, CELLS, 8), "yolox"),
        ((1, 3 * CELLS, 8), "yolov5"),
        ((1, 7, None), "ultralytics"),
    ],
)
def test_the_layout_is_told_by_the_shape(output: tuple[int | None, ...], layout: str) -> None:
    assert YoloTask(Engine(output), kind="detect").layout == layout


def test_names_come_from_the_metadata_then_coco_or_the_model_is_refused() -> None:
    assert YoloTask(Engine((1, 6, CELLS), "{0: 'cup', 1: 'cat'}")).names == ("cup", "cat")
    assert YoloTask(Engine((1, 84, 8400), image=(1, 3, 640, 640))).names == COCO
    with pytest.raises(ConfigError, match="class_names must have 2 names"):
        YoloTask(Engine((1, CELLS, 7)), class_names=("one",))
    with pytest.raises(ConfigError, match="boxes of 2 classes, oriented boxes of 1, or keypoints; set class_names"):
        YoloTask(Engine((1, 6, CELLS)))
    unnamed = YoloTask(Engine((1, 6, CELLS)), kind="detect")
    assert unnamed.names == ("class_0", "class_1")
    assert "does not name its 2 classes" in unnamed.note


def test_suppression_is_per_class_and_best_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.6, 0.9, 0.7, 0.5], np.float32)
    assert suppress(boxes, scores, np.array([0, 0, 1, 0]), 0.5).tolist() == [1, 2, 3]
    assert suppress(boxes[:0], scores[:0], np.zeros(0, int), 0.5).tolist() == []


@pytest.mark.parametrize("side_px", [1e4, 1e8, 1e20, 3e38])
def test_a_box_that_is_nonsense_does_not_move_the_others(side_px: float) -> None:
    boxes = np.array([[10, 10, 50, 50], [11, 10, 51, 50], [-side_px, 0, side_px, 20]], np.float32)
    scores, classes = np.array([0.9, 0.8, 0.7], np.float32), np.array([70, 70, 0])
    assert suppress(boxes, scores, classes, 0.5).tolist() == [0, 2]


def test_one_object_of_two_classes_is_one_detection_when_classes_do_not_matter() -> None:
    raw = np.zeros((1, 6, CELLS), np.float32)
    raw[0, :, 5] = (32, 32, 16, 8, 0.7, 0.0)
    raw[0, :, 6] = (33, 32, 16, 8, 0.0, 0.9)
    for agnostic, names in ((False, ["b", "a"]), (True, ["b"])):
        task = YoloTask(Engine((1, 6, CELLS), "{0: 'a', 1: 'b'}"), class_agnostic=agnostic)
        _, view = task.preprocess(np.zeros((64, 64, 3), np.uint8))
        assert [d.class_name for d in task.postprocess({"output0": raw}, view)] == names


def test_boxes_come_back_in_the_cameras_pixels() -> None:
    # 128x64 into 64x64: half size, 16 px of grey above and below
    task = YoloTask(Engine((1, 6, CELLS), "{0: 'a', 1: 'b'}"), confidence=0.5)
    _, view = task.preprocess(np.zeros((64, 128, 3), np.uint8))
    raw = np.zeros((1, 6, CELLS), np.float32)
    raw[0, :, 5] = (32, 32, 16, 8, 0.1, 0.8)
    (one,) = task.postprocess({"output0": raw}, view)
    assert (one.class_name, one.score, one.xyxy) == ("b", pytest.approx(0.8), (48, 24, 80, 40))


def test_scores_that_are_not_finite_are_an_error_of_the_engine() -> None:
    task = YoloTask(Engine((1, 6, CELLS), "{0: 'a', 1: 'b'}"))
    _, view = task.preprocess(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(EngineError, match="no score that is finite"):
        task.postprocess({"output0": np.full((1, 6, CELLS), np.nan, np.float32)}, view)


@pytest.mark.parametrize(
    ("image", "wanted"), [("dog", {"dog", "bicycle", "car"}), ("person", {"person", "dog", "horse"})]
)
def test_a_real_yolox_on_real_images(shared_data: Path, image: str, wanted: set[str]) -> None:
    engine = engines.load(str(shared_data / "vision" / "yolox_nano_coco.onnx"))
    task = YoloTask(engine)
    inputs, placement = task.preprocess(cv2.imread(str(shared_data / "vision" / f"{image}.jpg")))
    found = {d.class_name for d in task.postprocess(engine.infer(inputs), placement) if d.score > 0.5}
    assert found == wanted
