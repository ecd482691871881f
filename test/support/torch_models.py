"""A small network of two inputs, and its files in each of PyTorch's formats."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perf_inference.engines.architectures import Architecture, register
from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.model_card import CARD_FILE, ModelCard
from perf_inference.engines.pytorch.checkpoint import save_checkpoint

INPUTS = (
    ArraySpec("image", (None, 8, 8, 3), np.dtype(np.uint8)),
    ArraySpec("joints", (None, 4), np.dtype(np.float32)),
)
OUTPUTS = ("action", "score")
WORDS = {"task": "policy", "limits": "-1,1"}


class Reacher(torch.nn.Module):
    """Convolution, recurrence and linear layers, on an image of bytes and joint angles."""

    def __init__(self, channels: int = 4, hidden: int = 8) -> None:
        super().__init__()
        self.look = torch.nn.Conv2d(3, channels, 3, stride=2)
        self.remember = torch.nn.LSTM(channels, hidden, batch_first=True)
        self.act = torch.nn.Linear(hidden + 4, 2)

    def forward(self, image: torch.Tensor, joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        picture = image.permute(0, 3, 1, 2).to(joints.dtype) / 255
        seen = torch.relu(self.look(picture)).flatten(2).transpose(1, 2)
        remembered, _ = self.remember(seen)
        action = self.act(torch.cat([remembered[:, -1], joints], 1))
        return action, torch.sigmoid(action.sum(1))


def reacher(weights: Mapping[str, Any], metadata: Mapping[str, str]) -> Architecture:
    """Build it from weights of any size."""
    network = Reacher(weights["look.weight"].shape[0], weights["remember.weight_hh_l0"].shape[1])
    network.load_state_dict(dict(weights))
    return Architecture(network.eval(), INPUTS, OUTPUTS)


register("reacher", reacher)


def network(seed: int = 0) -> Reacher:
    torch.manual_seed(seed)
    return Reacher().eval()


def card(precision: str = "fp32") -> ModelCard:
    outputs = (
        ArraySpec("action", (None, 2), np.dtype(np.float32)),
        ArraySpec("score", (None,), np.dtype(np.float32)),
    )
    return ModelCard("reacher", precision, INPUTS, outputs, WORDS)


def example() -> tuple[torch.Tensor, ...]:
    return torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 4)


def write(path: Path, extra: dict[str, str] | None = None) -> Path:
    """Write the network in the format of the suffix; `extra` are the files that the exported ones carry."""
    extra = {CARD_FILE: card().to_json()} if extra is None else extra
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's on its own formats
        if path.suffix == ".torchscript":
            torch.jit.save(torch.jit.trace(network(), example()), path, _extra_files=extra)
        elif path.suffix == ".pt2":
            batch = torch.export.Dim("batch", min=1, max=64)
            program = torch.export.export(network(), example(), dynamic_shapes=({0: batch}, {0: batch}))
            torch.export.save(program, path, extra_files=extra)
        else:
            save_checkpoint(path, "reacher", network().state_dict(), WORDS)
    return path
