"""What `predict` says of an image whose model makes sentences."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines import Engine, Options
from perf_inference.quantities import whole
from perf_inference.tasks.language.caption import Caption, CaptionTask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of captioners."""
    parser.add_argument("--beams", type=whole, default=0, help="sentences that a captioner's search keeps (default: 1)")
    parser.add_argument("--max-tokens", type=whole, default=0, help="of a sentence (default: as the model says)")
    parser.add_argument("--prompt", default="", help="what is asked of each image (default: to describe it)")


def options_of(given: argparse.Namespace, options: Options) -> Options:
    """Return the engine's options with what is asked of a captioner."""
    return replace(options, beams=given.beams, max_tokens=given.max_tokens)


def is_captioner(engine: Engine) -> bool:
    """Return whether the engine makes sentences."""
    return bool({spec.name for spec in engine.outputs} & {"tokens", "text"})


def task_of(engine: Engine, given: argparse.Namespace) -> CaptionTask:
    """Return the task of a captioner.

    Raises:
        ConfigError: it is none, or cannot do what is asked.
    """
    return CaptionTask(engine, given.prompt, given.beams, given.max_tokens)


def predict_caption(engine: Engine, task: CaptionTask, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Return what is said of a BGR image [H, W, 3], as `predict` writes it.

    Raises:
        InputError, EngineError: this image has no sentence; the next may have one.
    """
    inputs, context = task.preprocess(image)
    return entry(task.postprocess(engine.infer(inputs), context), image)


def entry(found: Caption, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Return `kind`, size of the image, `caption`, `tokens` and `scores`."""
    height, width = image.shape[:2]
    return {
        "kind": "caption",
        "width": width,
        "height": height,
        "caption": found.text,
        "tokens": list(found.token_ids),
        "scores": list(found.scores),
    }
