"""An engine of your own: models that are one matrix and one vector in an .npz file, run by NumPy.

perf-inference bench engines model.npz --runtime linear
ros2 run perf_inference policy_node --ros-args -p model:=/models/model.npz
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.runtimes import AS_STORED, Runtime
from perf_inference.errors import ConfigError, EngineError

Arrays = Mapping[str, NDArray[Any]]
F32 = np.dtype(np.float32)


class LinearEngine:
    """y [n, outputs] = x [n, inputs] @ weight + bias."""

    parts_ns = NO_PARTS  # what a call consists of; nothing to tell apart here

    def __init__(self, weight: NDArray[Any], bias: NDArray[Any], name: str) -> None:
        self._weight, self._bias, self._closed = weight.astype(F32), bias.astype(F32), False
        self.inputs = (ArraySpec("x", (None, weight.shape[0]), F32),)  # None: an axis of any length
        self.outputs = (ArraySpec("y", (None, weight.shape[1]), F32, owned=True),)  # stays valid after the next call
        self.info = EngineInfo(name, "linear", "fp32", "cpu", {})

    def infer(self, inputs: Arrays) -> Arrays:
        """Return when the outputs are complete and in host memory."""
        if self._closed:
            raise EngineError("this engine is closed")
        check_inputs(self.inputs, inputs)  # InputError for what does not fit
        return {"y": np.ascontiguousarray(inputs["x"] @ self._weight + self._bias)}

    def close(self) -> None:
        """Give back what it holds; twice is fine."""
        self._closed = True


def open_engine(model: str, options: Options) -> LinearEngine:
    """Read the file; what is wrong with it is one sentence."""
    try:
        with np.load(model, allow_pickle=False) as arrays:
            return LinearEngine(arrays["weight"], arrays["bias"], model)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"'{model}' must be an .npz file with 'weight' and 'bias': {error}") from error


RUNTIME = Runtime("linear", __name__, (".npz",), "numpy", "pip install numpy", {"fp32": AS_STORED}, ("cpu",))
