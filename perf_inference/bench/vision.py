"""Pre- and post-processing of vision models by kind and number of objects, on one thread, without any model.

The outputs are made: so many objects, each with a dozen overlapping candidates, among 8400 anchors of 80 classes for an
image of 640x480 in 640x640. `--save DIR` writes them as .npy, for the same to be timed elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep, standalone, tell
from perf_inference.bringup.tuning import tune_this_process
from perf_inference.engines.engine import ArraySpec, EngineInfo
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import positive
from perf_inference.tasks.vision.task import Limits, YoloTask

CASES = {
    "detect": (0, 20, 100, 300), "segment": (0, 20, 100), "pose": (0, 20, 100), "obb": (0, 20, 100), "classify": (1,)
}  # fmt: skip
_SIDE, _ANCHORS, _CLASSES, _MASKS = 640, 8400, 80, 32
_PER_OBJECT = 12  # candidates
_METADATA = {
    "task": "",
    "names": str({i: f"class {i}" for i in range(_CLASSES)}),
    "stride": "32",
    "kpt_shape": "[17, 3]",
}
_EXTRA = {"detect": 0, "segment": _MASKS, "pose": 51, "obb": 1}


class _Outputs:
    """An engine's specs, for the task to read; it is never run."""

    def __init__(self, kind: str, outputs: Mapping[str, NDArray[Any]]) -> None:
        side = 224 if kind == "classify" else _SIDE
        self.inputs: tuple[ArraySpec, ...] = (ArraySpec("images", (1, 3, side, side), np.dtype(np.float32)),)
        self.outputs: tuple[ArraySpec, ...] = tuple(
            ArraySpec(name, array.shape, array.dtype) for name, array in outputs.items()
        )
        self.info = EngineInfo(kind, "none", "fp32", "cpu", {**_METADATA, "task": kind})
        self.parts_ns: Mapping[str, int] = {}

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return inputs

    def close(self) -> None: ...


def made_outputs(kind: str, objects: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return the raw outputs of an image with so many objects in a grid, so that none suppresses another."""
    rng = np.random.default_rng(seed)
    if kind == "classify":
        scores = rng.random((1, _CLASSES)).astype(np.float32)
        return {"output0": scores / scores.sum()}
    extra = _EXTRA[kind]
    raw = np.zeros((1, 4 + _CLASSES + extra, _ANCHORS), np.float32)
    raw[0, :2] = rng.random((2, _ANCHORS)) * _SIDE
    raw[0, 2:4] = rng.random((2, _ANCHORS)) * 60 + 8
    raw[0, 4 : 4 + _CLASSES] = rng.random((_CLASSES, _ANCHORS)) * 0.02
    columns = max(1, int(np.ceil(np.sqrt(objects * 4 / 3))))
    step = min(_SIDE / columns, 480 / max(1, -(-objects // columns)))
    anchors = rng.permutation(_ANCHORS)[: objects * _PER_OBJECT].reshape(objects, _PER_OBJECT)
    for number, own in enumerate(anchors):
        x, y = (number % columns + 0.5) * _SIDE / columns, (number // columns + 0.5) * step + 80
        raw[0, 0, own] = x + rng.normal(0, step * 0.01, len(own))
        raw[0, 1, own] = y + rng.normal(0, step * 0.01, len(own))
        raw[0, 2:4, own] = step * (0.8 + rng.normal(0, 0.01, (len(own), 2)))
        raw[0, 4 + number % _CLASSES, own] = 0.3 + rng.random(len(own)) * 0.65
    if kind == "pose":
        raw[0, 4 + _CLASSES :] = rng.random((extra, _ANCHORS)) * _SIDE
    elif kind == "obb":
        raw[0, -1] = rng.random(_ANCHORS) * 0.02 + 0.3
    elif kind == "segment":
        raw[0, 4 + _CLASSES :] = rng.normal(0, 1, (extra, _ANCHORS))
        coarse = rng.normal(0, 1, (_MASKS, 20, 20)).astype(np.float32)
        fine = [cv2.resize(plane, (160, 160), interpolation=cv2.INTER_CUBIC) for plane in coarse]
        return {"output0": raw, "output1": np.stack(fine)[None].astype(np.float32)}
    return {"output0": raw}


def task_of(kind: str, outputs: Mapping[str, NDArray[Any]]) -> YoloTask:
    """Return the task of a model with such outputs; the model is never run."""
    return YoloTask(_Outputs(kind, outputs), limits=Limits())


def camera_image() -> NDArray[np.uint8]:
    """Return the image [480, 640, 3] that is prepared."""
    return np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)


def measured_ms(call: Callable[[], Any], times: int) -> list[float]:
    """Return what each call took [ms], after five that are not counted."""
    taken = []
    for turn in range(times + 5):
        start = time.perf_counter_ns()
        call()
        if turn > 4:
            taken.append((time.perf_counter_ns() - start) / 1e6)
    return taken


def rows(times: int) -> list[dict[str, Any]]:
    """Return the figures of each case; OpenCV is kept to one thread meanwhile."""
    tune_this_process()  # memory is kept, as in a node
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    image, found = camera_image(), []
    try:
        for kind, counts in CASES.items():
            for count in counts:
                outputs = made_outputs(kind, count)
                task = task_of(kind, outputs)
                _, view = task.preprocess(image)
                before = measured_ms(lambda task=task: task.preprocess(image), times)  # type: ignore[misc]
                after = measured_ms(
                    lambda task=task, outputs=outputs, view=view: task.postprocess(outputs, view),  # type: ignore[misc]
                    times,
                )
                keep(f"{kind}, {count} objects, preprocess", before)
                keep(f"{kind}, {count} objects, postprocess", after)
                seen = len(task.postprocess(outputs, view))
                found.append({"kind": kind, "objects": count, "found": seen,
                              "preprocess_ms": _figures(before), "postprocess_ms": _figures(after)})  # fmt: skip
    finally:
        cv2.setNumThreads(threads)
    return found


def _figures(taken_ms: Sequence[float]) -> dict[str, float | int | None]:
    return Distribution.of(round(ms * 1e6) for ms in taken_ms).summary_ms()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(parser, "perf-inference bench vision --times 1000 --json vision.jsonl")
    parser.add_argument("--times", type=positive, default=200, help="how often each case is run (default: 200)")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write the outputs and the image there, as .npy")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        np.save(options.save / "image.npy", camera_image())
        for kind, counts in CASES.items():
            for count in counts:
                for name, array in made_outputs(kind, count).items():
                    np.save(options.save / f"{kind}_{count}_{name}.npy", array)
    found = rows(options.times)
    print(f"640x480, one thread, {options.times} times each; p50 (p90) [ms]")
    print(f"{'kind':<10}{'objects':>8}{'found':>7}{'preprocess':>18}{'postprocess':>18}{'both, p50':>11}")
    for row in found:
        before, after = row["preprocess_ms"], row["postprocess_ms"]
        both = "-" if before["p50"] is None or after["p50"] is None else f"{before['p50'] + after['p50']:.3f}"
        print(f"{row['kind']:<10}{row['objects']:>8}{row['found']:>7}{_cell(before):>18}{_cell(after):>18}{both:>11}")
    tell(rows=found)
    return 0


def _cell(figures: Mapping[str, float | int | None]) -> str:
    return " ".join("-" if figures[key] is None else form.format(figures[key])
                    for key, form in (("p50", "{:.3f}"), ("p90", "({:.3f})")))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    return standalone("vision", add_arguments, run, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main())
