"""The embedded policy's network: it locates the puck in the image and steers the tip onto it.

Two parts make one graph. The locator is a small CNN with a spatial soft-argmax (arXiv:1504.00702). The head is a
perceptron on where the puck was in the last image and the windows of joints and force.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from perf_inference.demo.arm import ArmLimits
from perf_inference.demo.detector_net import image_spec
from perf_inference.demo.evaluate import IMAGE_PX, WINDOW
from perf_inference.demo.layers import Weights, chain, inputs_of, loaded, size
from perf_inference.demo.scenes import HEIGHT_PX, WIDTH_PX
from perf_inference.demo.world import CENTRE_PX, TRACK_RATIO
from perf_inference.engines.architectures import Architecture, Group
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError

POOL = 5  # samples of a window that become one
STRIDE_PX = 4
GRID = (IMAGE_PX[1] // STRIDE_PX, IMAGE_PX[0] // STRIDE_PX)  # rows, columns of cells
_NOW = 2 + 8  # of the head's inputs: the puck, and the joints as they are with sines and cosines
_PER_STEP = 2 + 3  # of the head's inputs: speeds and pushes, per pooled sample


class Locator(nn.Module):
    """Image uint8 [N, 96, 128, 3] BGR to the puck's centre [N, 2] in units of its track (see `to_track`)."""

    grid_x: Tensor
    grid_y: Tensor

    def __init__(self, channels: tuple[int, int, int] = (16, 32, 32), grid: tuple[int, int] = GRID) -> None:
        super().__init__()
        first, second, third = channels
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, 1, 1),
        )
        rows, columns = grid
        ys, xs = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        x, y = to_track(xs.flatten() * WIDTH_PX / columns, ys.flatten() * HEIGHT_PX / rows)
        self.register_buffer("grid_x", x)
        self.register_buffer("grid_y", y)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).to(self.grid_x.dtype) * (1 / 127.5) - 1.0
        share = torch.softmax(self.features(pixels).flatten(1), dim=1)
        return torch.stack([(share * self.grid_x).sum(1), (share * self.grid_y).sum(1)], dim=1)


class Head(nn.Module):
    """Puck [N, 2], joints [N, 65, 4] and force [N, 65, 6] to joint velocities [N, 2] in rad/s."""

    def __init__(self, widths: tuple[int, int, int] = (192, 192, 192), window: int = WINDOW) -> None:
        super().__init__()
        self.pooled = window // POOL
        first, second, third = widths
        self.layers = nn.Sequential(
            nn.Linear(_NOW + self.pooled * _PER_STEP, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, third),
            nn.ReLU(),
            nn.Linear(third, 2),
        )

    def forward(self, puck: Tensor, joints: Tensor, force: Tensor) -> Tensor:
        now = joints[:, -1]
        shoulder, both = now[:, 0:1], now[:, 0:1] + now[:, 1:2]
        turns = [now, torch.cos(shoulder), torch.sin(shoulder), torch.cos(both), torch.sin(both)]
        speeds = joints[:, :, 2:].reshape(-1, self.pooled, POOL, 2).mean(2).flatten(1)
        pushes = torch.tanh(force[:, :, :3].reshape(-1, self.pooled, POOL, 3).mean(2).flatten(1) * 0.25)
        action: Tensor = self.layers(torch.cat([puck, *turns, speeds, pushes], dim=1))
        return action


class PolicyNet(nn.Module):
    """The whole graph: force [N, 65, 6], joints [N, 65, 4] and image [N, 96, 128, 3] to action [N, 2] in rad/s."""

    def __init__(self, locator: Locator, head: Head) -> None:
        super().__init__()
        self.locator, self.head = locator, head
        self.register_buffer("fastest", torch.tensor(ArmLimits().velocity_rad_s))

    def forward(self, force: Tensor, joints: Tensor, image: Tensor) -> Tensor:
        action = self.head(self.locator(image), joints, force)
        return torch.maximum(torch.minimum(action, self.fastest), -self.fastest)


def to_track(x_px: Tensor, y_px: Tensor) -> tuple[Tensor, Tensor]:
    """Return places relative to the track's centre: about -1 to 1."""
    return (x_px - CENTRE_PX[0]) / (100.0 * TRACK_RATIO), (y_px - CENTRE_PX[1]) / 100.0


def groups(weights: Weights) -> tuple[Group, ...]:
    """Return what may be taken out: each hidden layer's units."""
    return tuple(
        chain(weights, f"{part} {n}", f"{part}.{layers}.{2 * n}", inputs_of(f"{part}.{layers}.{2 * n + 2}"))
        for part, layers in (("locator", "features"), ("head", "layers"))
        for n in range(3)
    )


def architecture(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Architecture:
    """Return the policy with these weights.

    Raises:
        ConfigError: the weights do not fit together.
    """
    channels = (size(weights, f"locator.features.{n}.weight", 0) for n in (0, 2, 4))
    first, second, third = channels
    a, b, c = (size(weights, f"head.layers.{n}.weight", 0) for n in (0, 2, 4))
    pooled, rest = divmod(size(weights, "head.layers.0.weight", 1) - _NOW, _PER_STEP)
    cells = size(weights, "locator.grid_x", 0)
    columns = len(torch.unique(weights["locator.grid_x"]))
    if rest or pooled < 1 or not columns or cells % columns:
        raise ConfigError("'head.layers.0.weight' and 'locator.grid_x' do not fit a policy: another network's weights")
    rows, window = cells // columns, pooled * POOL
    module = loaded(
        lambda: PolicyNet(Locator((first, second, third), (rows, columns)), Head((a, b, c), window)), weights
    )
    floats = np.dtype(np.float32)
    inputs = (
        ArraySpec("force", (1, window, 6), floats),
        ArraySpec("joints", (1, window, 4), floats),
        image_spec(rows, columns, STRIDE_PX),
    )
    return Architecture(module, inputs, ("action",), groups(weights))
