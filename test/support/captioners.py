"""Attention-LSTM captioners of any size as checkpoints, and their words."""

from __future__ import annotations

from typing import Any

import torch

WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "green", "cup", "box", "left", "of", "the"]


def resnet(width: int = 4, bottleneck: bool = False, by_number: bool = False) -> dict[str, torch.Tensor]:
    """Return the weights of a small ResNet by torchvision's names."""
    out: dict[str, torch.Tensor] = {}

    def conv(name: str, norm: str, inputs: int, outputs: int, kernel: int) -> None:
        out[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel * kernel) ** 0.5
        _norm(out, norm, outputs)

    stem, norm, layers = ("0", "1", "4567") if by_number else ("conv1", "bn1", ["layer1", "layer2", "layer3", "layer4"])
    conv(stem, norm, 3, width, 7)
    have = width
    for n, layer in enumerate(layers):
        wide = width * 2**n
        for block in (0, 1):
            name, stride = f"{layer}.{block}", 2 if n and not block else 1
            if bottleneck:
                conv(f"{name}.conv1", f"{name}.bn1", have, wide, 1)
                conv(f"{name}.conv2", f"{name}.bn2", wide, wide, 3)
                conv(f"{name}.conv3", f"{name}.bn3", wide, 4 * wide, 1)
            else:
                conv(f"{name}.conv1", f"{name}.bn1", have, wide, 3)
                conv(f"{name}.conv2", f"{name}.bn2", wide, wide, 3)
            after = 4 * wide if bottleneck else wide
            if stride == 2 or have != after:
                conv(f"{name}.downsample.0", f"{name}.downsample.1", have, after, 1)
            have = after
    return out


def mobilenet(width: int = 4) -> dict[str, torch.Tensor]:
    """Return the weights of a narrow MobileNetV2 by torchvision's names."""
    out: dict[str, torch.Tensor] = {}
    _conv(out, "features.0.0", "features.0.1", 3, width, 3)
    have, block = width, 1
    for expand, wide, count in ((1, 2, 1), (2, 3, 2), (2, 4, 3), (2, 5, 4), (2, 6, 3), (2, 7, 3), (2, 8, 1)):
        for _ in range(count):
            name, inner, at = f"features.{block}.conv", have * expand, 0
            if expand > 1:
                _conv(out, f"{name}.0.0", f"{name}.0.1", have, inner, 1)
                at = 1
            _conv(out, f"{name}.{at}.0", f"{name}.{at}.1", 1, inner, 3)
            _conv(out, f"{name}.{at + 1}", f"{name}.{at + 2}", inner, wide, 1)
            have, block = wide, block + 1
    _conv(out, "features.18.0", "features.18.1", have, 16, 1)
    out["classifier.1.weight"], out["classifier.1.bias"] = torch.randn(10, 16), torch.zeros(10)
    return out


def efficientnet() -> dict[str, torch.Tensor]:
    """Return the weights of a narrow EfficientNet-B0 by torchvision's names."""
    out: dict[str, torch.Tensor] = {}
    _conv(out, "features.0.0", "features.0.1", 3, 4, 3)
    have = 4
    stages = ((1, 3, 3, 1), (2, 3, 4, 2), (2, 5, 5, 2), (2, 3, 6, 3), (2, 5, 7, 3), (2, 5, 8, 4), (2, 3, 9, 1))
    for stage, (expand, kernel, wide, count) in enumerate(stages, 1):
        for block in range(count):
            name, inner, at = f"features.{stage}.{block}.block", have * expand, 0
            if expand > 1:
                _conv(out, f"{name}.0.0", f"{name}.0.1", have, inner, 1)
                at = 1
            _conv(out, f"{name}.{at}.0", f"{name}.{at}.1", 1, inner, kernel)
            for part, (a, b) in (("fc1", (inner, 2)), ("fc2", (2, inner))):
                out[f"{name}.{at + 1}.{part}.weight"] = torch.randn(b, a, 1, 1)
                out[f"{name}.{at + 1}.{part}.bias"] = torch.zeros(b)
            _conv(out, f"{name}.{at + 2}.0", f"{name}.{at + 2}.1", inner, wide, 1)
            have = wide
    _conv(out, "features.8.0", "features.8.1", have, 16, 1)
    return out


def decoder(features: int, hidden: int = 12, attention: int = 8, embedded: int = 6) -> dict[str, torch.Tensor]:
    """Return the weights of an attention-LSTM decoder."""
    out: dict[str, torch.Tensor] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = torch.randn(outputs, inputs) * 0.8, torch.randn(outputs) * 0.2

    linear("attention.encoder_att", features, attention)
    linear("attention.decoder_att", hidden, attention)
    linear("attention.full_att", attention, 1)
    out["embedding.weight"] = torch.randn(len(WORDS), embedded)
    out["decode_step.weight_ih"] = torch.randn(4 * hidden, embedded + features) * 0.8
    out["decode_step.weight_hh"] = torch.randn(4 * hidden, hidden) * 0.8
    out["decode_step.bias_ih"], out["decode_step.bias_hh"] = torch.randn(4 * hidden), torch.randn(4 * hidden)
    linear("init_h", features, hidden)
    linear("init_c", features, hidden)
    linear("f_beta", hidden, features)
    linear("fc", hidden, len(WORDS))
    return out


def weights(seed: int = 0, width: int = 4, hidden: int = 12, attention: int = 8) -> dict[str, torch.Tensor]:
    """Return encoder and decoder in one state dict."""
    torch.manual_seed(seed)
    seen = resnet(width)
    told = decoder(8 * width, hidden, attention)
    return {**{f"encoder.resnet.{k}": v for k, v in seen.items()}, **{f"decoder.{k}": v for k, v in told.items()}}


def _conv(out: dict[str, Any], name: str, norm: str, inputs: int, outputs: int, kernel: int) -> None:
    out[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel * kernel) ** 0.5
    _norm(out, norm, outputs)


def _norm(out: dict[str, Any], name: str, channels: int) -> None:
    out[f"{name}.weight"], out[f"{name}.bias"] = torch.rand(channels) + 0.5, torch.randn(channels) * 0.1
    out[f"{name}.running_mean"], out[f"{name}.running_var"] = torch.randn(channels) * 0.1, torch.rand(channels) + 0.5
    out[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
