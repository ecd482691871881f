"""A camera's image as a policy takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec, EngineInfo
from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.contract.contract import Term
from perf_inference.tasks.vision.image import ImageInput
from perf_inference.tasks.vision.image_block import ImageBlock


def prepare_of(term: Term, spec: ArraySpec, info: EngineInfo) -> Callable[[Any], NDArray[Any]]:
    """Return what makes the model's image [1, ...] of a camera's: BGR [H, W, 3], of a depth camera [H, W].

    Raises:
        ConfigError: the input is no image, or another one than the contract says.
    """
    block, one = term.image or ImageBlock(), one_image(term, spec)
    image = ImageInput(one, block, info.metadata)
    if image.in_graph is None:
        for key in ("size", "layout", "dtype"):
            said, has = getattr(block, key), getattr(image.block, key)
            if key in term.image_keys and said != has:
                shown = [list(value) if isinstance(value, tuple) else value for value in (said, has)]
                raise ConfigError(
                    f"image.{key} of the observation {term.label} must be {shown[1]}, as the input '{spec.name}' of "
                    f"'{info.name}' has it, got {shown[0]}; leave it out, and the model's is taken"
                )
    return lambda pixels: np.array(image.prepared(pixels)[0])


def one_image(term: Term, spec: ArraySpec) -> ArraySpec:
    """Return the spec of one image of a window; of a term without one, the spec itself."""
    if term.window is None:
        return spec
    shape = spec.shape
    if term.window.flatten == "none" and len(shape) == 5:
        shape = (shape[0], *shape[2:])
    elif term.window.flatten != "none" and len(shape) == 4:
        axis = 1 if shape[1] is not None and shape[1] % term.window.length == 0 and shape[1] < 64 else 3
        shape = tuple(n // term.window.length if i == axis and n else n for i, n in enumerate(shape))
    return ArraySpec(spec.name, shape, spec.dtype)
