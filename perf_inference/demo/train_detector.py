"""Trains the embedded detector and writes it as ONNX: `python -m perf_inference.demo.train_detector`.

The network is in `detector_net`; it sees 256x192 images of generated scenes only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from perf_inference.demo import checkpoints, training
from perf_inference.demo.detector_net import BOX_PX, STRIDE_PX, Detector
from perf_inference.demo.scenes import CLASS_NAMES, SHAPES, WIDTH_PX, Scene

MODELS = Path(__file__).resolve().parents[1] / "models"
MAX_ITEMS = 4
_NEAR_PX, _FAR_PX = 7.0, 11.0  # from an item's middle: cells nearer are positive, farther ones negative
_INPUT_SCALE = WIDTH_PX / training.INPUT_WIDTH_PX


class Items(NamedTuple):
    """The items of N scenes, padded to four with class -1."""

    boxes_px: Tensor  # float32 [N, 4, 4]: cx, cy, w, h in px of the 256x192 input
    classes: Tensor  # int64 [N, 4]
    radii_px: Tensor  # float32 [N, 4]

    def of(self, index: Tensor, mirrored: bool) -> Items:
        """Return those of some scenes, mirrored left to right on request."""
        boxes = self.boxes_px[index]
        if mirrored:
            boxes = torch.cat([training.INPUT_WIDTH_PX - boxes[..., :1], boxes[..., 1:]], dim=-1)
        return Items(boxes, self.classes[index], self.radii_px[index])


def items_of(scenes: Sequence[Scene]) -> Items:
    """Return the scenes' items as the detector should see them."""
    boxes = np.zeros((len(scenes), MAX_ITEMS, 4), np.float32)
    classes = np.full((len(scenes), MAX_ITEMS), -1, np.int64)
    radii = np.zeros((len(scenes), MAX_ITEMS), np.float32)
    for i, scene in enumerate(scenes):
        for j, item in enumerate(scene.items):
            x0, y0, x1, y1 = (value / _INPUT_SCALE for value in item.box())
            boxes[i, j] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
            classes[i, j] = CLASS_NAMES.index(item.name)
            radii[i, j] = item.radius_px / _INPUT_SCALE
    return Items(torch.from_numpy(boxes), torch.from_numpy(classes), torch.from_numpy(radii))


def detector_loss(model: Detector, image: Tensor, items: Items) -> Tensor:
    """Return the mean loss: is there an item, its colour, its shape, its box."""
    item, color, shape, box = model.raw(image)
    offset = items.boxes_px[:, :, :2, None] - model.cells_px  # [B, 4, 2, 768]
    distance = offset.norm(dim=2).masked_fill(items.classes[..., None] < 0, torch.inf)
    nearest, owner = distance.min(dim=1)  # [B, 768]
    positive, negative = nearest < _NEAR_PX, nearest > _FAR_PX
    count = positive.sum()
    logit = item[:, 0]
    presence = functional.binary_cross_entropy_with_logits(logit, positive.float(), reduction="none")
    loss = (presence * (positive | negative)).sum() / count

    at, cell = positive.nonzero(as_tuple=True)
    own = owner[at, cell]
    classes = items.classes[at, own]
    loss = loss + functional.cross_entropy(color[at, :, cell], classes // len(SHAPES))
    loss = loss + functional.cross_entropy(shape[at, :, cell], classes % len(SHAPES))
    size = (items.boxes_px[at, own, 2:] / BOX_PX).log()
    target = torch.cat([offset[at, own, :, cell] / STRIDE_PX, size], dim=1)
    scale = target.new_tensor([STRIDE_PX / BOX_PX] * 2 + [1.0, 1.0])  # shares of a typical box, all four
    error: Tensor = ((box[at, :, cell] - target) * scale).abs().sum(dim=1).mean()
    return loss + 2.0 * error


def mirrored(image: Tensor, on: bool) -> Tensor:
    """Return the images [B, 192, 256, 3], flipped left to right on request."""
    return image.flip(2) if on else image


def new(seed: int) -> Detector:
    """Return a detector to train."""
    torch.manual_seed(seed)
    return Detector()


def train(model: Detector, scenes: Sequence[Scene], images: Tensor, steps: int, seed: int, batch: int = 32) -> Detector:
    """Return the detector trained for some steps on the scenes' images [N, 192, 256, 3], ready for use (eval mode).

    It may be one to go on with.
    """
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    items = items_of(scenes)
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    total = 0.0
    for step in range(1, steps + 1):
        index = torch.from_numpy(rng.choice(len(scenes), batch, replace=False))
        flip = bool(rng.random() < 0.5)
        loss = detector_loss(model, mirrored(images[index], flip), items.of(index, flip))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 50 == 0:
            print(f"step {step}: loss {total / 50:.4f}, {time.monotonic() - began:.0f} s", flush=True)
            total = 0.0
    return model.eval()


def export(model: nn.Module, path: Path, outputs: Sequence[str], metadata: dict[str, str]) -> None:
    """Write a model that takes one image as a single ONNX file with metadata, and check it."""
    image = torch.zeros((1, training.INPUT_HEIGHT_PX, training.INPUT_WIDTH_PX, 3), dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model, (image,), path, input_names=["image"], output_names=list(outputs), opset_version=17, dynamo=False
    )
    file = onnx.load(path)
    onnx.helper.set_model_props(file, metadata)
    onnx.checker.check_model(file, full_check=True)
    onnx.save(file, path)
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODELS / "detector.onnx")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--checkpoint", type=Path, help="the same weights for PyTorch (default: .safetensors beside --out)"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scenes = training.train_scenes(args.scenes, args.seed)
    training.check_disjoint(scenes, training.test_scenes(1000))
    images = torch.from_numpy(training.training_images(scenes))
    model = train(new(args.seed), scenes, images, args.steps, args.seed)
    metadata = {
        "names": str(dict(enumerate(CLASS_NAMES))),
        "stride": str(STRIDE_PX),
        "task": "detect",
        "license": "Apache-2.0",
    }
    export(model, args.out, ["output0"], metadata)
    checkpoints.convert(args.out, "detector", args.checkpoint or args.out.with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
