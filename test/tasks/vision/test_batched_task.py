"""The images of several cameras in one run give what each gives by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import brightness_detector

from perf_inference import engines
from perf_inference.errors import InputError
from perf_inference.tasks.vision.batch import BatchedYoloTask
from perf_inference.tasks.vision.task import Limits, YoloTask

LIMITS = Limits(confidence=0.01)


def picture(level: int, width: int = 64, height: int = 64) -> NDArray[np.uint8]:
    """Return an image whose red, which is the model's first channel, has this level."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2] = level
    return image


def scores(found: Any) -> list[float]:
    return [round(float(score), 3) for score in found.scores]


@pytest.mark.parametrize("batch", [1, 4, "n"])
def test_each_image_has_its_own_result(tmp_path: Path, batch: int | str) -> None:
    engine = engines.load(str(brightness_detector(tmp_path / "m.onnx", batch)))
    alone = YoloTask(engine, limits=LIMITS)
    task = BatchedYoloTask(engine, limits=LIMITS, images=3)
    assert task.most == {1: 1, 4: 4, "n": 3}[batch]
    images = [picture(50), picture(100, 32, 64), picture(200)]
    expected = []
    for image in images:
        inputs, view = alone.preprocess(image)
        found = alone.postprocess(engine.infer(inputs), view)
        expected.append((scores(found), found.boxes.tolist()))
    assert len({str(one) for one in expected}) == 3
    got, left = [], images
    while left:
        run = task.new_batch()
        views = [run.add(image) for image in left]
        taken = [view for view in views if view is not None]
        assert len(taken) == min(len(left), task.most)
        assert views[: len(taken)] == taken
        outputs = engine.infer(run.inputs())
        assert run.padding == (4 - len(taken) if batch == 4 else 0)
        for index, view in enumerate(taken):
            found = task.postprocess_one(outputs, view, index)
            got.append((scores(found), found.boxes.tolist()))
        left = left[len(taken) :]
    assert got == expected


def test_images_that_a_free_model_sees_at_another_size_wait_for_another_run(tmp_path: Path) -> None:
    engine = engines.load(str(brightness_detector(tmp_path / "m.onnx", "n", side=None)))
    task = BatchedYoloTask(engine, limits=LIMITS, images=4, default_size_px=64)
    run = task.new_batch()
    views = [run.add(picture(100, *size)) for size in ((64, 64), (128, 64), (64, 64))]
    assert [view is not None for view in views] == [True, False, True]
    assert run.inputs()["images"].shape == (2, 3, 64, 64)
    other = task.new_batch()
    assert other.add(picture(100, 128, 64)) is not None
    assert other.inputs()["images"].shape == (1, 3, 32, 64)


def test_a_bad_image_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    engine = engines.load(str(brightness_detector(tmp_path / "m.onnx", 4)))
    task = BatchedYoloTask(engine, limits=Limits(confidence=0.01, roi=(50, 0, 10, 10)), images=4)
    run = task.new_batch()
    with pytest.raises(InputError, match="roi"):
        run.add(picture(10, 40, 40))
    views = [run.add(picture(level)) for level in (51, 204)]
    outputs = engine.infer(run.inputs())
    said = [scores(task.postprocess_one(outputs, view, i)) for i, view in enumerate(views) if view is not None]
    assert said == [[0.2], [0.8]]
    assert run.padding == 2


@pytest.mark.parametrize(("max_batch", "sizes"), [(0, [1, 2, 3]), (2, [1, 2]), (9, [1, 2, 3])])
def test_every_size_of_a_run_is_tried_at_the_start(tmp_path: Path, max_batch: int, sizes: list[int]) -> None:
    engine = engines.load(str(brightness_detector(tmp_path / "m.onnx", "n")))
    task = BatchedYoloTask(engine, images=3, max_batch=max_batch)
    assert [len(inputs["images"]) for inputs in task.batches_of_nothing()] == sizes
