"""Generated images: coloured shapes on a textured table, with boxes and a sentence for each.

A `Scene` is a value; `render` draws it at any size from the same numbers. The sizes of the items in one
scene differ by at least `RANK_RATIO`, so that "the largest" and "the second largest" are never a matter of
opinion: `sentence` names those two and how they lie to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

WIDTH_PX, HEIGHT_PX = 640, 480
SHAPES = ("circle", "square", "triangle", "star")
COLORS = {  # BGR
    "red": (40, 40, 215),
    "green": (60, 170, 50),
    "blue": (210, 90, 30),
    "yellow": (40, 210, 230),
    "purple": (190, 50, 160),
    "cyan": (205, 195, 40),
}
CLASS_NAMES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
RELATIONS = ("left of", "right of", "above", "below")
RADII_PX = (48.0, 37.0, 28.5, 22.0)  # of the disc of equal area, one per rank; in pixels of a 640x480 image
RANK_RATIO = 1.15  # between two ranks, after a jitter of 5 % on each
MAX_OCCLUSION = 0.3
BASE_PX = (320.0, 450.0)  # where the arm stands in the image
LINK_PX = 190.0  # the length of each of its two links
_SHIFT = 4  # cv2's fixed-point bits: sub-pixel edges
ARM_COLOR = (150, 145, 140)
JOINT_COLOR = (70, 65, 60)


@dataclass(frozen=True)
class Item:
    """One shape, in pixels of a 640x480 image."""

    shape: str
    color: str
    x_px: float
    y_px: float
    radius_px: float  # of the disc with the same area
    angle_rad: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"

    def outline(self) -> NDArray[np.float64]:
        """Return the corners [N, 2] in px, scaled so that every shape of one radius has one area."""
        unit = _UNIT_OUTLINES[self.shape]
        c, s = np.cos(self.angle_rad), np.sin(self.angle_rad)
        turned: NDArray[np.float64] = unit @ np.array([[c, s], [-s, c]]) * self.radius_px
        corners: NDArray[np.float64] = turned + np.array([self.x_px, self.y_px])
        return corners

    def box(self) -> tuple[float, float, float, float]:
        """Return (x0, y0, x1, y1) in px around the whole outline, hidden parts included."""
        points = self.outline()
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


def _unit_outlines() -> dict[str, NDArray[np.float64]]:
    def polygon(angles: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
        points = np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)
        nxt = np.roll(points, -1, axis=0)
        area = 0.5 * abs(np.sum(points[:, 0] * nxt[:, 1] - points[:, 1] * nxt[:, 0]))
        unit: NDArray[np.float64] = points * np.sqrt(np.pi / area)
        return unit

    def turn(n: int, offset: float = 0.0) -> NDArray[np.float64]:
        angles: NDArray[np.float64] = np.arange(n, dtype=np.float64) * (2 * np.pi / n) + offset
        return angles

    return {
        "circle": polygon(turn(64), np.ones(64)),
        "square": polygon(turn(4, np.pi / 4), np.ones(4)),
        "triangle": polygon(turn(3), np.ones(3)),
        "star": polygon(turn(10), np.tile([1.0, 0.42], 5)),
    }


_UNIT_OUTLINES = _unit_outlines()


@dataclass(frozen=True)
class Arm:
    """The links of an arm in the image: base, elbow and tip [3, 2] in px of a 640x480 image."""

    points_px: tuple[tuple[float, float], ...]
    width_px: float = 14.0


@dataclass(frozen=True)
class Scene:
    """What is on the table and how it is lit; `seed` fixes texture, shading and sensor noise."""

    items: tuple[Item, ...]  # drawn in this order: later ones cover earlier ones
    seed: int
    arm: Arm | None = None


def random_scene(rng: np.random.Generator, arm_share: float = 0.0) -> Scene:
    """Return 1 to 4 items of distinct sizes, each at least 70 % visible, with a clear relation of the two largest.

    Args:
        arm_share: share of the scenes [0, 1] that also show an arm.
    """
    count = int(rng.integers(1, 5))
    while True:
        ranks = np.sort(rng.choice(len(RADII_PX), size=count, replace=False))
        items = [_random_item(rng, RADII_PX[rank]) for rank in ranks]
        order = rng.permutation(count)
        scene_items = tuple(items[i] for i in order)
        if max(occlusion(scene_items)) <= MAX_OCCLUSION and (count == 1 or _relation(items[0], items[1]) is not None):
            break
    arm = _random_arm(rng) if rng.random() < arm_share else None
    return Scene(scene_items, int(rng.integers(2**31)), arm)


def _random_item(rng: np.random.Generator, radius_px: float) -> Item:
    radius = radius_px * rng.uniform(0.95, 1.05)
    margin = radius * 1.5  # the longest corner of the triangle stays in the image
    return Item(
        shape=str(rng.choice(SHAPES)),
        color=str(rng.choice(list(COLORS))),
        x_px=float(rng.uniform(margin, WIDTH_PX - margin)),
        y_px=float(rng.uniform(margin, HEIGHT_PX - margin)),
        radius_px=float(radius),
        angle_rad=float(rng.uniform(-0.3, 0.3)),
    )


def _random_arm(rng: np.random.Generator) -> Arm:
    return arm_at(rng.uniform(0.1, np.pi - 0.1), rng.uniform(-2.6, 2.6))


def arm_at(shoulder_rad: float, elbow_rad: float) -> Arm:
    """Return the arm in the image for its joint angles (counter-clockwise; 0 points right in the image)."""
    base = np.array(BASE_PX)
    knee = base + LINK_PX * np.array([np.cos(shoulder_rad), -np.sin(shoulder_rad)])
    tip = knee + LINK_PX * np.array([np.cos(shoulder_rad + elbow_rad), -np.sin(shoulder_rad + elbow_rad)])
    return Arm(tuple((float(x), float(y)) for x, y in (base, knee, tip)))


def occlusion(items: Sequence[Item]) -> list[float]:
    """Return the share [0, 1] of each item that later items cover."""
    scale = 0.25
    size = (int(HEIGHT_PX * scale), int(WIDTH_PX * scale))
    masks = []
    for item in items:
        mask = np.zeros(size, np.uint8)
        cv2.fillPoly(mask, [_fixed(item.outline(), scale)], 1, shift=_SHIFT)
        masks.append(mask.astype(bool))
    shares = []
    for i, mask in enumerate(masks):
        covered = np.zeros(size, bool)
        for later in masks[i + 1 :]:
            covered |= later
        shares.append(float((mask & covered).sum() / max(1, mask.sum())))
    return shares


def sentence(items: Sequence[Item]) -> str:
    """Return "a red circle left of a blue square": the largest, and how it lies to the second largest, if any.

    Raises:
        ValueError: no items, or two largest ones whose relation is not clear.
    """
    if not items:
        raise ValueError("a sentence needs at least one item, got none")
    largest, *rest = sorted(items, key=lambda item: -item.radius_px)
    if not rest:
        return f"a {largest.name}"
    relation = _relation(largest, rest[0])
    if relation is None:
        raise ValueError(f"no clear relation between the {largest.name} and the {rest[0].name}")
    return f"a {largest.name} {relation} a {rest[0].name}"


def _relation(a: Item, b: Item) -> str | None:
    dx, dy = a.x_px - b.x_px, a.y_px - b.y_px
    if max(abs(dx), abs(dy)) < 40 or max(abs(dx), abs(dy)) < 1.3 * min(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def render(scene: Scene, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Image:
    """Return the image, BGR uint8 [height, width, 3]."""
    rng = np.random.default_rng(scene.seed)
    image = background(rng, width_px, height_px)
    draw(image, scene.items, scene.arm, rng)
    return light(image, rng)


def background(rng: np.random.Generator, width_px: int, height_px: int) -> Image:
    """Return a textured, weakly coloured table top, BGR uint8 [height, width, 3]."""
    base = rng.uniform(60, 190) + rng.uniform(-18, 18, size=3)
    image = np.broadcast_to(base, (height_px, width_px, 3)).astype(np.float32)
    for cells, depth in ((4, 22.0), (14, 12.0), (48, 9.0)):
        coarse = rng.normal(0, depth, size=(cells, cells, 1)).astype(np.float32)
        image = image + cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)[..., None]
    if rng.random() < 0.5:  # planks
        period = rng.uniform(30, 120) * width_px / WIDTH_PX
        angle = rng.uniform(0, np.pi)
        ys, xs = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
        phase = (xs * np.cos(angle) + ys * np.sin(angle)) * (2 * np.pi / period)
        image = image + (rng.uniform(4, 14) * np.sign(np.sin(phase)))[..., None]
    return np.ascontiguousarray(np.clip(image, 0, 255), dtype=np.uint8)


def draw(image: Image, items: Sequence[Item], arm: Arm | None, rng: np.random.Generator) -> None:
    """Draw the items in order, then the arm, into the image."""
    scale = image.shape[1] / WIDTH_PX
    for item in items:
        color = np.clip(np.array(COLORS[item.color]) + rng.uniform(-18, 18, size=3), 0, 255)
        cv2.fillPoly(image, [_fixed(item.outline(), scale)], color.tolist(), cv2.LINE_AA, _SHIFT)
    if arm is not None:
        points = [tuple(int(v) for v in p) for p in _fixed(np.array(arm.points_px), scale)]
        width = max(1, round(arm.width_px * scale))
        for a, b in pairwise(points):
            cv2.line(image, a, b, ARM_COLOR, width, cv2.LINE_AA, _SHIFT)
        for p in points:
            cv2.circle(image, p, int(arm.width_px * 0.55 * scale * 2**_SHIFT), JOINT_COLOR, -1, cv2.LINE_AA, _SHIFT)


def light(image: Image, rng: np.random.Generator) -> Image:
    """Return the image under a random lamp (level, tint, fall-off) with sensor noise."""
    height, width = image.shape[:2]
    fall, level = lamp(rng, width, height)
    lit = image * fall * level
    noise = np.empty(lit.shape, np.float32)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, 0, float(rng.uniform(1.0, 7.0)))
    return np.ascontiguousarray(np.clip(lit + noise, 0, 255), dtype=np.uint8)


def lamp(rng: np.random.Generator, width_px: int, height_px: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return a random lamp: its fall-off [height, width, 1] and its level per channel [3], both factors."""
    level = rng.uniform(0.7, 1.2) * (1 + rng.uniform(-0.06, 0.06, size=3))
    slope_x, slope_y = rng.uniform(-0.18, 0.18, size=2)
    fall_x = 1 + slope_x * np.linspace(-1, 1, width_px, dtype=np.float32)
    fall_y = 1 + slope_y * np.linspace(-1, 1, height_px, dtype=np.float32)
    return (fall_y[:, None] * fall_x[None, :])[..., None], level.astype(np.float32)


def _fixed(points: NDArray[Any], scale: float) -> NDArray[np.int32]:
    """Return px of a 640x480 image as cv2's fixed-point px of an image `scale` times as wide."""
    return np.round(points * scale * 2**_SHIFT).astype(np.int32)
