"""Objects that move, cross and hide each other, as a detector sees them, and how often a tracker takes one for another.

Each turns a little, keeps inside the image, is hidden for ten images now and then, and fades before and after; what
another one nearer to the camera covers is scored lower, and not seen where little of it is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 480
RATE_HZ = 30
HIDDEN_IMAGES, FADING_IMAGES = 10, 2
_SIGHT = 0.88  # score of what nothing covers


class Seen(NamedTuple):
    """What is seen in one image."""

    boxes: NDArray[np.float32]  # [N, 4] xyxy [px]
    scores: NDArray[np.float32]
    objects: NDArray[np.int64]  # which object it is; -1: none is there

    def as_dict(self) -> dict[str, Any]:
        return {"boxes": self.boxes.tolist(), "scores": self.scores.tolist()}


def sequence(seed: int, objects: int = 10, images: int = 300) -> list[Seen]:
    """Return what is seen of so many objects."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60), (objects, 2))
    heading, speed = rng.uniform(0, 2 * np.pi, objects), rng.uniform(1.5, 5, objects)  # [px] an image
    size = rng.uniform((30, 40), (60, 90), (objects, 2))
    begins = [np.cumsum(rng.integers(40, 90, 8)) for _ in range(objects)]
    found = []
    for turn in range(images):
        heading += rng.normal(0, 0.02, objects)
        step = np.stack([np.cos(heading), np.sin(heading)], axis=1) * speed[:, None]
        outside = ((centre + step) < 30) | ((centre + step) > np.array([WIDTH, HEIGHT]) - 30)
        step[outside] *= -1
        heading = np.arctan2(step[:, 1], step[:, 0])
        centre = centre + step
        found.append(_seen(rng, centre, size, _hidden(begins, turn)))
    return found


def _hidden(begins: Sequence[NDArray[Any]], turn: int) -> NDArray[np.float64]:
    """Return how much of each object something that stands in the room hides, 0 to 1."""
    shares = []
    for own in begins:
        since = turn - own
        away = np.where(since < 0, -since, np.maximum(since - HIDDEN_IMAGES + 1, 0)).min()
        shares.append(max(0.0, 1 - away / (FADING_IMAGES + 1)))
    return np.array(shares)


def _seen(rng: Any, centre: NDArray[Any], size: NDArray[Any], hidden: NDArray[Any]) -> Seen:
    low, high = centre - size / 2, centre + size / 2
    covered = hidden.copy()
    for i in range(len(centre)):  # a lower number is nearer
        wide = np.clip(np.minimum(high[i], high[:i]) - np.maximum(low[i], low[:i]), 0, None)
        covered[i] = min(1.0, covered[i] + wide.prod(axis=1).sum() / size[i].prod())
    scores = _SIGHT - 0.8 * covered + rng.normal(0, 0.03, len(centre))
    there = np.flatnonzero((covered < 0.75) & (scores > 0.1))
    boxes = np.concatenate([low, high], axis=1)[there] + rng.normal(0, 1.0, (len(there), 4))
    chance = rng.random() < 0.1  # of one where nothing is, scored low
    if chance:
        corner = rng.uniform((0, 0), (WIDTH - 60, HEIGHT - 60))
        boxes = np.concatenate([boxes, [[*corner, *(corner + 50)]]])
    return Seen(
        boxes.astype(np.float32),
        np.append(scores[there], [0.3] if chance else []).clip(0.1, 0.99).astype(np.float32),
        np.append(there, [-1] if chance else []).astype(np.int64),
    )


def switches(images: Sequence[Seen], numbers: Sequence[Sequence[int]], above: float) -> tuple[int, int]:
    """Return how often an object got another number than it had last, and how many of it that score higher got none.

    Args:
        numbers: of each thing seen in each image; 0: none.
        above: only what scores higher counts, as only that is told.
    """
    last: dict[int, int] = {}
    changed = without = 0
    for image, given in zip(images, numbers, strict=True):
        for score, which, number in zip(image.scores.tolist(), image.objects.tolist(), given, strict=True):
            if which < 0 or score <= above:
                continue
            without += not number
            if number:
                changed += last.get(which, number) != number
                last[which] = number
    return changed, without
