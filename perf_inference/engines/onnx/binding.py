"""Run a session of ONNX Runtime on a device: inputs and outputs lie in the device's memory, and are copied once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec


class Binding:
    """A session's inputs and outputs on a device.

    Arrays of fixed shape keep their place on the device. ONNX Runtime would hold a free shape to that of the last run:
    such an input gets a place for each run, and such an output is bound again.
    """

    def __init__(
        self, session: Any, inputs: Sequence[ArraySpec], outputs: Sequence[ArraySpec], device: str, index: int
    ) -> None:
        self._session, self._inputs = session, inputs
        self._device = (device, index)
        self._binding = session.io_binding()
        self._places = {
            spec.name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(spec.shape, spec.dtype, device, index)
            for spec in inputs
            if None not in spec.shape
        }
        for name, place in self._places.items():
            self._binding.bind_ortvalue_input(name, place)
        for spec in outputs:
            self._binding.bind_output(spec.name, device, index)
        self._free = [spec.name for spec in outputs if None in spec.shape]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[list[NDArray[Any]], dict[str, int]]:
        """Return the outputs in host memory, the caller's own, and where the time went [ns]."""
        began_ns = time.monotonic_ns()
        for spec in self._inputs:
            array = np.ascontiguousarray(inputs[spec.name])
            if (place := self._places.get(spec.name)) is not None:
                place.update_inplace(array)
            else:
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array, *self._device)
                self._binding.bind_ortvalue_input(spec.name, value)
        for name in self._free:
            self._binding.bind_output(name, *self._device)
        self._binding.synchronize_inputs()
        copied_ns = time.monotonic_ns()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        computed_ns = time.monotonic_ns()
        outputs = self._binding.copy_outputs_to_cpu()
        parts = {
            "host_to_device": copied_ns - began_ns,
            "compute": computed_ns - copied_ns,
            "device_to_host": time.monotonic_ns() - computed_ns,
        }
        return outputs, parts
