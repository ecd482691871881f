"""ResNets (He et al. 2015, arXiv:1512.03385) up to their last feature map, under the names that torchvision's have.

The batch norms are frozen: an affine function of each channel.
"""

from __future__ import annotations

import torch
from torch import nn

from perf_inference.errors import ConfigError

_SIZES = {  # blocks of each stage, and whether they are bottlenecks
    "resnet18": ((2, 2, 2, 2), False), "resnet34": ((3, 4, 6, 3), False), "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True), "resnet152": ((3, 8, 36, 3), True),
}  # fmt: skip
_WIDER = 4  # a bottleneck's output has so many times its inner channels
_EPS = 1e-5


def resnet(name: str, dilated: bool) -> tuple[nn.Module, int]:
    """Return the network and the channels of its feature map.

    Args:
        dilated: the last stage has a dilation in place of its stride.

    Raises:
        ConfigError: none of this name.
    """
    if name not in _SIZES or (dilated and not _SIZES[name][1]):
        raise ConfigError(
            f"vision_backbone must be one of {', '.join(_SIZES)} (dilated from resnet50 on), got '{name}'"
        )
    blocks, bottleneck = _SIZES[name]
    return _ResNet(blocks, bottleneck, dilated), 512 * (_WIDER if bottleneck else 1)


class _FrozenNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight * (self.running_var + _EPS).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class _Block(nn.Module):
    """Convolutions and what goes past them."""

    def __init__(self, channels_in: int, channels: int, stride: int, dilation: int, bottleneck: bool) -> None:
        super().__init__()
        out = channels * _WIDER if bottleneck else channels
        if bottleneck:
            self.conv1, self.bn1 = _convolution(channels_in, channels, 1), _FrozenNorm(channels)
            self.conv2, self.bn2 = _convolution(channels, channels, 3, stride, dilation), _FrozenNorm(channels)
            self.conv3, self.bn3 = _convolution(channels, out, 1), _FrozenNorm(out)
        else:
            self.conv1, self.bn1 = _convolution(channels_in, channels, 3, stride), _FrozenNorm(channels)
            self.conv2, self.bn2 = _convolution(channels, channels, 3), _FrozenNorm(channels)
        self._last = 3 if bottleneck else 2
        if stride != 1 or channels_in != out:
            self.downsample = nn.Sequential(_convolution(channels_in, out, 1, stride), _FrozenNorm(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        past = self.downsample(x) if hasattr(self, "downsample") else x
        for i in range(1, self._last + 1):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))
            x = torch.relu(x if i < self._last else x + past)
        return x


class _ResNet(nn.Module):
    def __init__(self, blocks: tuple[int, ...], bottleneck: bool, dilated: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), _FrozenNorm(64)
        channels_in = 64
        for stage, count in enumerate(blocks):
            channels, layers = 64 << stage, []
            swap = dilated and stage == 3
            for block in range(count):
                stride = 2 if stage and not block and not swap else 1
                dilation = 2 if swap and block else 1
                layers.append(_Block(channels_in, channels, stride, dilation, bottleneck))
                channels_in = channels * (_WIDER if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x


def _convolution(channels_in: int, channels_out: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, size, stride, dilation * (size // 2), dilation, bias=False)
