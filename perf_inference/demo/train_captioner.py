"""Trains the embedded captioner and writes it as ONNX: `python -m perf_inference.demo.train_captioner`.

An LSTM says one word at a time and looks at the picture through additive attention (Bahdanau et al. 2015,
arXiv:1409.0473) that knows where it has looked before ("coverage", Tu et al. 2016, arXiv:1601.04811). Its eye is
the detector's backbone, so training starts from a detector's weights: those of `--init`, or of a detector
trained here first. The scenes know which item a word is about, so attention is taught along with the words.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perf_inference.demo import train_detector, training
from perf_inference.demo.scenes import COLORS, RELATIONS, SHAPES, Scene, sentence
from perf_inference.demo.train_detector import CHANNELS, GRID_X, GRID_Y, MODELS, Backbone, Items

END = 0
WORDS = ("<end>", "a", *COLORS, *SHAPES, *dict.fromkeys(" ".join(RELATIONS).split()))
LENGTH = 9  # "a red circle left of a blue square" and the end
_MIRROR = {"left": "right", "right": "left"}
_FIRST_WORDS = 3  # "a red circle" is about the largest item, what follows about the second largest
_HIDDEN = 96
_SEEN = 48  # channels that the words are read from, without the position
_MATCHED = 32  # channels in which a query meets a key
_EMBEDDED = 32
_SPREAD_PX = 8.0  # of the attention that is taught


def encode(text: str) -> list[int]:
    """Return a sentence as tokens, filled up with ends."""
    tokens = [WORDS.index(word) for word in text.split()]
    return tokens + [END] * (LENGTH - len(tokens))


def _positions() -> Tensor:
    """Return where each cell is, float32 [10, 24, 32]: x and y in [-1, 1], and sines of them."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, GRID_Y), torch.linspace(-1, 1, GRID_X), indexing="ij")
    waves = [wave(math.pi * n * axis) for n in (1, 2) for axis in (x, y) for wave in (torch.sin, torch.cos)]
    return torch.stack([x, y, *waves])


class Captioner(nn.Module):
    """BGR uint8 [B, 192, 256, 3] -> tokens int64 [B, 9] and the probability of each, float32 [B, 9]."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positions", _positions())
        seen = _SEEN + len(self.positions)
        self.backbone = Backbone()
        self.look = nn.Sequential(nn.Conv2d(CHANNELS + len(self.positions), _SEEN, 1), nn.ReLU())
        self.key = nn.Conv2d(seen, _MATCHED, 1)
        self.query = nn.Linear(_HIDDEN + _EMBEDDED, _MATCHED)
        self.covered = nn.Parameter(torch.zeros(_MATCHED, 1))
        self.energy = nn.Parameter(torch.randn(_MATCHED, 1) * 0.1)
        self.embedding = nn.Embedding(len(WORDS), _EMBEDDED)
        self.gates = nn.Linear(_EMBEDDED + seen + _HIDDEN, 4 * _HIDDEN)
        self.word = nn.Sequential(nn.Linear(_HIDDEN + seen, 64), nn.ReLU(), nn.Linear(64, len(WORDS)))

    def _picture(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what can be seen [B, 58, 768] and the attention's keys [B, 32, 768]."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):  # halves the time of a step
            features = self.backbone(image)
        where = self.positions.expand(image.shape[0], -1, -1, -1)
        seen = torch.cat([self.look(torch.cat([features.float(), where], dim=1)), where], dim=1)
        return seen.flatten(2), self.key(seen).flatten(2)

    def _say(self, image: Tensor, given: Tensor | None) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return per step: words' logits [B, 17], attention's logits [B, 768], tokens [B] (given ones if any)."""
        seen, keys = self._picture(image)
        hidden = cell = seen.new_zeros((image.shape[0], _HIDDEN))
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


def attention_targets(items: Items) -> Tensor:
    """Return where the largest and the second largest item are, float32 [N, 2, 768], each summing to 1 (or 0)."""
    ys, xs = torch.meshgrid(torch.arange(GRID_Y), torch.arange(GRID_X), indexing="ij")
    cells = (torch.stack([xs, ys], dim=-1).reshape(-1, 2) + 0.5) * train_detector.STRIDE_PX
    radii, order = items.radii_px.topk(2, dim=1)
    middles = items.boxes_px[..., :2].gather(1, order[..., None].expand(-1, -1, 2))
    squares = (middles[:, :, None] - cells).square().sum(-1)
    return (-squares / (2 * _SPREAD_PX**2)).softmax(-1) * (radii > 0)[..., None]


def train(
    scenes: Sequence[Scene], pictures: Tensor, steps: int, seed: int, eye: dict[str, Tensor], batch: int = 32
) -> Captioner:
    """Return a captioner trained for some steps, ready for use (eval mode); its eye starts as the given backbone."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    items = train_detector.items_of(scenes)
    texts = [sentence(scene.items) for scene in scenes]
    said = torch.tensor([encode(text) for text in texts])
    said_mirrored = torch.tensor([encode(" ".join(_MIRROR.get(w, w) for w in text.split())) for text in texts])
    model = Captioner().to(memory_format=torch.channels_last)
    model.backbone.load_state_dict(eye)
    rest = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": model.backbone.parameters(), "lr": 5e-4}, {"params": rest, "lr": 2e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [5e-4, 2e-3], total_steps=steps, pct_start=0.1)
    totals = np.zeros(2)
    for step in range(1, steps + 1):
        index = torch.from_numpy(rng.choice(len(scenes), batch, replace=False))
        flip = bool(rng.random() < 0.5)
        tokens = (said_mirrored if flip else said)[index]
        losses = model.loss(
            train_detector.mirrored(pictures[index], flip), tokens, attention_targets(items.of(index, flip))
        )
        optimizer.zero_grad()
        sum(losses, torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        totals += [loss.item() for loss in losses]
        if step % 50 == 0:
            (words, looks), spent = totals / 50, time.monotonic() - began
            print(f"step {step}: words {words:.4f}, attention {looks:.4f}, {spent:.0f} s", flush=True)
            totals[:] = 0
    return model.eval()


def backbone_of(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone's part of a detector's weights."""
    prefix = "backbone."
    return {name[len(prefix) :]: value for name, value in checkpoint.items() if name.startswith(prefix)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODELS / "captioner.onnx")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--init", type=Path, help="a detector's weights (train_detector --checkpoint)")
    parser.add_argument("--detector-steps", type=int, default=500, help="without --init")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scenes = training.train_scenes(args.scenes, args.seed)
    training.check_disjoint(scenes, training.test_scenes(1000))
    pictures = torch.from_numpy(training.training_pictures(scenes))
    if args.init:
        weights = torch.load(args.init, weights_only=True)
    else:
        weights = train_detector.train(scenes, pictures, args.detector_steps, args.seed).state_dict()
    model = train(scenes, pictures, args.steps, args.seed, backbone_of(weights))
    metadata = {"vocabulary": json.dumps(WORDS), "task": "caption", "license": "Apache-2.0"}
    train_detector.export(model, args.out, ["tokens", "scores"], metadata)


if __name__ == "__main__":
    main()
