"""A checkpoint's weights, taken out one by one as a network is built of them; what is left over is told."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

from perf_inference.errors import ConfigError

_MOST_NAMED = 3


class NamedWeights:
    """Weights by name, and which of them a network has taken."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.names = tuple(weights)
        self._weights = weights
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self._weights

    def take(self, name: str, dimensions: int) -> Tensor:
        """Return a weight in fp32.

        Raises:
            ConfigError: it is missing, or has another number of dimensions.
        """
        tensor = self._weights.get(name)
        if tensor is None or tensor.ndim != dimensions:
            had = "none" if tensor is None else f"{list(tensor.shape)}"
            raise ConfigError(
                f"weight '{name}' must have {dimensions} dimensions, got {had}: another network's weights"
            )
        self._taken.add(name)
        return tensor.float() if tensor.is_floating_point() else tensor

    def ignore(self, names: Set[str]) -> None:
        """Leave out weights that belong to no part of the network that is run."""
        self._taken |= names & set(self.names)

    def check_all_taken(self) -> None:
        """Raise ConfigError where weights are left over: the network would not be that which was trained."""
        left = sorted(set(self.names) - self._taken)
        if left:
            more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
            raise ConfigError(
                f"the network has no place for {', '.join(map(repr, left[:_MOST_NAMED]))}{more}; it is another network"
            )

    # Layers with their weights ---------------------------------------------------------------------------------------

    def linear(self, name: str) -> nn.Linear:
        """Return a linear layer; a bias where there is one."""
        weight = self.take(f"{name}.weight", 2)
        bias = self.take(f"{name}.bias", 1) if self.has(f"{name}.bias") else None
        with torch.device("meta"):
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        return loaded(layer, name, weight=weight, bias=bias)

    def conv(self, name: str, stride: int = 1, depthwise: bool = False) -> nn.Conv2d:
        """Return a convolution that keeps the size but for its stride."""
        weight = self.take(f"{name}.weight", 4)
        bias = self.take(f"{name}.bias", 1) if self.has(f"{name}.bias") else None
        outputs, inputs, height, width = weight.shape
        groups = outputs if depthwise else 1
        with torch.device("meta"):
            layer = nn.Conv2d(
                inputs * groups, outputs, (height, width), stride, (height // 2, width // 2), groups=groups,
                bias=bias is not None,
            )  # fmt: skip
        return loaded(layer, name, weight=weight, bias=bias)

    def norm(self, name: str) -> nn.Module:
        """Return a batch normalisation; nothing where it was fused into the convolution."""
        if not self.has(f"{name}.running_mean"):
            return nn.Identity()
        weights: dict[str, Any] = {
            key: self.take(f"{name}.{key}", 1) for key in ("weight", "bias", "running_mean", "running_var")
        }
        counted = f"{name}.num_batches_tracked"
        self._taken |= {counted} & set(self.names)
        with torch.device("meta"):
            layer = nn.BatchNorm2d(len(weights["weight"]))
        return loaded(layer, name, **weights, num_batches_tracked=torch.zeros((), dtype=torch.int64))

    def embedding(self, name: str) -> nn.Embedding:
        weight = self.take(f"{name}.weight", 2)
        with torch.device("meta"):
            layer = nn.Embedding(*weight.shape)
        return loaded(layer, name, weight=weight)


def loaded(layer: Any, name: str, **weights: Tensor | None) -> Any:
    """Return the layer with these weights, in eval mode.

    Raises:
        ConfigError: one has another shape than its neighbours ask for.
    """
    try:
        layer.load_state_dict({key: tensor for key, tensor in weights.items() if tensor is not None}, assign=True)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights of '{name}' do not fit together: {' '.join(str(error).split())[:300]}"
        ) from error
    return layer.eval()
