"""A network of ResNet-50's size and shape with random weights (He et al. 2015, arXiv:1512.03385, table 1).

The stride is in the 3x3 convolution of a bottleneck, as the later implementations have it; 25.6 million parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from perf_inference.engines.architectures import Architecture
from perf_inference.engines.engine import ArraySpec

SIDE_PX, CLASSES = 224, 1000
INPUTS = (ArraySpec("images", (None, 3, SIDE_PX, SIDE_PX), np.dtype(np.float32)),)
OUTPUTS = ("scores",)
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels within, and blocks
_WIDER = 4  # a block's output has so many times its inner channels


class _Bottleneck(nn.Module):  # type: ignore[misc]  # PyTorch is Any to mypy
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        out = channels * _WIDER
        self.inner = nn.Sequential(
            *_convolution(channels_in, channels, 1), nn.ReLU(inplace=True),
            *_convolution(channels, channels, 3, stride), nn.ReLU(inplace=True),
            *_convolution(channels, out, 1),
        )  # fmt: skip
        same = stride == 1 and channels_in == out
        self.past = nn.Identity() if same else nn.Sequential(*_convolution(channels_in, out, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x) + self.past(x))


def resnet50() -> nn.Module:
    """Return the network in eval mode, its weights drawn with seed 0 and small enough for half precision."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [*_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels_in = 64
    for stage, (channels, blocks) in enumerate(_STAGES):
        for block in range(blocks):
            layers.append(_Bottleneck(channels_in, channels, 2 if stage and not block else 1))
            channels_in = channels * _WIDER
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, CLASSES))
    return network.eval()


def architecture(weights: Mapping[str, Any], metadata: Mapping[str, str]) -> Architecture:
    """Return the network with these weights."""
    network = resnet50()
    network.load_state_dict(dict(weights))
    return Architecture(network, INPUTS, OUTPUTS)


def _convolution(channels_in: int, channels_out: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
    return convolution, nn.BatchNorm2d(channels_out)
