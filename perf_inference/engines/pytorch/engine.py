"""What the engines of PyTorch have in common, once a file has become a function on tensors."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perf_inference import missing
from perf_inference.devices import board_memory, broken
from perf_inference.devices.jetson import is_jetson
from perf_inference.devices.torch_device import TorchDevice
from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.model_card import ModelCard
from perf_inference.engines.pytorch.call import CpuCall, Function, StagedCall
from perf_inference.engines.pytorch.outputs import flat, output_specs, try_out
from perf_inference.engines.pytorch.precision import WORKS, exact_fp32
from perf_inference.engines.stream import TokenStream
from perf_inference.errors import (
    BrokenDeviceError,
    ConfigError,
    EngineError,
    NoRoomError,
    PerfInferenceError,
    in_one_line,
)

OutOfMemory = torch.cuda.OutOfMemoryError


@dataclass(frozen=True)
class Network:
    """A function on tensors, and what is known of it."""

    name: str
    runtime: str
    precision: str
    device: str  # `cpu`, `cuda:N`: where its weights are
    module: Any  # called with a tensor per input
    inputs: tuple[ArraySpec, ...]
    outputs: tuple[str, ...] = ()  # names; empty: they are numbered
    metadata: Mapping[str, str] = field(default_factory=dict)
    parameters: int | None = None  # that it has learned; None: not counted

    @classmethod
    def of(cls, card: ModelCard, runtime: str, device: str, module: Any) -> Network:
        """Return an exported network, which its card describes."""
        outputs = tuple(spec.name for spec in card.outputs)
        return cls(card.name, runtime, card.precision, device, module, card.inputs, outputs, card.metadata)


class TorchEngine:
    """Runs a network of PyTorch."""

    def __init__(self, network: Network, options: Options) -> None:
        """Try the network out, compile it if that is wanted, and capture its graph.

        Raises:
            ConfigError: it does not run on this device in this precision.
        """
        self.inputs = network.inputs
        self.parts_ns: Mapping[str, int] = NO_PARTS
        self.parameters = network.parameters
        self._most: int | None = None  # of a batch, once a larger one had no room
        function = flat(network.module, network.outputs)
        with refusals(network.name, network.precision, network.device):
            call = _call(function, network, options, cuda_graph=False)
            trial = try_out(call.run, network.inputs)
            self.outputs = output_specs(trial, network.outputs, call.owned)
            if options.compile or (network.device != "cpu" and options.cuda_graph):
                call.close()
                with _compiling(network.device) if options.compile else nullcontext():
                    function = _compiled(function, trial.free) if options.compile else function
                    call = _call(function, network, options, options.cuda_graph)
                    for inputs in trial.inputs:
                        call.run(inputs)
        parts = network.module.modules() if isinstance(network.module, torch.nn.Module) else ()
        self._talker: Any = next((part for part in parts if hasattr(type(part), "stream")), None)
        self._call: CpuCall | StagedCall | None = call
        self._splits = all(spec.shape[:1] == (None,) for spec in self.inputs + self.outputs)
        notes = {**call.note, **({"compile": "yes"} if options.compile else {})}
        if hasattr(network.module, "int8_library"):
            notes["int8_library"] = network.module.int8_library
        self.info = EngineInfo(
            network.name, network.runtime, network.precision, network.device, {**network.metadata, **notes}
        )

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        call = self._call
        if call is None:
            raise EngineError(f"'{self.info.name}' is closed")
        check_inputs(self.inputs, inputs)
        arrays = [inputs[spec.name] for spec in self.inputs]
        try:
            outputs = self._run(call, arrays)
        except EngineError:
            raise
        except Exception as error:
            raise _failure(self.info.device, f"PyTorch failed on '{self.info.name}': {in_one_line(error)}") from error
        return {spec.name: array for spec, array in zip(self.outputs, outputs, strict=True)}

    @property
    def stream(self) -> TokenStream | None:
        """Who is told of each token of a captioner that tells them; None: nobody."""
        return self._talker.stream if self._talker is not None else None

    @stream.setter
    def stream(self, stream: TokenStream | None) -> None:
        if self._talker is not None:
            self._talker.stream = stream

    @property
    def streams(self) -> bool:
        """Whether the network tells of each token as it is known."""
        return self._talker is not None

    def close(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.close()

    def _run(self, call: CpuCall | StagedCall, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        batch = len(arrays[0]) if self._splits else 1
        if self._most is None or batch <= self._most:
            try:
                outputs = call.run(arrays)
            except OutOfMemory as error:
                call.close()
                if batch < 2 or any(len(array) != batch for array in arrays):
                    raise EngineError(_no_room(self.info.name, self.info.device)) from error
                self._most = (batch + 1) // 2
            else:
                self.parts_ns = call.parts_ns
                return outputs
        return self._run_in_parts(call, arrays, batch, self._most)

    def _run_in_parts(
        self, call: CpuCall | StagedCall, arrays: list[NDArray[Any]], batch: int, most: int
    ) -> list[NDArray[Any]]:
        parts, spent_ns = [], Counter[str]()
        for start in range(0, batch, most):
            parts.append([array.copy() for array in self._run(call, [a[start : start + most] for a in arrays])])
            spent_ns.update(self.parts_ns)
        self.parts_ns = spent_ns or NO_PARTS
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


def find_device(wanted: str, precision: str = "fp32") -> str:
    """Return `cpu` or `cuda:N`, there with fp32 as it is on the CPU; `auto` is the first GPU, and for int8 the CPU.

    Raises:
        ConfigError: it is not here, or int8 is wanted on a GPU.
        BrokenDeviceError: an error has broken this process' CUDA there.
    """
    if wanted == "cpu" or (wanted == "auto" and (precision == "int8" or not torch.cuda.is_available())):
        return "cpu"
    kind, _, number = ("cuda:0" if wanted in ("auto", "cuda") else wanted).partition(":")
    if kind != "cuda" or not number.isdecimal():
        raise ConfigError(f"device must be auto, cpu or cuda:N for PyTorch, got '{wanted}'")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number) >= here:
        raise ConfigError(
            f"device '{wanted}' is not here: PyTorch {torch.__version__} finds {here} GPUs; set device: cpu or auto"
        )
    if precision == "int8":
        raise ConfigError("PyTorch's int8 runs on a CPU; set device: cpu or precision: fp16, or build it for tensorrt")
    if broken.is_broken(int(number)):
        broken.check(int(number))
    exact_fp32()
    return f"cuda:{int(number)}"


@contextmanager
def refusals(name: str, precision: str, device: str) -> Iterator[None]:
    """Turn what PyTorch raises while a network is brought to its device and tried out into a ConfigError."""
    try:
        yield
    except PerfInferenceError:
        raise
    except OutOfMemory as error:
        raise NoRoomError(_no_room(name, device)) from error
    except Exception as error:
        said = f"'{name}' does not run on {device} in {precision} ({in_one_line(error)}); set {WORKS[precision]}"
        failure = _failure(device, said)
        raise failure if isinstance(failure, BrokenDeviceError) else ConfigError(said) from error


def _call(function: Function, network: Network, options: Options, cuda_graph: bool) -> CpuCall | StagedCall:
    if network.device != "cpu":
        return StagedCall(function, TorchDevice(broken.index_of(network.device), options.blocking_wait), cuda_graph)
    state = [*network.module.parameters(), *network.module.buffers()] if hasattr(network.module, "parameters") else []
    return CpuCall(function, options.threads, frozenset(tensor.untyped_storage().data_ptr() for tensor in state))


def _compiled(function: Function, free: bool) -> Function:
    """Return the function as one that PyTorch compiles when it is first called; `free`: for all lengths at once."""
    assert isinstance(function, FunctionType)
    # What PyTorch compiles it keeps by the code, up to a number, and then compiles no more: each engine has its own.
    own = FunctionType(function.__code__.replace(), function.__globals__, closure=function.__closure__)
    compiled: Function = torch.compile(own, dynamic=True if free else None)
    return compiled


@contextmanager
def _compiling(device: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own, of what its compiler uses
            yield
    except OutOfMemory:
        raise
    except Exception as error:
        needs = "install a C++ compiler (g++)"
        if device != "cpu" and find_spec("triton") is None:
            needs = f"install Triton: {'its build for JetPack' if is_jetson() else missing.pip('triton')}"
        said = f"PyTorch cannot compile this network here ({in_one_line(error)})"
        raise ConfigError(f"{said}; set compile: false, or {needs}") from error


def _failure(device: str, said: str) -> EngineError:
    """Return the error to raise for what PyTorch raised on this device."""
    return EngineError(said) if device == "cpu" else broken.failure(broken.index_of(device), said)


def _no_room(name: str, device: str) -> str:
    free = ""
    if device.startswith("cuda"):
        left, total = torch.cuda.mem_get_info(torch.device(device))
        free = f" ({left / 1e9:.1f} of {total / 1e9:.1f} GB free)"
        if torch.cuda.get_device_properties(torch.device(device)).is_integrated:
            free = f" ({board_memory.free_bytes() / 1e9:.1f} GB of the board's memory free)"
    return f"'{name}' does not fit into {device}{free}; set precision: fp16, a smaller batch, or device: cpu"
