"""An expert that knows the puck's motion, and what the robot sees meanwhile: many robots at once, with delays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perf_inference.demo import world
from perf_inference.demo.arm import ArmLimits, Vector, follow, inverse, stop_at_limits, tips
from perf_inference.demo.evaluate import FRAME_S, SAMPLE_S, SAMPLES_PER_TICK, WINDOW
from perf_inference.demo.scenes import RADII_PX
from perf_inference.demo.world import CENTRE_PX, CONTACT_N_PER_PX, EPISODE_S, TRACK_RATIO

GAIN_1_S = 4.0  # of the expert
LEAD_S = 0.13  # action delay + half a tick + the arm's time constant: when an action has its effect
PICTURE_AGE_S = (0.02, 0.09 + FRAME_S)  # wider than in `evaluate`: a busy computer is slower
ACTION_SAMPLES = (1, 6)  # delay of an action, in samples of 10 ms
TIME_CONSTANT_S = 0.05

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """What the head saw and what the expert did: puck [N, 2] in px, joints, force, action."""

    puck: Floats
    joints: Floats
    force: Floats
    action: Floats


class Pucks:
    """Many pucks at once."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        tracks = [world.random_track(rng) for _ in range(count)]
        self.starts_rad = np.array([world.random_start(rng, track) for track in tracks])
        self.radius_px = np.array(RADII_PX)[rng.choice(world.TARGET_RANKS, size=count)] * rng.uniform(0.95, 1.05, count)
        self._shape = np.array([(t.half_height_px, t.turn_rad_s, t.phase_rad) for t in tracks]).T

    def at(self, t_s: float | Vector) -> Vector:
        """Return the centres [N, 2] in px."""
        half_height, turn, phase = self._shape
        angle = phase + turn * t_s
        x = CENTRE_PX[0] + TRACK_RATIO * half_height * np.cos(angle)
        return np.stack([x, CENTRE_PX[1] - half_height * np.sin(angle)], axis=1)

    def force(self, t_s: float, position: Vector) -> Vector:
        """Return what `world.contact_force` says [N, 3] in N."""
        offset = (tips(position) - self.at(t_s)) * (1.0, -1.0)
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-6)
        push = CONTACT_N_PER_PX * np.maximum(self.radius_px - distance, 0.0)
        return np.concatenate([push[:, None] * offset / distance[:, None], push[:, None] / 2], axis=1)


def expert(pucks: Pucks, t_s: float, position: Vector, velocity: Vector) -> Vector:
    """Return joint velocities [N, 2] in rad/s: the puck's own motion, and a share of the tip's error when they act."""

    def goal(at_s: float) -> Vector:
        return inverse(*pucks.at(at_s).T)

    ahead_s, fastest = t_s + LEAD_S, np.array(ArmLimits().velocity_rad_s)
    motion = (goal(ahead_s + 0.01) - goal(ahead_s - 0.01)) / 0.02
    action = motion + GAIN_1_S * (goal(ahead_s) - position - velocity * LEAD_S)
    return np.clip(action, -fastest, fastest)


def rollouts(rng: np.random.Generator, count: int, locator_px: float, episodes: int = 3) -> Samples:
    """Return the samples of `count` robots through some episodes; an expert with noise drives them."""
    lower, upper = np.array(ArmLimits().position_rad).T
    fastest = np.array(ArmLimits().velocity_rad_s)
    steps = round(EPISODE_S / SAMPLE_S)
    joints = np.zeros((count, WINDOW + episodes * steps, 4), np.float32)
    force = np.zeros((count, WINDOW + episodes * steps, 6), np.float32)
    seen: list[Samples] = []
    row = 0
    for _ in range(episodes):
        pucks = Pucks(rng, count)
        position, velocity = pucks.starts_rad, np.zeros((count, 2))
        if row == 0:
            joints[:, :WINDOW, :2], row = position[:, None], WINDOW
        driven = following = sway = np.zeros((count, 2))
        due = 0
        roughness = rng.uniform(0, 1.2, size=(count, 1)) * (rng.random((count, 1)) < 0.7)
        for k in range(steps):
            t_s = k * SAMPLE_S
            joints[:, row] = np.concatenate([position, velocity], axis=1)
            force[:, row, :3] = pucks.force(t_s, position)
            row += 1
            if k % SAMPLES_PER_TICK == 0:
                wanted = expert(pucks, t_s, position, velocity)
                puck = pucks.at(t_s - rng.uniform(*PICTURE_AGE_S, size=count)) + rng.normal(0, locator_px, (count, 2))
                windows = joints[:, row - WINDOW : row].copy(), force[:, row - WINDOW : row].copy()
                seen.append(Samples(puck.astype(np.float32), *windows, wanted.astype(np.float32)))
                sway = 0.8 * sway + roughness * rng.normal(0, 1.0, size=(count, 2))
                following, due = wanted + sway, k + int(rng.integers(*ACTION_SAMPLES))
            if k == due:
                driven = np.clip(following, -fastest, fastest)
            position, velocity = follow(position, velocity, driven, SAMPLE_S, TIME_CONSTANT_S)
            position, velocity = stop_at_limits(position, velocity, lower, upper)
    return Samples(*(np.concatenate([getattr(s, name) for s in seen]) for name in Samples.__annotations__))
