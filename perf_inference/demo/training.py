"""What both trainings and their scoring share: which scenes are for which use, and images as the models see them.

Scene i of a split is drawn from its own generator, seeded with the split's first number plus i. The ranges of
the two splits do not meet, and `check_disjoint` looks at the scenes themselves. No torch here: scoring needs
only numpy, OpenCV and onnxruntime.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from perf_inference.demo.scenes import WIDTH_PX, Image, Scene, random_scene, render, sentence

INPUT_WIDTH_PX, INPUT_HEIGHT_PX = 256, 192
ARM_SHARE = 0.4
TRAIN_SEEDS = range(1_000_000)
TEST_SEEDS = range(1_000_000, 2_000_000)
_CAMERA_EVERY = 5  # one training image in so many is drawn at camera size and shrunk


def train_scenes(count: int, seed: int = 0) -> list[Scene]:
    """Return the first scenes to learn from; another `seed` takes others from the same range of generators."""
    return _scenes(TRAIN_SEEDS, count, first=seed * 100_000)


def test_scenes(count: int) -> list[Scene]:
    """Return the first held-out scenes."""
    return _scenes(TEST_SEEDS, count)


test_scenes.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def _scenes(seeds: range, count: int, first: int = 0) -> list[Scene]:
    if first + count > len(seeds):
        raise ValueError(f"expected at most {len(seeds)} scenes of {seeds}, got {first} + {count}: take a lower seed")
    return [random_scene(np.random.default_rng(seed), ARM_SHARE) for seed in seeds[first : first + count]]


def check_disjoint(train: Iterable[Scene], test: Iterable[Scene]) -> None:
    """Raise ValueError if a scene is in both (compared by a hash of everything that is drawn)."""
    shared = {_digest(scene) for scene in train} & {_digest(scene) for scene in test}
    if shared:
        raise ValueError(f"expected no held-out scene among those to learn from, got {len(shared)}")


def _digest(scene: Scene) -> str:
    return hashlib.sha256(repr(scene).encode()).hexdigest()


def model_input(image: Image) -> Image:
    """Return a camera image as the models take it, BGR uint8 [192, 256, 3]."""
    return _shrunk(image, cv2.INTER_AREA)


def training_images(scenes: Sequence[Scene]) -> Image:
    """Return the scenes as model inputs, BGR uint8 [N, 192, 256, 3].

    Most are drawn at that size; every fifth is drawn at camera size and shrunk, in turn with one of the two
    interpolations that a camera image may meet.
    """
    images = np.empty((len(scenes), INPUT_HEIGHT_PX, INPUT_WIDTH_PX, 3), np.uint8)
    for i, scene in enumerate(scenes):
        if i % _CAMERA_EVERY:
            images[i] = render(scene, INPUT_WIDTH_PX, INPUT_HEIGHT_PX)
        else:
            images[i] = _shrunk(render(scene), cv2.INTER_LINEAR if i % (2 * _CAMERA_EVERY) else cv2.INTER_AREA)
    return images


def _shrunk(image: Image, interpolation: int) -> Image:
    shrunk = cv2.resize(image, (INPUT_WIDTH_PX, INPUT_HEIGHT_PX), interpolation=interpolation)
    return np.ascontiguousarray(shrunk, dtype=np.uint8)


def sample_sheet(scenes: Sequence[Scene], columns: int = 3) -> Image:
    """Return a grid of scenes with their boxes and sentences, BGR uint8, in coarse colours that a PNG packs well."""
    width, height, strip = 320, 240, 20
    scale = width / WIDTH_PX
    tiles = []
    for scene in scenes:
        image = cv2.resize(render(scene), (width, height), interpolation=cv2.INTER_AREA) // 16 * 16 + 8
        tile = np.full((height + strip, width, 3), 255, np.uint8)
        tile[:height] = image
        for item in scene.items:
            x0, y0, x1, y1 = (round(value * scale) for value in item.box())
            cv2.rectangle(tile, (x0 - 2, y0 - 2), (x1 + 2, y1 + 2), (255, 255, 255), 1)
            cv2.putText(tile, item.name, (x0, max(8, y0 - 5)), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255))
        cv2.putText(tile, sentence(scene.items), (3, height + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0))
        tiles.append(tile)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.ascontiguousarray(np.vstack(rows), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a sheet of sample scenes, PNG.")
    parser.add_argument("--sheet", type=Path, default=Path(__file__).resolve().parents[1] / "models" / "samples.png")
    parser.add_argument("--scenes", type=int, default=9)
    args = parser.parse_args()
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet = sample_sheet(train_scenes(args.scenes))
    if not cv2.imwrite(str(args.sheet), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f"cannot write {args.sheet}")
    print(f"{args.sheet}: {args.sheet.stat().st_size} bytes")


if __name__ == "__main__":
    main()
