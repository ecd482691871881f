"""The simulated table: a red puck circles on it, and the arm's tip has to follow the puck for a while.

Everything is a function of the seed, the episode's index and the time [s] since the episode's start.
The puck covers more than the width of the reaching disc while the tip has to stay in it, so a tip that stands
still never reaches it, wherever it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.demo import scenes
from perf_inference.demo.arm import ArmLimits, Vector, tip
from perf_inference.demo.scenes import BASE_PX, COLORS, HEIGHT_PX, RADII_PX, SHAPES, WIDTH_PX, Image, Item, Scene

EPISODE_S = 5.0
REACH_PX = 22.0  # the tip is on the puck when it is this near to its centre
REACH_HOLD_S = 0.5  # and has reached it when it was that near for so long
CENTRE_PX = (320.0, 220.0)  # of the puck's track
TRACK_RATIO = 1.6  # width of the track's ellipse / its height
TRACK_HALF_HEIGHT_PX = (88.0, 100.0)
TURN_RAD_S = (1.08, 1.25)  # counter-clockwise in the image; the slowest puck makes 95 px/s
TARGET_RANKS = (1, 2)  # in RADII_PX
START_DISTANCE_PX = 110.0  # of the tip from the puck, at least
CONTACT_N_PER_PX = 0.2
_CLEARANCE_PX = 8.0  # between the puck's track and the other items
_CORNER = 1.5  # how far an outline reaches, in radii
_BASE_CLEARANCE_PX = 90.0
_NOISE_SHIFT_PX = 64


@dataclass(frozen=True)
class Track:
    """An ellipse round `CENTRE_PX`, run through at a steady rate."""

    half_height_px: float
    turn_rad_s: float
    phase_rad: float

    def at(self, t_s: float | Vector) -> Vector:
        """Return the positions [..., 2] in px at the times [...] in s."""
        phase = self.phase_rad + self.turn_rad_s * np.asarray(t_s, dtype=np.float64)
        x = CENTRE_PX[0] + TRACK_RATIO * self.half_height_px * np.cos(phase)
        y = CENTRE_PX[1] - self.half_height_px * np.sin(phase)
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class Episode:
    """One puck to reach; `seed` fixes the looks of table and lamp."""

    track: Track
    radius_px: float
    distractors: tuple[Item, ...]
    start_position_rad: tuple[float, float]
    seed: int

    def target_at(self, t_s: float) -> Item:
        """Return the red puck as it lies at `t_s`."""
        x, y = self.track.at(t_s)
        return Item("circle", "red", float(x), float(y), self.radius_px)

    def scene_at(self, t_s: float, position_rad: tuple[float, float] | Vector) -> Scene:
        """Return the table with the arm over it."""
        arm = scenes.arm_at(float(position_rad[0]), float(position_rad[1]))
        return Scene((*self.distractors, self.target_at(t_s)), self.seed, arm)


class World:
    """The episodes of one seed, in any order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def episode(self, index: int) -> Episode:
        """Return episode `index` (>= 0), always the same one."""
        rng = np.random.default_rng((self.seed, index))
        track = random_track(rng)
        rank = int(rng.choice(TARGET_RANKS))
        radius_px = RADII_PX[rank] * float(rng.uniform(0.95, 1.05))
        return Episode(
            track=track,
            radius_px=radius_px,
            distractors=_distractors(rng, track, rank, radius_px),
            start_position_rad=random_start(rng, track),
            seed=int(rng.integers(2**31)),
        )


def random_track(rng: np.random.Generator) -> Track:
    """Return one track out of all that an episode can have."""
    return Track(
        half_height_px=float(rng.uniform(*TRACK_HALF_HEIGHT_PX)),
        turn_rad_s=float(rng.uniform(*TURN_RAD_S)),
        phase_rad=float(rng.uniform(0, 2 * np.pi)),
    )


def random_start(rng: np.random.Generator, track: Track) -> tuple[float, float]:
    """Return joint angles [rad] that put the tip well in the image, away from the puck."""
    (shoulder_low, shoulder_high), (elbow_low, elbow_high) = ArmLimits().position_rad
    while True:
        position = (float(rng.uniform(shoulder_low, shoulder_high)), float(rng.uniform(elbow_low, elbow_high)))
        x, y = tip(position)
        inside = 40 <= x <= WIDTH_PX - 40 and 40 <= y <= BASE_PX[1] - 70
        if inside and np.hypot(*(track.at(0.0) - (x, y))) >= START_DISTANCE_PX:
            return position


def _distractors(rng: np.random.Generator, track: Track, rank: int, radius_px: float) -> tuple[Item, ...]:
    """Return 1 to 3 items of other colours and ranks than the puck, clear of its track and of each other."""
    path = track.at(np.arange(0, 2 * np.pi, 0.05) / track.turn_rad_s)
    count = int(rng.integers(1, 4))
    ranks = rng.permutation([r for r in range(len(RADII_PX)) if r != rank])[:count]
    colors = rng.permutation([color for color in COLORS if color != "red"])[:count]
    items: list[Item] = []
    while len(items) < count:
        radius = RADII_PX[ranks[len(items)]] * float(rng.uniform(0.95, 1.05))
        margin = radius * _CORNER
        x = float(rng.uniform(margin, WIDTH_PX - margin))
        y = float(rng.uniform(margin, HEIGHT_PX - margin))
        others = [(i.x_px, i.y_px, i.radius_px * _CORNER) for i in items]
        others += [(*BASE_PX, _BASE_CLEARANCE_PX), *((px, py, radius_px) for px, py in path)]
        if all(np.hypot(x - ox, y - oy) > reach + radius * _CORNER + _CLEARANCE_PX for ox, oy, reach in others):
            color, shape = str(colors[len(items)]), str(rng.choice(SHAPES))
            items.append(Item(shape, color, x, y, radius, float(rng.uniform(-0.3, 0.3))))
    return tuple(items)


class Camera:
    """Draws one episode as `scenes.render` does, fast: all that stands still is drawn and lit once.

    An image differs from `render(episode.scene_at(...))` only in its sensor noise, which is cut from one field
    at a place that the time chooses. One thread at a time.
    """

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        rng = np.random.default_rng(episode.seed)
        self._table = scenes.background(rng, WIDTH_PX, HEIGHT_PX)
        scenes.draw(self._table, episode.distractors, None, rng)
        self._target_rng = rng
        self._target_state = rng.bit_generator.state
        scenes.draw(self._table.copy(), (episode.target_at(0.0),), None, rng)  # as `render` draws random numbers
        fall, level = scenes.lamp(rng, WIDTH_PX, HEIGHT_PX)
        self._lamp = np.ascontiguousarray(fall * level, dtype=np.float32)
        rng.integers(2**31)
        sigma = rng.uniform(1.0, 7.0)
        size = (HEIGHT_PX + _NOISE_SHIFT_PX, WIDTH_PX + _NOISE_SHIFT_PX, 3)
        noise = rng.standard_normal(size, dtype=np.float32) * np.float32(sigma)
        self._noise: NDArray[np.int16] = np.round(noise).astype(np.int16)

    def image(self, t_s: float, position_rad: tuple[float, float] | Vector) -> Image:
        """Return a new image, BGR uint8 [480, 640, 3], of the table at `t_s` with the arm in this pose."""
        scene = self._episode.scene_at(t_s, position_rad)
        image = self._table.copy()
        self._target_rng.bit_generator.state = self._target_state
        scenes.draw(image, scene.items[-1:], scene.arm, self._target_rng)
        lit = cv2.multiply(image, self._lamp, dtype=cv2.CV_8U)
        row, column = np.random.default_rng(abs(round(t_s * 1e6))).integers(_NOISE_SHIFT_PX, size=2)
        noise = self._noise[row : row + HEIGHT_PX, column : column + WIDTH_PX]
        return np.asarray(cv2.add(lit, noise, dst=image, dtype=cv2.CV_8U), dtype=np.uint8)


class Judge:
    """Says when the tip has been on the puck for `REACH_HOLD_S` without a break."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._since_s: float | None = None
        self.reached = False

    def update(self, t_s: float, tip_px: tuple[float, float]) -> bool:
        """Take the tip's place at `t_s` (in rising order) and return whether the puck is, or was, reached."""
        target = self._episode.target_at(t_s)
        if np.hypot(tip_px[0] - target.x_px, tip_px[1] - target.y_px) > REACH_PX:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = t_s
        elif t_s - self._since_s >= REACH_HOLD_S - 1e-9:
            self.reached = True
        return self.reached


def contact_force(tip_px: tuple[float, float], target: Item) -> tuple[float, float, float]:
    """Return the force [N] on the tip: right, up (in the image) and out of the table.

    The puck pushes like a spring from its centre outwards, and half as much upwards; there is no force off it.
    """
    right, up = tip_px[0] - target.x_px, target.y_px - tip_px[1]
    distance = float(np.hypot(right, up))
    push = CONTACT_N_PER_PX * (target.radius_px - distance)
    if push <= 0:
        return 0.0, 0.0, 0.0
    if distance == 0:
        return 0.0, 0.0, push / 2
    return push * right / distance, push * up / distance, push / 2
