"""What the embedded networks share: layers, and how their sizes are read from their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from perf_inference.engines.architectures import Group, Part
from perf_inference.errors import ConfigError

Weights = Mapping[str, Tensor]


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3, fused: bool = False) -> nn.Sequential:
    """Return convolution, batch normalisation, ReLU; `fused` has the normalisation in the convolution's weights."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=fused)
    norm = nn.Identity() if fused else nn.BatchNorm2d(outputs)
    return nn.Sequential(layer, norm, nn.ReLU(inplace=True))


def training_in_bf16(module: nn.Module) -> AbstractContextManager[Any]:
    """Return what halves the time of a training step; in use nothing at all, so that no export has it in it."""
    return torch.autocast("cpu", torch.bfloat16) if module.training else nullcontext()


def size(weights: Weights, name: str, dim: int) -> int:
    """Return the length of a weight along `dim`.

    Raises:
        ConfigError: the weight is missing or has fewer dimensions.
    """
    if name not in weights or weights[name].ndim <= dim:
        had = f"{list(weights[name].shape)}" if name in weights else "none"
        raise ConfigError(f"weight '{name}' must have more than {dim} dimensions, got {had}: another network's weights")
    return int(weights[name].shape[dim])


def loaded(make: Callable[[], nn.Module], weights: Weights) -> nn.Module:
    """Return the network with these weights: eval mode, CPU, fp32.

    It is made without memory (device `meta`), so that sizes which no weight bears out cost nothing.

    Raises:
        ConfigError: a weight is missing, left over, or of another shape than its neighbours ask for.
    """
    plain = {name: w.float() if w.is_floating_point() else w for name, w in weights.items()}
    try:
        with torch.device("meta"):
            module = make()
        module.load_state_dict(plain, assign=True)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the weights do not fit together: {' '.join(str(error).split())[:400]}") from error
    return module.eval()


def outputs_of(weights: Weights, layer: str, norm: str = "", start: int = 0) -> tuple[Part, ...]:
    """Return where a layer's output units lie: in its weight and bias, and in those of the normalisation after it."""
    names = [f"{layer}.weight", f"{layer}.bias"]
    names += [f"{norm}.{each}" for each in ("weight", "bias", "running_mean", "running_var")] if norm else []
    return tuple(Part(name, 0, start) for name in names if name in weights)


def inputs_of(layer: str, start: int = 0) -> Part:
    """Return where the units that a layer reads from its input `start` on lie: in its weight's columns."""
    return Part(f"{layer}.weight", 1, start)


def chain(weights: Weights, name: str, layer: str, *readers: Part, norm: str = "") -> Group:
    """Return the group of a layer's output units, which `readers` read."""
    return Group(name, size(weights, f"{layer}.weight", 0), (*outputs_of(weights, layer, norm), *readers))
