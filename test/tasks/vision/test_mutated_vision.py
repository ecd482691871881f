"""Images and outputs that are not what they should be: an error with a sentence, or a result that makes sense.

A few hundred here, 10,000 images and 2,000 outputs with `make prove PROVE=mutated`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference.bench.vision import CASES, _Outputs, made_outputs
from perf_inference.errors import PerfInferenceError
from perf_inference.tasks.vision.as_json import found_dict
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.task import Limits, YoloTask

MANY = pytest.param(True, marks=pytest.mark.long)


def mutated_image(rng: np.random.Generator) -> Any:
    """Return an image of a camera that is broken in one way or another, or not at all."""
    height, width = (int(side) for side in rng.choice([0, 1, 2, 3, 7, 31, 64, 200, 481, 1030], 2))
    shape: tuple[int, ...] = (height, width, 3)
    match int(rng.integers(8)):
        case 0:
            shape = (height, width)
        case 1:
            shape = (height, width, int(rng.integers(0, 6)))
        case 2:
            shape = (height,)
        case 3:
            shape = (1, height, width, 3)
    dtype = rng.choice(np.array(["u1", "u1", "u1", "u1", "u2", "i1", "f4", "f8", "?", "c8"]))
    image = rng.integers(0, 256, shape).astype(dtype)
    match int(rng.integers(6)):
        case 0 if image.ndim > 1:
            image = image[::-1, ::2]  # a view whose rows run backwards
        case 1 if image.ndim > 2:
            image = image[..., ::-1]
        case 2 if image.ndim > 1:
            image = np.asfortranarray(image)
        case 3:
            image.flags.writeable = False
    return image


def mutated_outputs(outputs: dict[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return the outputs of a model that gives something else than it should, in one or two ways."""
    changed = {name: array.copy() for name, array in outputs.items()}
    for _ in range(int(rng.integers(1, 3))):
        name = str(rng.choice(list(changed)))
        array = changed[name]
        where = tuple(rng.integers(0, max(length, 1)) for length in array.shape)
        match int(rng.integers(9)):
            case 0 if array.size and array.dtype.kind == "f":
                array[where] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, -0.5, 7.0])
            case 1 if array.size and array.dtype.kind == "f":
                array.reshape(-1)[rng.random(array.size) < 0.3] = rng.choice([np.nan, np.inf, -np.inf])
            case 2:
                changed[name] = array[..., : int(rng.integers(0, array.shape[-1] + 1))]
            case 3:
                changed[name] = array.astype(rng.choice(np.array(["f2", "f8", "i8"])))
            case 4:
                changed[name] = array[: int(rng.integers(0, 2))]
            case 5:
                changed[name] = array * np.float32(rng.choice([-1, 0, 100, 1e20, 1e-30]))
            case 6:
                changed[name] = np.moveaxis(array, -1, -2) if array.ndim > 1 else array[None]
            case 7 if len(array):
                changed[name] = array[0]
            case 8:
                changed[name] = np.full_like(array, rng.choice([np.nan, 0, 1, 0.5]))
    return changed


def check(found: Found, limits: Limits) -> None:
    """Assert that a result makes sense: numbers that are some, scores in order, boxes in the image, masks too."""
    scores = np.asarray(found.scores)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) <= 1e-6).all()
    assert ((scores >= -0.011) & (scores <= 1.011)).all()
    if found.kind != "classify":
        assert (scores > limits.confidence).all()
        assert np.isfinite(found.boxes).all()
        assert len(found) <= limits.max_detections
    if found.kind not in ("classify", "obb"):
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, [0, 2]] <= found.width_px).all()
        assert (found.boxes[:, [1, 3]] <= found.height_px).all()
    for mask in found.masks:
        assert 0 <= mask.x_px <= mask.x_px + mask.pixels.shape[1] <= found.width_px
        assert 0 <= mask.y_px <= mask.y_px + mask.pixels.shape[0] <= found.height_px
    found_dict(found)


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, MANY])
def test_mutated_images(many: bool) -> None:
    rng = np.random.default_rng(1)
    tasks = [YoloTask(_Outputs(kind, made_outputs(kind, 2)), limits=Limits()) for kind in CASES]
    made, errors = 0, list[str]()
    for number in range(10_000 if many else 250):
        task = tasks[number % len(tasks)]
        image = mutated_image(rng)
        task.limits = Limits(roi=None if rng.random() < 0.7 else tuple(int(x) for x in rng.integers(0, 300, 4)))  # type: ignore[arg-type]
        try:
            inputs, view = task.preprocess(image)
        except PerfInferenceError as error:
            errors.append(str(error))
            continue
        made += 1
        (array,) = inputs.values()
        assert image.dtype == np.uint8, image.dtype
        assert np.isfinite(array).all()
        assert array.min() >= 0
        assert array.max() <= 1
        assert (view.height_px, view.width_px) == image.shape[:2]
    assert all(errors)
    assert made > (10_000 if many else 250) / 20


@pytest.mark.parametrize("many", [False, MANY])
def test_mutated_outputs(many: bool) -> None:
    rng = np.random.default_rng(2)
    image = np.zeros((48, 64, 3), np.uint8)
    cases = []
    for kind in CASES:
        outputs = made_outputs(kind, 3)
        limits = Limits(confidence=0.25)
        task = YoloTask(_Outputs(kind, outputs), limits=limits)
        cases.append((task, outputs, task.preprocess(image)[1], limits))
    seen, errors = 0, list[str]()
    for number in range(2_000 if many else 100):
        task, outputs, view, limits = cases[number % len(cases)]
        with np.errstate(all="ignore"):
            changed = mutated_outputs(outputs, rng)
        try:
            found = task.postprocess(changed, view)
        except PerfInferenceError as error:
            errors.append(str(error))
            continue
        check(found, limits)
        seen += 1
    assert all(errors)
    assert min(seen, len(errors)) > (2_000 if many else 100) / 20
