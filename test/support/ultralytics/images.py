"""Images of shapes, gradients and noise in several sizes, the same on every machine: `images.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZES = (
    (640, 480), (480, 640), (1280, 720), (320, 320), (333, 517), (801, 301), (200, 150), (1024, 768), (96, 64),
    (641, 481),
)  # fmt: skip


def image(seed: int) -> Any:
    """Return a BGR image [H, W, 3]."""
    rng = np.random.default_rng(seed)
    width, height = SIZES[seed % len(SIZES)]
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(4, 16))):
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        side = int(rng.integers(8, max(9, min(width, height) // 3)))
        kind = int(rng.integers(0, 3))
        if kind == 0:
            cv2.rectangle(canvas, (x, y), (x + side, y + side // 2), colour, -1)
        elif kind == 1:
            cv2.circle(canvas, (x, y), side // 2, colour, -1)
        else:
            box = cv2.boxPoints(((x, y), (side, side / 3), float(rng.integers(0, 180))))
            cv2.fillConvexPoly(canvas, box.astype(np.int32), colour)
    noisy = canvas.astype(np.float32) + rng.normal(0, 6, canvas.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write(folder: Path, count: int = 30) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        cv2.imwrite(str(folder / f"{seed:02d}.png"), image(seed))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
