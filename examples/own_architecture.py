"""A network of your own for the runtime `torch`: the checkpoint has the weights, this function builds what they fit.

Save one with `save(network, "policy.safetensors")`, then:

    perf-inference build policy.safetensors --runtime onnx
    ros2 run perf_inference policy_node --ros-args -p model:=/models/policy.safetensors
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from perf_inference.engines.architectures import Architecture
from perf_inference.engines.engine import ArraySpec

NAME = "two_layers"


class TwoLayers(nn.Module):
    """Joint positions [n, joints] to joint velocities [n, joints]."""

    def __init__(self, joints: int, hidden: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(joints, hidden), nn.Linear(hidden, joints)

    def forward(self, joints: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(joints)))  # type: ignore[no-any-return]


def two_layers(weights: Mapping[str, Any], metadata: Mapping[str, str]) -> Architecture:
    """Build the network; every size is read from the weights."""
    hidden, joints = weights["first.weight"].shape
    network = TwoLayers(joints, hidden)
    network.load_state_dict(dict(weights))
    inputs = (ArraySpec("joints", (None, joints), np.dtype(np.float32)),)
    return Architecture(network.eval(), inputs, outputs=("action",))


def save(network: TwoLayers, path: Path | str) -> None:
    """Write a checkpoint that names its network."""
    save_file(network.state_dict(), path, metadata={"architecture": NAME})
