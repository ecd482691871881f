"""A PyTorch network in another precision, with the same inputs and outputs."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from perf_inference.errors import ConfigError

_HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# What would do instead, where a precision does not run on a device.
WORKS = {
    "fp32": "a device that has the operators",
    "fp16": "precision: fp32 or bf16, or a GPU",
    "bf16": "precision: fp32",
    "int8": "precision: fp32",
}


def in_precision(module: torch.nn.Module, precision: str) -> torch.nn.Module:
    """Return the network in this precision; it may be changed itself.

    fp16, bf16: weights and the floating inputs are cast, and the outputs cast back to float32. int8: the weights of
    Linear and LSTM layers, their inputs as they come (PyTorch's dynamic quantisation), on a CPU.

    Raises:
        ConfigError: there is nothing to quantise, or nothing here to do it with.
    """
    if precision in _HALVES:
        return _Half(module, _HALVES[precision])
    return _quantised(module) if precision == "int8" else module


def exact_fp32() -> None:
    """Let fp32 be fp32 on a GPU, in all of this process: by itself PyTorch convolves it in TF32, of 10 bits.

    2.9 and later have a word of their own for each kind of operation, which counts beside the older flag; where both
    say the same, either can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the older flags will go
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    cudnn = torch.backends.cudnn
    kinds: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None))
    for kind in kinds:
        if hasattr(kind, "fp32_precision"):
            kind.fp32_precision = "ieee"


class _Half(torch.nn.Module):
    def __init__(self, module: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self._dtype = module.to(dtype), dtype

    def forward(self, *tensors: torch.Tensor) -> Any:
        cast = [tensor.to(self._dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        return _to_float(self.module(*cast), self._dtype)


def _to_float(result: Any, dtype: torch.dtype) -> Any:
    if isinstance(result, torch.Tensor):
        return result.float() if result.dtype is dtype else result
    if isinstance(result, dict):
        return {name: _to_float(part, dtype) for name, part in result.items()}
    return tuple(_to_float(part, dtype) for part in result)


def _quantised(module: torch.nn.Module) -> torch.nn.Module:
    layers = {torch.nn.Linear, torch.nn.LSTM}
    if not any(type(part) in layers for part in module.modules()):
        raise ConfigError(
            "PyTorch's int8 takes Linear and LSTM layers, and this network has none; set precision: fp32 or bf16, or "
            "build it for runtime onnx"
        )
    with _quantising() as library, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.ao's, whose heir does not know LSTM
        warnings.simplefilter("ignore", UserWarning)  # TypedStorage's
        before = list(module.modules())
        _copy(part for part in module.parameters() if part.dim() < 2)  # packed as they are: biases
        quantised: Any = torch.ao.quantization.quantize_dynamic(module, layers, dtype=torch.qint8, inplace=True)
        quantised.int8_library = library  # x86, fbgemm or qnnpack
    for layer in set(before) - set(quantised.modules()):
        layer._parameters.clear()  # whoever still knows a layer that was replaced has none of its weights
    _copy([*quantised.parameters(), *quantised.buffers()])
    return quantised


def _copy(parts: Iterable[torch.Tensor]) -> None:
    """Let these have memory of their own: one that is mapped from a file keeps all of the file."""
    with torch.no_grad():
        for part in parts:
            part.data = part.data.clone()


@contextmanager
def _quantising() -> Iterator[str]:
    """Pack weights for this processor's library; what is packed keeps to it, so the process' choice is put back."""
    wanted = ("qnnpack",) if platform.machine() in ("aarch64", "arm64", "armv7l") else ("fbgemm", "x86", "qnnpack")
    settings = torch.backends.quantized
    library = next((name for name in wanted if name in settings.supported_engines), None)
    if library is None:
        raise ConfigError(f"PyTorch has none of {', '.join(wanted)} here, which int8 needs; set precision: fp32")
    before = settings.engine
    settings.engine = library
    try:
        yield library
    finally:
        settings.engine = before
