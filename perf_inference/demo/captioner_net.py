"""The embedded captioner's network.

An LSTM says one word at a time and looks at the image through additive attention (Bahdanau et al. 2015,
arXiv:1409.0473) that knows where it has looked before ("coverage", Tu et al. 2016, arXiv:1601.04811). Its eye is
the detector's backbone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from perf_inference.demo.detector_net import CHANNELS, GRID, Backbone, Channels, backbone_groups, image_spec, is_fused
from perf_inference.demo.layers import Weights, chain, inputs_of, loaded, outputs_of, size, training_in_bf16
from perf_inference.demo.scenes import COLORS, RELATIONS, SHAPES
from perf_inference.engines.architectures import Architecture, Group, Part

END = 0
WORDS = ("<end>", "a", *COLORS, *SHAPES, *dict.fromkeys(" ".join(RELATIONS).split()))
LENGTH = 9  # "a red circle left of a blue square" and the end
_FIRST_WORDS = 3  # "a red circle" is about the largest item, what follows about the second largest


class Sizes(NamedTuple):
    """How many units each part of the decoder and the attention has."""

    hidden: int = 96
    seen: int = 48  # channels that the words are read from, without the position
    matched: int = 32  # channels in which a query meets a key
    embedded: int = 32
    spoken: int = 64  # between the hidden state and the words
    words: int = len(WORDS)
    grid: tuple[int, int] = GRID  # rows, columns of cells

    @classmethod
    def of(cls, weights: Weights) -> Sizes:
        """Return those of some weights."""
        return cls(
            hidden=size(weights, "gates.weight", 0) // 4,
            seen=size(weights, "look.0.weight", 0),
            matched=size(weights, "key.weight", 0),
            embedded=size(weights, "embedding.weight", 1),
            spoken=size(weights, "word.0.weight", 0),
            words=size(weights, "embedding.weight", 0),
            grid=(size(weights, "positions", 1), size(weights, "positions", 2)),
        )


SIZES = Sizes()


def _positions(rows: int, columns: int) -> Tensor:
    """Return where each cell is, float32 [10, 24, 32]: x and y in [-1, 1], and sines of them."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    waves = [wave(math.pi * n * axis) for n in (1, 2) for axis in (x, y) for wave in (torch.sin, torch.cos)]
    return torch.stack([x, y, *waves])


class Captioner(nn.Module):
    """BGR uint8 [B, 192, 256, 3] -> tokens int64 [B, 9] and the probability of each, float32 [B, 9]."""

    positions: Tensor

    def __init__(self, channels: Channels = CHANNELS, sizes: Sizes = SIZES, fused: bool = False) -> None:
        super().__init__()
        self.hidden = sizes.hidden
        self.register_buffer("positions", _positions(*sizes.grid))
        seen = sizes.seen + len(self.positions)
        self.backbone = Backbone(channels, fused)
        self.look = nn.Sequential(nn.Conv2d(channels.features + len(self.positions), sizes.seen, 1), nn.ReLU())
        self.key = nn.Conv2d(seen, sizes.matched, 1)
        self.query = nn.Linear(sizes.hidden + sizes.embedded, sizes.matched)
        self.covered = nn.Parameter(torch.zeros(sizes.matched, 1))
        self.energy = nn.Parameter(torch.randn(sizes.matched, 1) * 0.1)
        self.embedding = nn.Embedding(sizes.words, sizes.embedded)
        self.gates = nn.Linear(sizes.embedded + seen + sizes.hidden, 4 * sizes.hidden)
        self.word = nn.Sequential(
            nn.Linear(sizes.hidden + seen, sizes.spoken), nn.ReLU(), nn.Linear(sizes.spoken, sizes.words)
        )

    def _image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what can be seen [B, 58, 768] and the attention's keys [B, 32, 768]."""
        with training_in_bf16(self):
            features = self.backbone(image)
        where = self.positions.expand(image.shape[0], -1, -1, -1)
        seen = torch.cat([self.look(torch.cat([features.to(where.dtype), where], dim=1)), where], dim=1)
        return seen.flatten(2), self.key(seen).flatten(2)

    def _say(self, image: Tensor, given: Tensor | None) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return per step: words' logits [B, 17], attention's logits [B, 768], tokens [B] (given ones if any)."""
        seen, keys = self._image(image)
        hidden = cell = seen.new_zeros((image.shape[0], self.hidden))
        token = torch.ones_like(hidden[:, 0], dtype=torch.int64) * END  # the end also begins
        words, looks, tokens = [], [], []
        for step in range(LENGTH):
            last = self.embedding(token)
            query = self.query(torch.cat([hidden, last], dim=1))[:, :, None]
            look = (torch.tanh(keys + query) * self.energy).sum(1)
            attention = look.softmax(1)
            keys = keys + self.covered * attention[:, None]
            context = (seen @ attention[:, :, None])[:, :, 0]
            gates = self.gates(torch.cat([last, context, hidden], dim=1))
            keep, write, show, new = gates.chunk(4, dim=1)
            cell = cell * torch.sigmoid(keep + 1.0) + torch.sigmoid(write) * torch.tanh(new)
            hidden = torch.sigmoid(show) * torch.tanh(cell)
            logits = self.word(torch.cat([hidden, context], dim=1))
            token = logits.argmax(1) if given is None else given[:, step]
            words.append(logits)
            looks.append(look)
            tokens.append(token)
        return words, looks, tokens

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        words, _, tokens = self._say(image, None)
        return torch.stack(tokens, dim=1), torch.stack([logits.softmax(1).amax(1) for logits in words], dim=1)

    def loss(self, image: Tensor, tokens: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean losses of the words and of the attention.

        Args:
            tokens: int64 [B, 9], what to say.
            attention: float32 [B, 2, 768], where the largest and the second largest item are; zeros if there is none.
        """
        words, looks, _ = self._say(image, tokens)
        word_loss = functional.cross_entropy(torch.stack(words, dim=2), tokens)
        look_loss = word_loss.new_zeros(())
        for step, look in enumerate(looks):
            wanted = attention[:, 0 if step < _FIRST_WORDS else 1]
            look_loss = look_loss - (wanted * look.log_softmax(1)).sum(1).mean() / LENGTH
        return word_loss, look_loss


def groups(weights: Weights, sizes: Sizes) -> tuple[Group, ...]:
    """Return what may be taken out: of the backbone, the attention and the decoder."""
    seen = sizes.seen + size(weights, "positions", 0)  # the positions follow what is seen, and stay
    gates = [part for n in range(4) for part in outputs_of(weights, "gates", start=n * sizes.hidden)]
    hidden = (*gates, inputs_of("gates", sizes.embedded + seen), inputs_of("query"), inputs_of("word.0"))
    met = (*outputs_of(weights, "query"), Part("covered", 0), Part("energy", 0))
    embedded = (Part("embedding.weight", 1), inputs_of("query", sizes.hidden), inputs_of("gates"))
    read_seen = (inputs_of("key"), inputs_of("gates", sizes.embedded), inputs_of("word.0", sizes.hidden))
    return (
        *backbone_groups(weights, "look.0"),
        chain(weights, "seen", "look.0", *read_seen),
        chain(weights, "matched", "key", *met),
        Group("hidden", sizes.hidden, hidden),
        Group("embedded", sizes.embedded, embedded),
        chain(weights, "spoken", "word.0", inputs_of("word.2")),
    )


def architecture(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Architecture:
    """Return the captioner with these weights.

    Raises:
        ConfigError: the weights do not fit together.
    """
    sizes = Sizes.of(weights)
    channels = Channels.of(weights)
    module = loaded(lambda: Captioner(channels, sizes, is_fused(weights)), weights)
    return Architecture(module, (image_spec(*sizes.grid),), ("tokens", "scores"), groups(weights, sizes))
