"""The embedded detector's network, and the backbone that it shares with the captioner.

A small convolutional net at stride 8 predicts, in each of 32 x 24 cells, whether an item's middle is near, its
colour, its shape and its box. A class's score is the product of the three probabilities, taken in the graph, so
the output has the Ultralytics layout.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perf_inference.demo import training
from perf_inference.demo.layers import Weights, chain, conv, inputs_of, loaded, outputs_of, size, training_in_bf16
from perf_inference.demo.scenes import COLORS, SHAPES
from perf_inference.engines.architectures import Architecture, Group
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError

STRIDE_PX = 8
GRID = (training.INPUT_HEIGHT_PX // STRIDE_PX, training.INPUT_WIDTH_PX // STRIDE_PX)  # rows, columns of cells
BOX_PX = 32.0  # boxes are learned as logarithms of their share of this


class Channels(NamedTuple):
    """How many channels each part of the backbone has."""

    stem: int = 16
    second: int = 32
    trunk: int = 64  # what `fine` and `coarse` are added to
    fine: int = 64
    coarse: int = 96
    deep: int = 96
    features: int = 64  # the output

    @classmethod
    def of(cls, weights: Weights, prefix: str = "backbone.") -> Channels:
        """Return those of some weights."""
        layers = ("stem.0.0", "stem.1.0", "stem.2.0", "fine.0.0", "coarse.0.0", "coarse.1.0", "merge.0")
        return cls(*(size(weights, f"{prefix}{layer}.weight", 0) for layer in layers))


CHANNELS = Channels()


class Backbone(nn.Module):
    """BGR uint8 [B, 192, 256, 3] -> features float32 [B, 64, 24, 32]; also the captioner's eye."""

    def __init__(self, c: Channels = CHANNELS, fused: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, c.stem, 2, fused=fused),
            conv(c.stem, c.second, 2, fused=fused),
            conv(c.second, c.trunk, 2, fused=fused),
        )
        self.fine = nn.Sequential(conv(c.trunk, c.fine, fused=fused), conv(c.fine, c.trunk, fused=fused))
        self.coarse = nn.Sequential(
            conv(c.trunk, c.coarse, 2, fused=fused),
            conv(c.coarse, c.deep, fused=fused),
            conv(c.deep, c.trunk, kernel=1, fused=fused),
        )
        self.merge = conv(c.trunk, c.features, fused=fused)

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2).to(self.merge[0].weight.dtype) * (1 / 64) - 2.0
        x = self.stem(x)
        x = x + self.fine(x)
        x = x + functional.interpolate(self.coarse(x), scale_factor=2.0, mode="nearest")
        features: Tensor = self.merge(x)
        return features


class Detector(nn.Module):
    """BGR uint8 [B, 192, 256, 3] -> float32 [B, 4 + 24, 768]: cx, cy, w, h in px of the input, then class scores."""

    cells_px: Tensor

    def __init__(
        self,
        channels: Channels = CHANNELS,
        colors: int = len(COLORS),
        shapes: int = len(SHAPES),
        grid: tuple[int, int] = GRID,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.parts = [1, colors, shapes, 4]
        self.backbone = Backbone(channels, fused)
        self.head = nn.Conv2d(channels.features, sum(self.parts), 1)
        nn.init.constant_(self.head.bias[:1], -4.0)  # most cells are empty
        ys, xs = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        self.register_buffer("cells_px", (torch.stack([xs, ys]).reshape(2, -1) + 0.5) * STRIDE_PX)

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits: item [B, 1, 768], colours [B, 6, 768], shapes [B, 4, 768]; and boxes [B, 4, 768]."""
        with training_in_bf16(self):
            features = self.backbone(image)
        out = self.head(features.to(self.head.weight.dtype)).flatten(2).float()  # half floats are too coarse for px
        item, color, shape, box = out.split(self.parts, dim=1)
        return item, color, shape, box

    def forward(self, image: Tensor) -> Tensor:
        item, color, shape, box = self.raw(image)
        found = item.sigmoid() * color.softmax(1)
        scores = (found[:, :, None] * shape.softmax(1)[:, None]).flatten(1, 2)  # colour outside, as in CLASS_NAMES
        middle = self.cells_px + box[:, :2] * STRIDE_PX
        return torch.cat([middle, box[:, 2:].exp() * BOX_PX, scores], dim=1)


def is_fused(weights: Weights, prefix: str = "backbone.") -> bool:
    """Return whether a backbone's normalisations are in its convolutions: as an ONNX file has them."""
    return f"{prefix}stem.0.1.weight" not in weights


def backbone_groups(weights: Weights, *readers: str) -> tuple[Group, ...]:
    """Return what may be taken out of the backbone; `readers`: the layers that read its features first."""
    stem, fine, coarse, merge = (f"backbone.{part}" for part in ("stem", "fine", "coarse", "merge"))
    into_trunk = [
        part
        for block in (f"{stem}.2", f"{fine}.1", f"{coarse}.2")
        for part in outputs_of(weights, f"{block}.0", f"{block}.1")
    ]
    out_of_trunk = [inputs_of(f"{layer}.0") for layer in (f"{fine}.0", f"{coarse}.0", merge)]
    trunk = Group("trunk", size(weights, f"{stem}.2.0.weight", 0), (*into_trunk, *out_of_trunk))
    between = [
        ("stem", f"{stem}.0", f"{stem}.1"),
        ("second", f"{stem}.1", f"{stem}.2"),
        ("fine", f"{fine}.0", f"{fine}.1"),
        ("coarse", f"{coarse}.0", f"{coarse}.1"),
        ("deep", f"{coarse}.1", f"{coarse}.2"),
    ]
    chains = [chain(weights, name, f"{a}.0", inputs_of(f"{b}.0"), norm=f"{a}.1") for name, a, b in between]
    read = [inputs_of(layer) for layer in readers]
    return (trunk, *chains, chain(weights, "features", f"{merge}.0", *read, norm=f"{merge}.1"))


def image_spec(rows: int, columns: int, cell_px: int = STRIDE_PX) -> ArraySpec:
    """Return the spec of one BGR image of so many cells."""
    return ArraySpec("image", (1, rows * cell_px, columns * cell_px, 3), np.dtype(np.uint8))


def architecture(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Architecture:
    """Return the detector with these weights; the names in the metadata tell colours from shapes.

    Raises:
        ConfigError: the weights do not fit together, or not to the names.
    """
    try:
        names = list(dict(ast.literal_eval(metadata["names"])).values())
        colors = len({name.split()[0] for name in names})
    except (KeyError, ValueError, TypeError, SyntaxError, AttributeError, IndexError) as error:
        raise ConfigError(
            "metadata 'names' of a detector must be a dict of 'COLOUR SHAPE', as in the ONNX file"
        ) from error
    cells = weights.get("cells_px")
    if cells is None or cells.ndim != 2 or cells.shape[0] != 2 or not cells.numel():
        raise ConfigError("weight 'cells_px' must be [2, cells]: another network's weights")
    columns, rows = (len(torch.unique(axis)) for axis in cells)
    sizes = Channels.of(weights)
    shapes = len(names) // colors
    if colors * shapes != len(names):
        raise ConfigError(f"the {len(names)} names of a detector must be {colors} colours times some shapes")
    module = loaded(lambda: Detector(sizes, colors, shapes, (rows, columns), is_fused(weights)), weights)
    return Architecture(module, (image_spec(rows, columns),), ("output0",), backbone_groups(weights, "head"))
