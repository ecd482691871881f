"""Trains the embedded captioner and writes it as ONNX: `python -m perf_inference.demo.train_captioner`.

The network is in `captioner_net`. Its eye is the detector's backbone, so training starts from a detector's weights:
those of `--init`, or of a detector trained here first. The scenes know which item a word is about, so attention is
taught along with the words.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from perf_inference.demo import checkpoints, train_detector, training
from perf_inference.demo.captioner_net import END, LENGTH, WORDS, Captioner
from perf_inference.demo.detector_net import GRID, STRIDE_PX, is_fused
from perf_inference.demo.scenes import Scene, sentence
from perf_inference.demo.train_detector import MODELS, Items
from perf_inference.engines.pytorch.checkpoint import load_checkpoint

_MIRROR = {"left": "right", "right": "left"}
_SPREAD_PX = 8.0  # of the attention that is taught


def encode(text: str) -> list[int]:
    """Return a sentence as tokens, filled up with ends."""
    tokens = [WORDS.index(word) for word in text.split()]
    return tokens + [END] * (LENGTH - len(tokens))


def attention_targets(items: Items) -> Tensor:
    """Return where the largest and the second largest item are, float32 [N, 2, 768], each summing to 1 (or 0)."""
    ys, xs = torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij")
    cells = (torch.stack([xs, ys], dim=-1).reshape(-1, 2) + 0.5) * STRIDE_PX
    radii, order = items.radii_px.topk(2, dim=1)
    middles = items.boxes_px[..., :2].gather(1, order[..., None].expand(-1, -1, 2))
    squares = (middles[:, :, None] - cells).square().sum(-1)
    return (-squares / (2 * _SPREAD_PX**2)).softmax(-1) * (radii > 0)[..., None]


def new(seed: int, eye: Mapping[str, Tensor]) -> Captioner:
    """Return a captioner to train, whose eye starts as the given backbone."""
    torch.manual_seed(seed)
    model = Captioner(fused=is_fused(eye, prefix=""))
    model.backbone.load_state_dict(eye)
    return model


def train(
    model: Captioner, scenes: Sequence[Scene], images: Tensor, steps: int, seed: int, batch: int = 32
) -> Captioner:
    """Return the captioner trained for some steps, ready for use (eval mode); it may be one to go on with."""
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    items = train_detector.items_of(scenes)
    texts = [sentence(scene.items) for scene in scenes]
    said = torch.tensor([encode(text) for text in texts])
    said_mirrored = torch.tensor([encode(" ".join(_MIRROR.get(w, w) for w in text.split())) for text in texts])
    model = model.train().to(memory_format=torch.channels_last)
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
            train_detector.mirrored(images[index], flip), tokens, attention_targets(items.of(index, flip))
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


def backbone_of(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone's part of a detector's weights."""
    prefix = "backbone."
    return {name[len(prefix) :]: value for name, value in checkpoint.items() if name.startswith(prefix)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODELS / "captioner.onnx")
    parser.add_argument(
        "--checkpoint", type=Path, help="the same weights for PyTorch (default: .safetensors beside --out)"
    )
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--init", type=Path, help="a detector's checkpoint")
    parser.add_argument("--detector-steps", type=int, default=500, help="without --init")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scenes = training.train_scenes(args.scenes, args.seed)
    training.check_disjoint(scenes, training.test_scenes(1000))
    images = torch.from_numpy(training.training_images(scenes))
    if args.init:
        weights = load_checkpoint(args.init).weights
    else:
        weights = train_detector.train(
            train_detector.new(args.seed), scenes, images, args.detector_steps, args.seed
        ).state_dict()
    model = train(new(args.seed, backbone_of(weights)), scenes, images, args.steps, args.seed)
    metadata = {"vocabulary": json.dumps(WORDS), "task": "caption", "license": "Apache-2.0"}
    train_detector.export(model, args.out, ["tokens", "scores"], metadata)
    checkpoints.convert(args.out, "captioner", args.checkpoint or args.out.with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
