"""The simulated arm: two joints in the plane, driven by joint velocities through a first-order lag.

Angles are counter-clockwise and 0 points right in the image, as in `scenes.arm_at`. No clock is read: every
time is an argument [s].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.demo.scenes import BASE_PX, LINK_PX

Vector = NDArray[np.float64]
JOINT_NAMES = ("shoulder", "elbow")


@dataclass(frozen=True)
class ArmLimits:
    """How far and how fast each joint may go; the elbow never straightens, so `inverse` has one branch."""

    position_rad: tuple[tuple[float, float], ...] = ((-0.3, 3.2), (0.2, 2.8))
    velocity_rad_s: tuple[float, ...] = (2.5, 2.5)


class Arm:
    """A two-joint arm whose joint velocities follow their command as exp(-t / time constant).

    Args:
        dead_man_s: a command older than this no longer counts, and the arm brakes.
        position_rad: where it starts, at rest; clamped to the limits.
    """

    def __init__(
        self,
        limits: ArmLimits | None = None,
        time_constant_s: float = 0.05,
        dead_man_s: float = 0.3,
        position_rad: Sequence[float] | Vector = (1.0, 1.5),
    ) -> None:
        self.limits = limits or ArmLimits()
        self.time_constant_s = time_constant_s
        self.dead_man_s = dead_man_s
        self._lower, self._upper = np.array(self.limits.position_rad, dtype=np.float64).T
        self._fastest = np.array(self.limits.velocity_rad_s, dtype=np.float64)
        self.position_rad: Vector = np.clip(_vector(position_rad, "position [rad]"), self._lower, self._upper)
        self.velocity_rad_s: Vector = np.zeros(2)
        self.braking = True
        self._target: Vector = np.zeros(2)
        self._expires_s = -np.inf
        self._now_s: float | None = None

    def command(self, velocity_rad_s: Sequence[float] | Vector, now_s: float) -> None:
        """Advance to `now_s` and follow these joint velocities from there, clamped to the limits.

        Raises:
            ValueError: not two finite numbers; the arm goes on as before.
        """
        target = _vector(velocity_rad_s, "velocity [rad/s]")
        self.advance(now_s)
        self._target = np.clip(target, -self._fastest, self._fastest)
        self._expires_s = now_s + self.dead_man_s
        self.braking = False

    def advance(self, now_s: float) -> None:
        """Move on to `now_s`; a time that is not later than the last one changes nothing."""
        if self._now_s is None:
            self._now_s = now_s
        if now_s <= self._now_s:
            return
        driven_until_s = min(max(self._expires_s, self._now_s), now_s)
        self._step(self._target, driven_until_s - self._now_s)
        self._step(np.zeros(2), now_s - driven_until_s)
        self._now_s = now_s
        self.braking = now_s >= self._expires_s

    def _step(self, target: Vector, duration_s: float) -> None:
        self.position_rad, self.velocity_rad_s = follow(
            self.position_rad, self.velocity_rad_s, target, duration_s, self.time_constant_s
        )
        self.position_rad, self.velocity_rad_s = stop_at_limits(
            self.position_rad, self.velocity_rad_s, self._lower, self._upper
        )


class PositionDrive:
    """Lets an arm follow positions: a controller on the robot, which commands velocities at its own rate.

    velocity = the goal's own + gain * (goal - position), as long as the goal is no older than the arm's dead man.
    """

    def __init__(self, arm: Arm, gain_1_s: float = 8.0) -> None:
        self._arm, self._gain_1_s = arm, gain_1_s
        self._goal: Vector | None = None
        self._speed: Vector = np.zeros(2)
        self._since_s = 0.0

    def goal(
        self, position_rad: Sequence[float] | Vector, velocity_rad_s: Sequence[float] | Vector, now_s: float
    ) -> None:
        """Follow this position [rad], which moves on with this velocity [rad/s], from now on.

        Raises:
            ValueError: not two finite numbers each; the arm goes on as before.
        """
        goal, speed = _vector(position_rad, "position [rad]"), _vector(velocity_rad_s, "velocity [rad/s]")
        self._goal, self._speed, self._since_s = goal, speed, now_s

    def advance(self, now_s: float) -> None:
        """Command the arm for the time after `now_s`; to be called at the controller's rate."""
        self._arm.advance(now_s)
        if self._goal is None or now_s - self._since_s > self._arm.dead_man_s:
            return
        self._arm.command(self._speed + self._gain_1_s * (self._goal - self._arm.position_rad), now_s)


def follow(
    position: Vector, velocity: Vector, target: Vector, duration_s: float, time_constant_s: float
) -> tuple[Vector, Vector]:
    """Return position [rad] and velocity [rad/s] `duration_s` later: the exact first-order solution, any shape."""
    left = float(np.exp(-duration_s / time_constant_s))
    excess = velocity - target
    return position + target * duration_s + excess * (time_constant_s * (1 - left)), target + excess * left


def stop_at_limits(position: Vector, velocity: Vector, lower: Vector, upper: Vector) -> tuple[Vector, Vector]:
    """Return position [rad], clamped, and velocity [rad/s], zero where it was clamped."""
    inside = np.clip(position, lower, upper)
    return inside, np.where(inside == position, velocity, 0.0)


def tip(position_rad: Sequence[float] | Vector) -> tuple[float, float]:
    """Return where the tip is, in px of a 640x480 image."""
    x, y = tips(np.asarray(position_rad, dtype=np.float64))
    return float(x), float(y)


def tips(position_rad: Vector) -> Vector:
    """Return the tips [..., 2] in px for joint angles [..., 2]."""
    shoulder, both = position_rad[..., 0], position_rad[..., 0] + position_rad[..., 1]
    x = BASE_PX[0] + LINK_PX * (np.cos(shoulder) + np.cos(both))
    y = BASE_PX[1] - LINK_PX * (np.sin(shoulder) + np.sin(both))
    return np.stack([x, y], axis=-1)


def inverse(x_px: Any, y_px: Any) -> Vector:
    """Return joint angles [..., 2] in rad that put the tip there, with the elbow bent counter-clockwise.

    A point out of reach gives the stretched arm that points at it. Shoulder angles count from straight down in
    the image (-pi/2), so that they are continuous wherever a target can be.
    """
    right = np.asarray(x_px, dtype=np.float64) - BASE_PX[0]
    up = BASE_PX[1] - np.asarray(y_px, dtype=np.float64)
    elbow = 2 * np.arccos(np.clip(np.hypot(right, up) / (2 * LINK_PX), 0.0, 1.0))
    bearing = np.arctan2(-right, up) + np.pi / 2
    return np.stack([bearing - elbow / 2, elbow], axis=-1)


def _vector(values: Sequence[float] | Vector, what: str) -> Vector:
    vector = np.array(values, dtype=np.float64)
    if vector.shape != (2,) or not np.isfinite(vector).all():
        raise ValueError(f"expected two finite numbers as {what} of {JOINT_NAMES}, got {values!r}")
    return vector
