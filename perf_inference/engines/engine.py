"""What an engine is: arrays in, arrays out, and the outputs are there when `infer` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
NO_PARTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class ArraySpec:
    """An array's name, shape (None = any length) and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    owned: bool = False  # an output that stays valid after the next `infer`

    def fits(self, array: NDArray[Any]) -> bool:
        """Return whether the array has this dtype and a length that is allowed in each axis."""
        return (
            array.dtype == self.dtype
            and len(array.shape) == len(self.shape)
            and all(want is None or want == have for want, have in zip(self.shape, array.shape, strict=True))
        )

    def check(self, array: NDArray[Any]) -> None:
        """Raise InputError unless the array fits."""
        if not self.fits(array):
            raise InputError(
                f"input '{self.name}' must be {self.dtype} {list(self.shape)}, got {array.dtype} {list(array.shape)}"
            )


def check_inputs(specs: Sequence[ArraySpec], inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise InputError unless each spec's array is there and fits it; every engine's `infer` begins with this."""
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            raise InputError(f"input '{spec.name}' is missing; got {sorted(inputs)}")
        if array.shape != spec.shape or array.dtype != spec.dtype:  # equal as a rule, which is quick to see
            spec.check(array)


@dataclass(frozen=True)
class Options:
    """How a model is to be run; a runtime ignores what it does not have, but refuses a precision or device."""

    precision: str = "auto"  # one of PRECISIONS; auto: as the file is
    device: str = "auto"  # cpu, cuda:N; openvino: gpu:N, npu; tensorrt: dla:N
    threads: int = 0  # of one inference on a CPU; 0 = one per core
    providers: tuple[str, ...] = ()  # onnx: execution providers, best first; empty: those present, best first
    architecture: str = ""  # torch: of a checkpoint that does not name its own
    allow_pickle: bool = False  # torch: the file may run code when it is read
    compile: bool = False  # torch: torch.compile
    cuda_graph: bool = True  # torch, tensorrt: on a GPU, for fixed shapes
    blocking_wait: bool = False  # on a GPU: who waits for it sleeps instead of spinning, in all of this process
    beams: int = 0  # captioners: of the search; 0: as the model says
    max_tokens: int = 0  # captioners: of a sentence; 0: as the model says
    deadline_ms: float = 1000.0  # remote: of one request
    python: str = ""  # lerobot: absolute path of the interpreter that has LeRobot
    certificates: str = ""  # remote: PEM file of who is trusted to sign the server's

    def generation(self) -> Mapping[str, str]:
        """Return what is said of how sentences are made, as the metadata of a captioner say it."""
        said = {"beams": self.beams, "max_tokens": self.max_tokens}
        return {key: str(number) for key, number in said.items() if number}


AS_IT_IS = Options()


@dataclass(frozen=True)
class EngineInfo:
    """What runs: for the timings and the diagnostics."""

    name: str  # the model's name
    runtime: str
    precision: str
    device: str
    metadata: Mapping[str, str]  # what the model file says of itself


class Engine(Protocol):
    """Runs one model; used by one thread at a time, not always that which made it.

    `perf_inference.testing.engine_contract` checks what is said here, of anybody's engine.
    """

    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    info: EngineInfo
    parts_ns: Mapping[str, int]
    """Where the last `infer` spent its time, as far as the engine knows (durations [ns]; NO_PARTS: it does not):
    `host_to_device`, `compute`, `device_to_host` on a GPU; `server`, `network` of a remote one."""

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the outputs, complete and in host memory (device work is waited for); valid until the next `infer`.

        An output whose spec says `owned` is the caller's for good, after `close` too. Inputs are read-only here, may
        have any strides and alignment, and are the caller's to overwrite once `infer` has returned. Those that no
        spec names are ignored.

        Raises:
            InputError: an array that does not fit its spec, or is missing; the engine goes on.
            EngineError: the runtime failed, or the engine is closed.
        """

    def close(self) -> None:
        """Free the device; a second call does nothing. The specs and `info` stay readable."""
