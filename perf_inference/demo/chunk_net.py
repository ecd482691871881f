"""The embedded chunk policy's network: from three images and the joints to the joints' positions of the next 1.2 s.

The locator is the policy's own (`policy_net`), with its weights; it says where the puck was in each image, and a
perceptron plans from there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from perf_inference.demo.layers import Weights, chain, inputs_of, loaded, size
from perf_inference.demo.policy_net import GRID, STRIDE_PX, Locator
from perf_inference.engines.architectures import Architecture, Group
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError

FRAMES, FRAMES_HZ = 3, 5.0  # images that it sees: 0.4 s, 0.2 s and 0 s ago
STEPS, RATE_HZ = 24, 20.0  # of a chunk
JOINTS = 2
_SEEN = 2 * FRAMES + 2 * JOINTS + 4  # pucks, joints with their velocities, and sines and cosines
_REACH_RAD = 2.5  # of an output of 1


class Planner(nn.Module):
    """Pucks [N, 6] and joints [N, 4] to positions [N, 24, 2] in rad."""

    def __init__(self, widths: tuple[int, int, int] = (256, 256, 192), steps: int = STEPS) -> None:
        super().__init__()
        first, second, third = widths
        self.steps = steps
        self.layers = nn.Sequential(
            nn.Linear(_SEEN, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, third),
            nn.ReLU(),
            nn.Linear(third, steps * JOINTS),
        )

    def forward(self, pucks: Tensor, joints: Tensor) -> Tensor:
        shoulder, both = joints[:, 0:1], joints[:, 0:1] + joints[:, 1:2]
        turns = [torch.cos(shoulder), torch.sin(shoulder), torch.cos(both), torch.sin(both)]
        ahead = self.layers(torch.cat([pucks, joints, *turns], dim=1)) * _REACH_RAD
        here: Tensor = joints[:, None, :JOINTS]
        return here + ahead.reshape(-1, self.steps, JOINTS)


class ChunkNet(nn.Module):
    """The whole graph: images [1, 3, 96, 128, 3] BGR and joints [1, 4] to action [1, 24, 2] in rad."""

    def __init__(self, locator: Locator, planner: Planner) -> None:
        super().__init__()
        self.locator, self.planner = locator, planner

    def forward(self, images: Tensor, joints: Tensor) -> Tensor:
        pucks = self.locator(images.flatten(0, 1)).reshape(1, -1)
        action: Tensor = self.planner(pucks, joints)
        return action


def groups(weights: Weights) -> tuple[Group, ...]:
    """Return what may be taken out: each hidden layer's units."""
    return tuple(
        chain(weights, f"{part} {n}", f"{part}.{layers}.{2 * n}", inputs_of(f"{part}.{layers}.{2 * n + 2}"))
        for part, layers in (("locator", "features"), ("planner", "layers"))
        for n in range(3)
    )


def architecture(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Architecture:
    """Return the chunk policy with these weights.

    Raises:
        ConfigError: the weights do not fit together.
    """
    first, second, third = (size(weights, f"locator.features.{n}.weight", 0) for n in (0, 2, 4))
    a, b, c = (size(weights, f"planner.layers.{n}.weight", 0) for n in (0, 2, 4))
    steps, rest = divmod(size(weights, "planner.layers.6.weight", 0), JOINTS)
    if rest or size(weights, "planner.layers.0.weight", 1) != _SEEN or size(weights, "locator.grid_x", 0) != (
        GRID[0] * GRID[1]
    ):  # fmt: skip
        raise ConfigError("'planner' and 'locator' do not fit a chunk policy: another network's weights")
    module = loaded(lambda: ChunkNet(Locator((first, second, third)), Planner((a, b, c), steps)), weights)
    floats = np.dtype(np.float32)
    rows, columns = GRID
    inputs = (
        ArraySpec("images", (1, FRAMES, rows * STRIDE_PX, columns * STRIDE_PX, 3), np.dtype(np.uint8)),
        ArraySpec("joints", (1, 2 * JOINTS), floats),
    )
    return Architecture(module, inputs, ("action",), groups(weights))
