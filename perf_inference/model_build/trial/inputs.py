"""Inputs at random that fit a model, to see whether it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines import ArraySpec, Engine
from perf_inference.errors import EngineError

# What is tried for free axes, one after the other: (length of the last axis, height and width of an image). The first
# fits most; others are for sequences and audio, classifiers, and readers of lines of text.
_SECOND = 16_000  # samples
_TRIES = ((1, (640, 640)), (512, (48, 320)), (64, (224, 224)), (16, (32, 320)))


def random_inputs(
    specs: tuple[ArraySpec, ...], seed: int = 0, length: int = 1, side_px: tuple[int, int] = (640, 640)
) -> dict[str, NDArray[Any]]:
    """Return inputs that fit, the same for the same seed: whole numbers 0 to 255 (int64: 0, 1), floats of N(0, 1).

    Args:
        length: of the last axis of an input that is no image, where it is free; other free axes have 1.
        side_px: height and width of images, where they are free.
    """
    rng = np.random.default_rng(seed)
    made: dict[str, NDArray[Any]] = {}
    for spec in specs:
        if spec.name == "prompt":  # of a captioner: nothing is asked
            made[spec.name] = np.zeros(0, spec.dtype)
            continue
        shape = _shape(spec, length, side_px)
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            made[spec.name] = rng.standard_normal(shape).astype(dtype)
        else:
            high = {"u": 256, "i": 128 if dtype.itemsize == 1 else 2}.get(dtype.kind, 2)
            made[spec.name] = rng.integers(0, high, shape).astype(dtype)
    return made


def inputs_that_run(engine: Engine) -> dict[str, NDArray[Any]]:
    """Return inputs at random on which the engine has run; lengths of free axes are tried.

    Raises:
        EngineError: it runs on none of them; the first error.
    """
    first: EngineError | None = None
    free = any(None in spec.shape for spec in engine.inputs)
    for length, side_px in _TRIES if free else _TRIES[:1]:
        inputs = random_inputs(engine.inputs, length=length, side_px=side_px)
        try:
            engine.infer(inputs)
        except EngineError as error:
            first = first or error
        else:
            return inputs
    assert first is not None
    raise first


def _shape(spec: ArraySpec, length: int, side_px: tuple[int, int]) -> list[int]:
    shape, last = list(spec.shape), len(spec.shape) - 1
    sides: dict[int, int] = {}
    if spec.name == "samples":  # of sound: a second
        sides = dict.fromkeys(range(1, len(shape)), _SECOND)
    elif len(shape) == 3 and shape[2] == 3 and spec.dtype == np.uint8:  # an image as the camera has it
        sides = {0: side_px[0], 1: side_px[1]}
    elif len(shape) == 4 and 3 in (shape[1], shape[3]):
        rows = 2 if shape[1] == 3 else 1
        sides = {rows: side_px[0], rows + 1: side_px[1]}
    return [
        known if known is not None else sides.get(axis, length if axis == last and axis else 1)
        for axis, known in enumerate(shape)
    ]
