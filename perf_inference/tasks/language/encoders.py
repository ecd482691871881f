"""What sees in a captioner: ResNet, MobileNetV2 or EfficientNet-B0 by their weights' names, else an ONNX file.

The names are those of torchvision's models, alone or behind a prefix, or the numbers that the same layers get as the
children of a `nn.Sequential`. Every size is read from the weights, so that a pruned network is built as it is; what the
weights do not say (strides, which blocks are added to their input) is the architecture's:

    ResNet             arXiv 1512.03385, with the stride of a bottleneck at its 3x3 convolution
    MobileNetV2        arXiv 1801.04381, table 2
    EfficientNet-B0    arXiv 1905.11946, table 1
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from perf_inference.errors import ConfigError
from perf_inference.tasks.language import onnx_encoder
from perf_inference.tasks.language.named_weights import NamedWeights

_RESNET = {"stem": "conv1", "norm": "bn1", **{f"layer{n}": f"layer{n}" for n in (1, 2, 3, 4)}}
_RESNET_BY_NUMBER = {"stem": "0", "norm": "1", **{f"layer{n}": str(n + 3) for n in (1, 2, 3, 4)}}
_MOBILENET_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_MOBILENET_ADDED = (0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 0)
_EFFICIENTNET_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_HEADS = ("fc.weight", "fc.bias", "classifier.weight", "classifier.bias", "classifier.1.weight", "classifier.1.bias")


def encoder(weights: NamedWeights, channels: int = 0) -> nn.Module:
    """Return the encoder that is among the weights: normalised RGB [B, 3, H, W] to features.

    Args:
        channels: that the decoder reads, for an encoder that is an ONNX file (among the weights as its bytes).

    Raises:
        ConfigError: none of the three and no ONNX file, or weights that do not fit together.
    """
    for pattern, build in _LAYOUTS:
        for name in weights.names:
            if found := pattern.fullmatch(name):
                built = build(weights, found[1])
                above = found[1].removesuffix("features.")
                weights.ignore({*(f"{above}{head}" for head in _HEADS), onnx_encoder.NAME})
                return built
    if weights.has(onnx_encoder.NAME):
        content = weights.take(onnx_encoder.NAME, 1).numpy().tobytes()
        return onnx_encoder.OnnxEncoder(content, channels)
    inside = [name for name in weights.names if "encoder." in name]
    raise ConfigError(
        f"the encoder must be a ResNet, MobileNetV2 or EfficientNet-B0 with torchvision's names of weights, or a "
        f"file {onnx_encoder.NAME} beside the checkpoint, got {', '.join(map(repr, inside[:3])) or 'no weights of one'}"
    )


class _Added(nn.Module):
    """A block whose output is added to its input."""

    def __init__(self, block: nn.Module, shortcut: nn.Module, act: bool) -> None:
        super().__init__()
        self.block, self.shortcut, self.act = block, shortcut, act

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.block(x) + self.shortcut(x)
        return functional.relu(added) if self.act else added


class _SqueezeExcitation(nn.Module):
    """Scales each channel by what all of the image says of it (arXiv 1709.01507)."""

    def __init__(self, weights: NamedWeights, name: str) -> None:
        super().__init__()
        self.fc1, self.fc2 = weights.conv(f"{name}.fc1"), weights.conv(f"{name}.fc2")

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(functional.silu(self.fc1(mean))))


def _conv(
    weights: NamedWeights, name: str, norm: str, act: nn.Module, stride: int = 1, deep: bool = False
) -> list[nn.Module]:
    return [weights.conv(name, stride, deep), weights.norm(norm), act]


def _resnet(weights: NamedWeights, prefix: str, named: dict[str, str]) -> nn.Sequential:
    stem = _conv(weights, prefix + named["stem"], prefix + named["norm"], nn.ReLU(), 2)
    parts: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
    for layer in (1, 2, 3, 4):
        block = 0
        while weights.has(f"{prefix}{named[f'layer{layer}']}.{block}.conv1.weight"):
            name = f"{prefix}{named[f'layer{layer}']}.{block}"
            parts.append(_residual(weights, name, 2 if layer > 1 and block == 0 else 1))
            block += 1
    return nn.Sequential(*parts)


def _residual(weights: NamedWeights, name: str, stride: int) -> nn.Module:
    count = 3 if weights.has(f"{name}.conv3.weight") else 2
    strided = count - 1  # the 3x3 of a bottleneck, the first of two
    layers: list[nn.Module] = []
    for n in range(1, count + 1):
        act: nn.Module = nn.Identity() if n == count else nn.ReLU()
        layers += _conv(weights, f"{name}.conv{n}", f"{name}.bn{n}", act, stride if n == strided else 1)
    shortcut: nn.Module = nn.Identity()
    if weights.has(f"{name}.downsample.0.weight"):
        shortcut = nn.Sequential(*_conv(weights, f"{name}.downsample.0", f"{name}.downsample.1", nn.Identity(), stride))
    return _Added(nn.Sequential(*layers), shortcut, act=True)


def _mobilenet(weights: NamedWeights, prefix: str) -> nn.Sequential:
    parts = _conv(weights, f"{prefix}0.0", f"{prefix}0.1", nn.ReLU6(), 2)
    for block, (stride, added) in enumerate(zip(_MOBILENET_STRIDES, _MOBILENET_ADDED, strict=True), 1):
        name = f"{prefix}{block}.conv"
        if not any(other.startswith(f"{name}.") for other in weights.names):
            break
        expands = weights.has(f"{name}.2.weight") and weights.has(f"{name}.1.0.weight")
        layers: list[nn.Module] = []
        if expands:
            layers += _conv(weights, f"{name}.0.0", f"{name}.0.1", nn.ReLU6())
        at = int(expands)
        layers += _conv(weights, f"{name}.{at}.0", f"{name}.{at}.1", nn.ReLU6(), stride, deep=True)
        layers += _conv(weights, f"{name}.{at + 1}", f"{name}.{at + 2}", nn.Identity())
        inner = nn.Sequential(*layers)
        parts.append(_Added(inner, nn.Identity(), act=False) if added else inner)
    if weights.has(f"{prefix}18.0.weight"):
        parts += _conv(weights, f"{prefix}18.0", f"{prefix}18.1", nn.ReLU6())
    return nn.Sequential(*parts)


def _efficientnet(weights: NamedWeights, prefix: str) -> nn.Sequential:
    parts = _conv(weights, f"{prefix}0.0", f"{prefix}0.1", nn.SiLU(), 2)
    for stage, stride in enumerate(_EFFICIENTNET_STRIDES, 1):
        block = 0
        while weights.has(f"{prefix}{stage}.{block}.block.0.0.weight"):
            name = f"{prefix}{stage}.{block}.block"
            expands = weights.has(f"{name}.3.0.weight")
            layers: list[nn.Module] = []
            if expands:
                layers += _conv(weights, f"{name}.0.0", f"{name}.0.1", nn.SiLU())
            at = int(expands)
            layers += _conv(
                weights, f"{name}.{at}.0", f"{name}.{at}.1", nn.SiLU(), stride if block == 0 else 1, deep=True
            )
            layers.append(_SqueezeExcitation(weights, f"{name}.{at + 1}"))
            layers += _conv(weights, f"{name}.{at + 2}.0", f"{name}.{at + 2}.1", nn.Identity())
            inner = nn.Sequential(*layers)
            parts.append(_Added(inner, nn.Identity(), act=False) if block else inner)
            block += 1
    if weights.has(f"{prefix}8.0.weight"):
        parts += _conv(weights, f"{prefix}8.0", f"{prefix}8.1", nn.SiLU())
    return nn.Sequential(*parts)


_LAYOUTS = (
    (re.compile(r"((?:.*\.)?)layer1\.0\.conv1\.weight"), lambda w, p: _resnet(w, p, _RESNET)),
    (re.compile(r"((?:.*\.)?)4\.0\.conv1\.weight"), lambda w, p: _resnet(w, p, _RESNET_BY_NUMBER)),
    (re.compile(r"((?:.*\.)?)1\.conv\.0\.0\.weight"), _mobilenet),
    (re.compile(r"((?:.*\.)?)1\.0\.block\.0\.0\.weight"), _efficientnet),
)
