"""A runtime of MLServer that serves any engine of this package, so that a workstation can serve a robot.

`model-settings.json` names it; `docs/remote.md` has an example. `parallel_workers` must be 0: the engine lives in the
server's own process.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.errors import InferenceError, MLServerError
from mlserver.settings import ModelSettings
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataTensor,
    Parameters,
    ResponseOutput,
)
from mlserver.utils import to_absolute_path
from numpy.typing import NDArray

from perf_inference import model_build
from perf_inference.engines import AUTO, ArraySpec, Engine, Options
from perf_inference.engines.remote.tensors import (
    PACKED,
    SERVER_NS,
    TIMEOUT,
    Tensor,
    array_of,
    datatype_of,
    pack,
    tensor_of,
)
from perf_inference.errors import ConfigError, EngineError, InputError, PerfInferenceError

_RESERVED = ("content_type", "headers")  # parameters that MLServer has a meaning of its own for
_UNAVAILABLE = 500


class EngineRuntime(MLModel):  # type: ignore[misc]
    """Serves one engine; `parameters.uri` is its model, `parameters.extra` its runtime and options."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._engine: Engine | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"{self.name} engine")  # one call at a time

    async def load(self) -> bool:
        """Load the engine; what is wrong with its settings ends the server's start with a sentence."""
        engine: Engine = await self._in_worker(self._load)
        self.inputs = [_metadata(spec) for spec in engine.inputs]
        self.outputs = [_metadata(spec) for spec in engine.outputs]
        self._engine = engine
        return True

    async def unload(self) -> bool:
        if self._engine is not None:
            await self._in_worker(self._engine.close)
        self._worker.shutdown()
        return True

    async def metadata(self) -> MetadataModelResponse:
        """Return the engine's specs, and as parameters what its model file says of itself."""
        described = await super().metadata()
        info = self._loaded().info
        said = {name: text for name, text in info.metadata.items() if name not in _RESERVED}
        described.platform = described.platform or info.runtime
        described.parameters = Parameters(
            **said, engine_precision=info.precision, engine_device=info.device, **{PACKED: True}
        )
        return described

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the engine, and tell how long that took, with the wait for an earlier request."""
        start_ns = time.monotonic_ns()
        outputs = await self._in_worker(self._predict, payload, start_ns)
        took = Parameters(**{SERVER_NS: time.monotonic_ns() - start_ns})
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs, parameters=took)

    async def _in_worker(self, function: Any, *arguments: Any) -> Any:
        """Run it beside the event loop; its errors become the protocol's."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)
        except InputError as error:
            raise InferenceError(str(error)) from error
        except PerfInferenceError as error:
            raise MLServerError(str(error), _UNAVAILABLE) from error

    def _load(self) -> Engine:
        parameters = self.settings.parameters
        if parameters is None or not parameters.uri:
            raise ConfigError(
                f"model '{self.name}' needs parameters.uri: a model's file, or the name of an embedded one"
            )
        extra = dict(parameters.extra or {})
        runtime = extra.pop("runtime", AUTO)
        try:
            options = Options(**extra)
        except TypeError as error:
            known = ", ".join(("runtime", *Options.__dataclass_fields__))
            raise ConfigError(f"parameters.extra of '{self.name}' may have {known}: {error}") from error
        beside = to_absolute_path(self.settings, parameters.uri)
        return model_build.load(beside if Path(beside).is_file() else parameters.uri, runtime, options)

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise MLServerError(f"model '{self.name}' is not loaded", _UNAVAILABLE)
        return self._engine

    def _predict(self, payload: InferenceRequest, arrived_ns: int) -> list[ResponseOutput]:
        engine = self._loaded()
        timeout_us = getattr(payload.parameters, TIMEOUT, None)
        waited_us = (time.monotonic_ns() - arrived_ns) / 1e3
        if isinstance(timeout_us, int) and waited_us > timeout_us:  # else robots that gave up would be served for ever
            times = f"its timeout of {timeout_us / 1e3:g} ms, but had waited for {waited_us / 1e3:.1f} ms"
            raise EngineError(f"a request must be run within {times}")
        given = {said.name: said for said in payload.inputs}
        inputs: dict[str, NDArray[Any]] = {}
        packed = text = False
        for spec in engine.inputs:
            if spec.name not in given:
                raise InputError(f"input '{spec.name}' is missing; got {sorted(given)}")
            tensor = _tensor(given[spec.name])
            packed = packed or "datatype" in tensor.parameters
            text = text or any(isinstance(element, str) for element in tensor.data[:1])
            try:
                inputs[spec.name] = array_of(tensor, spec)
            except ValueError as error:
                raise InputError(f"input {error}") from error
        outputs = engine.infer(inputs)
        return [_output(spec, outputs[spec.name], packed, text) for spec in engine.outputs]


def _metadata(spec: ArraySpec) -> MetadataTensor:
    shape = [-1 if length is None else length for length in spec.shape]
    return MetadataTensor(name=spec.name, datatype=datatype_of(spec.dtype), shape=shape)


def _tensor(said: Any) -> Tensor:
    """Return a tensor of a request; MLServer has made a list of its elements, also of raw ones."""
    datatype = getattr(said.datatype, "value", said.datatype)
    parameters = said.parameters.model_dump(exclude_none=True) if said.parameters else {}
    return Tensor(said.name, datatype, tuple(said.shape), said.data.root, parameters)


def _output(spec: ArraySpec, array: NDArray[Any], packed: bool, text: bool) -> ResponseOutput:
    tensor = tensor_of(spec.name, array)
    if packed:
        tensor = pack(tensor, text)
    data = tensor.data if packed else array.reshape(-1).tolist()
    parameters = Parameters(**tensor.parameters) if packed else None
    return ResponseOutput(
        name=spec.name, shape=list(tensor.shape), datatype=tensor.datatype, data=data, parameters=parameters
    )
