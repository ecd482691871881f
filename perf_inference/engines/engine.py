"""What an engine is: arrays in, arrays out, and the outputs are there when `infer` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError


@dataclass(frozen=True)
class ArraySpec:
    """An array's name, shape (None = any length) and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    owned: bool = False  # an output that stays valid after the next `infer`

    def check(self, array: NDArray[Any]) -> None:
        """Raise InputError unless the array has this dtype and fits this shape."""
        fits = len(array.shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != self.dtype:
            raise InputError(
                f"input '{self.name}' must be {self.dtype} {list(self.shape)}, got {array.dtype} {list(array.shape)}"
            )


@dataclass(frozen=True)
class EngineInfo:
    """What runs: for the timings and the diagnostics."""

    name: str  # the model's name
    runtime: str
    precision: str
    device: str
    metadata: Mapping[str, str]  # what the model file says of itself


class Engine(Protocol):
    """Runs one model."""

    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    info: EngineInfo

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the outputs, complete and in host memory (device work is waited for); valid until the next `infer`.

        Raises:
            InputError: an array that does not fit its spec, or is missing.
            EngineError: the runtime failed.
        """

    def close(self) -> None:
        """Free the device; a second call does nothing."""
