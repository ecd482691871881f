"""A camera's image as a policy takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec, EngineInfo
from perf_inference.tasks.image import ImageInput
from perf_inference.tasks.policy.contract.contract import Term


def prepare_of(term: Term, spec: ArraySpec, info: EngineInfo) -> Callable[[Any], NDArray[Any]]:
    """Return what makes the model's image [1, ...] of a camera's, BGR [H, W, 3].

    Raises:
        ConfigError: the input is no image.
    """
    one = spec
    if term.window is not None and len(spec.shape) == 5:
        one = ArraySpec(spec.name, (spec.shape[0], *spec.shape[2:]), spec.dtype)
    image = ImageInput.of(one, 640, 480, rgb=False, scale=1.0, metadata=info.metadata)
    return lambda bgr: image.stretched(bgr)[0]
