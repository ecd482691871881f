"""What a task does to the images of a model, so that the model's graph can do it instead."""

from __future__ import annotations

from perf_inference.engines.engine import Engine
from perf_inference.engines.image_preprocessing import ImageFront
from perf_inference.tasks.vision.task import YoloTask


def front_of(engine: Engine) -> ImageFront:
    """Return how the engine's task prepares images: detectors letterbox them, captioners and policies stretch them.

    Raises:
        ConfigError: a model of none of these tasks.
    """
    outputs = {spec.name for spec in engine.outputs}
    if outputs & {"tokens", "action"}:
        return ImageFront(letterbox=False)
    front: ImageFront = YoloTask(engine).front
    return front
