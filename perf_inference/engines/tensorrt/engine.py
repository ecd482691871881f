"""TensorRT 8.6 to 11: serialised engines on a GPU. Uses what NVIDIA's `tensorrt_lean` has, and the CUDA runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.devices import broken
from perf_inference.devices.cuda_runtime import CudaDevice
from perf_inference.devices.device import DeviceSplit
from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.tensorrt import library
from perf_inference.engines.tensorrt.cuda_memory import CudaArray, CudaGraph
from perf_inference.engines.tensorrt.log import logger
from perf_inference.engines.tensorrt.plan_file import Built, PlanFile, read_plan
from perf_inference.errors import ConfigError, EngineError, InputError

_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


def open_engine(model: str, options: Options) -> TensorRtEngine:
    """Return an engine for a plan (.engine, .plan, .trt).

    Raises:
        ConfigError: no plan, one that does not fit this machine, or no GPU, driver or TensorRT here.
    """
    path = Path(model)
    file = read_plan(path)
    built = file.built or (Built(options.precision) if options.precision != "auto" else None)
    if built is None:
        raise ConfigError(
            f"'{path}' does not say in which precision it was built; set precision to it, or build it with: "
            f"{Built('fp16').command}"
        )
    device = library.gpu(options.device, options.blocking_wait)  # before TensorRT, which crashes where there is none
    trt = library.running()
    built.require_fit(library.machine(trt, device), path)
    if built.version_compatible and not options.allow_pickle:
        raise ConfigError(
            f"'{path}' is version-compatible: it holds code that runs on this processor; set allow_pickle: true where "
            "you trust who built it"
        )
    return TensorRtEngine(trt, device, path, file, built, options)


class TensorRtEngine:
    """An execution context with its own stream and, for shapes that stay, a CUDA graph."""

    def __init__(
        self, trt: Any, device: CudaDevice, path: Path, file: PlanFile, built: Built, options: Options
    ) -> None:
        self.parts_ns: Mapping[str, int] = NO_PARTS
        self._name, self._trt, self._device = path.stem, trt, device
        self._errors = logger(trt).errors
        since = self._errors.mark()
        with device.selected():
            runtime = trt.Runtime(logger(trt))
            if options.allow_pickle and hasattr(runtime, "engine_host_code_allowed"):
                runtime.engine_host_code_allowed = True  # a version-compatible plan holds code that runs on the host
            if (core := library.dla_core(options.device)) is not None:
                runtime.DLA_core = core
            engine = runtime.deserialize_cuda_engine(file.plan)
            context = engine.create_execution_context() if engine is not None else None
            if context is None:
                said = self._errors.take(since)
                raise ConfigError(
                    f"TensorRT {trt.__version__} does not take '{path}': {said}; build it for this machine: "
                    f"{built.command}"
                )
            self.inputs, self.outputs = _specs(trt, engine)
        self._runtime, self._engine, self._context = runtime, engine, context
        self._stream = device.stream()
        self._split = DeviceSplit(self._stream)
        self._arrays: dict[str, CudaArray] = {}
        self._shapes: dict[str, tuple[int, ...]] | None = None  # for which all is arranged
        self._fixed = not any(None in spec.shape for spec in self.inputs)
        self._want_graph = options.cuda_graph and self._fixed and device.runtime.has_graphs
        self._graph: CudaGraph | None = None
        self.info = EngineInfo(path.stem, "tensorrt", built.precision, device.name, file.metadata)

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        if self._context is None:
            raise EngineError(f"'{self._name}' is closed")
        broken.check(self._device.index)
        try:
            return self._infer(inputs)
        except EngineError:
            broken.keep_if_broken(self._device.index, vars(self).copy())
            raise

    def _infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        with self._device.selected():  # of this thread, which need not be that of before
            shapes = {spec.name: inputs[spec.name].shape for spec in self.inputs}
            if shapes != self._shapes:
                self._arrange(shapes)
            for spec in self.inputs:
                np.copyto(self._arrays[spec.name].host, inputs[spec.name])
            self._split.begin()
            for spec in self.inputs:
                self._arrays[spec.name].to_device(self._stream)
            self._split.mark("host_to_device")
            self._compute()
            self._split.mark("compute")
            for spec in self.outputs:
                self._arrays[spec.name].to_host(self._stream)
            self._split.mark("device_to_host")
            self._stream.synchronize()
            self.parts_ns = self._split.durations_ns()
        return {spec.name: self._arrays[spec.name].host for spec in self.outputs}

    def close(self) -> None:
        if self._context is None:
            return
        if not broken.keep_if_broken(self._device.index, vars(self).copy()):
            with self._device.selected():
                self._stream.synchronize()
                self._graph = None
                self._arrays = {}
                self._context = self._engine = self._runtime = None  # in this order: each belongs to the next
        self._context = None

    def _compute(self) -> None:
        if self._graph is not None:
            self._graph.launch()
            return
        self._enqueue()
        if self._want_graph:  # TensorRT wants one run before it is caught
            self._want_graph = False
            self._stream.synchronize()
            try:
                self._graph = CudaGraph(self._stream, self._enqueue)
            except EngineError:  # an engine with conditions or loops: it goes on without
                self._graph = None

    def _enqueue(self) -> None:
        context, since = self._context, self._errors.mark()
        if not context.execute_async_v3(self._stream.handle):
            said = f"TensorRT failed on '{self._name}': {self._errors.take(since)}"
            raise broken.failure(self._device.index, said)

    def _arrange(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Set the inputs' shapes, and make room for all arrays where the shapes are others than before."""
        context = self._context
        self._shapes = None
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise InputError(f"input '{name}' must be {self._range(name)}, got {list(shape)}")
        for spec in (*self.inputs, *self.outputs):
            shape = tuple(context.get_tensor_shape(spec.name))
            if min(shape, default=0) < 0:
                raise EngineError(
                    f"'{self._name}' has an output '{spec.name}' {list(shape)} whose size depends on the values; "
                    "export the model without non-maximum suppression or other selections"
                )
            if spec.name not in self._arrays or self._arrays[spec.name].host.shape != shape:
                self._arrays[spec.name] = CudaArray(self._device, shape, spec.dtype)
            context.set_tensor_address(spec.name, self._arrays[spec.name].address)
        self._shapes = shapes

    def _range(self, name: str) -> str:
        engine = self._engine
        least, _, most = engine.get_tensor_profile_shape(name, 0)
        return f"between {list(least)} and {list(most)}, for which the engine was built"


def _specs(trt: Any, engine: Any) -> tuple[tuple[ArraySpec, ...], tuple[ArraySpec, ...]]:
    """Return the inputs and outputs.

    Raises:
        ConfigError: an array that this package does not pass.
    """
    inputs: list[ArraySpec] = []
    outputs: list[ArraySpec] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name).name
        packed = engine.get_tensor_vectorized_dim(name) != -1
        if kind not in _DTYPES or packed or engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise ConfigError(
                f"'{name}' is {kind}{', packed' if packed else ''}; this package passes plain arrays of "
                f"{', '.join(_DTYPES)} on the device; build the engine with such inputs and outputs"
            )
        shape = tuple(None if length < 0 else int(length) for length in engine.get_tensor_shape(name))
        spec = ArraySpec(name, shape, np.dtype(_DTYPES[kind]))
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(spec)
    return tuple(inputs), tuple(outputs)
