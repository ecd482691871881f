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
from perf_inference.tasks.vision.yolo import COCO, Detection, YoloTask, split, suppress

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
    assert YoloTask(Engine(output)).layout == layout


@pytest.mark.parametrize("output", [(1, 10), (1, 100, 100, 3)])
def test_an_output_that_is_no_detector_is_refused(output: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"a detector's output must be"):
        YoloTask(Engine(output))


def test_names_come_from_the_metadata_then_coco_then_numbers() -> None:
    assert YoloTask(Engine((1, 6, CELLS), "{0: 'cup', 1: 'cat'}")).names == ("cup", "cat")
    assert YoloTask(Engine((1, 84, 8400), image=(1, 3, 640, 640))).names == COCO
    assert YoloTask(Engine((1, 6, CELLS))).names == ("class_0", "class_1")
    with pytest.raises(ConfigError, match="class_names must have 2 names"):
        YoloTask(Engine((1, 6, CELLS)), class_names=("one",))


def test_the_three_layouts_say_the_same_box() -> None:
    # a box 16x24 px round (20, 36) of class 1: the cell (2, 4) of stride 8
    wanted = ([20.0, 36.0], [16.0, 24.0], [0.0, 0.9])
    ultralytics = np.array([[20], [36], [16], [24], [0.0], [0.9]], np.float32)
    yolov5 = np.array([[20, 36, 16, 24, 0.9, 0.0, 1.0]], np.float32)
    yolox = np.array([[0.5, 0.5, np.log(2), np.log(3), 0.9, 0.0, 1.0]], np.float32)
    grid = np.array([[2, 4, 8]], np.float32)
    for raw, layout in ((ultralytics, "ultralytics"), (yolov5, "yolov5"), (yolox, "yolox")):
        for have, want in zip(split(raw, layout, grid), wanted, strict=True):
            assert have[0].tolist() == pytest.approx(want, abs=1e-5)


def test_suppression_is_per_class_and_best_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.6, 0.9, 0.7, 0.5], np.float32)
    assert suppress(boxes, scores, np.array([0, 0, 1, 0]), 0.5).tolist() == [1, 2, 3]
    assert suppress(boxes[:0], scores[:0], np.zeros(0, int), 0.5).tolist() == []


def test_one_object_of_two_classes_is_one_detection_when_classes_do_not_matter() -> None:
    raw = np.zeros((1, 6, CELLS), np.float32)
    raw[0, :, 5] = (32, 32, 16, 8, 0.7, 0.0)
    raw[0, :, 6] = (33, 32, 16, 8, 0.0, 0.9)
    for agnostic, names in ((False, ["b", "a"]), (True, ["b"])):
        task = YoloTask(Engine((1, 6, CELLS), "{0: 'a', 1: 'b'}"), class_agnostic=agnostic)
        _, placement = task.preprocess(np.zeros((64, 64, 3), np.uint8))
        assert [d.name for d in task.postprocess({"output0": raw}, placement)] == names


def test_boxes_come_back_in_the_cameras_pixels() -> None:
    # 128x64 into 64x64: half size, 16 px of grey above and below
    task = YoloTask(Engine((1, 6, CELLS), "{0: 'a', 1: 'b'}"), confidence=0.5)
    _, placement = task.preprocess(np.zeros((64, 128, 3), np.uint8))
    raw = np.zeros((1, 6, CELLS), np.float32)
    raw[0, :, 5] = (32, 32, 16, 8, 0.1, 0.8)
    assert task.postprocess({"output0": raw}, placement) == [Detection("b", pytest.approx(0.8), 48, 24, 80, 40)]


def test_scores_that_are_not_finite_are_an_error_of_the_engine() -> None:
    task = YoloTask(Engine((1, 6, CELLS)))
    _, placement = task.preprocess(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(EngineError, match="not finite"):
        task.postprocess({"output0": np.full((1, 6, CELLS), np.nan, np.float32)}, placement)


@pytest.mark.parametrize(
    ("image", "wanted"), [("dog", {"dog", "bicycle", "car"}), ("person", {"person", "dog", "horse"})]
)
def test_a_real_yolox_on_real_images(shared_data: Path, image: str, wanted: set[str]) -> None:
    engine = engines.load(str(shared_data / "vision" / "yolox_nano_coco.onnx"))
    task = YoloTask(engine)
    inputs, placement = task.preprocess(cv2.imread(str(shared_data / "vision" / f"{image}.jpg")))
    found = {d.name for d in task.postprocess(engine.infer(inputs), placement) if d.score > 0.5}
    assert found == wanted
