"""The simulated robot's trajectory controller: follows knots as ros2_control's JointTrajectoryController does.

A new trajectory begins where the controller's goal is at that time, and goes to its first knot; between knots that have
velocities the way is a cubic (Hermite), otherwise a straight line. After the last knot the goal stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perf_inference.demo.arm import Arm, PositionDrive, Vector


@dataclass(frozen=True)
class Knot:
    """Where to be, and how fast, some time after the trajectory came."""

    after_s: float
    position_rad: Vector
    velocity_rad_s: Vector | None = None


class TrajectoryDrive:
    """Lets an arm follow trajectories, by commands at the controller's own rate."""

    def __init__(self, arm: Arm, gain_1_s: float = 8.0) -> None:
        self._arm, self._drive = arm, PositionDrive(arm, gain_1_s)
        self._knots: list[Knot] = []
        self._began_s = 0.0

    def follow(self, knots: Sequence[Knot], now_s: float) -> None:
        """Take a trajectory in place of the one before.

        Raises:
            ValueError: none, times that do not rise, or positions that are not two finite numbers.
        """
        times = [knot.after_s for knot in knots]
        if not knots or times[0] < 0 or any(b <= a for a, b in pairwise(times)):
            raise ValueError(f"a trajectory must have knots at rising times, got {times[:5]}")
        for knot in knots:
            for values in (knot.position_rad, knot.velocity_rad_s):
                if values is not None and (np.shape(values) != (2,) or not np.isfinite(values).all()):
                    raise ValueError(f"a knot must have two finite numbers, got {values!r}")
        position, velocity = self._goal(now_s)
        self._knots, self._began_s = [Knot(0.0, position, velocity), *knots], now_s
        if times[0] == 0:
            self._knots.pop(0)

    def advance(self, now_s: float) -> None:
        """Command the arm for the time after `now_s`."""
        if self._knots:
            self._drive.goal(*self._goal(now_s), now_s)
        self._drive.advance(now_s)

    def _goal(self, now_s: float) -> tuple[Vector, Vector]:
        """Return position and velocity of the way at this time."""
        if not self._knots:
            return self._arm.position_rad.copy(), np.zeros(2)
        t = now_s - self._began_s
        after = next((i for i, knot in enumerate(self._knots) if knot.after_s > t), None)
        if after is None:
            return np.array(self._knots[-1].position_rad), np.zeros(2)
        if after == 0:
            return np.array(self._knots[0].position_rad), np.zeros(2)
        a, b = self._knots[after - 1], self._knots[after]
        return _between(a, b, t)


def _between(a: Knot, b: Knot, t: float) -> tuple[Vector, Vector]:
    """Return position and velocity between two knots: a cubic where both have velocities, else a straight line."""
    h = b.after_s - a.after_s
    x = (t - a.after_s) / h
    start, end = np.asarray(a.position_rad), np.asarray(b.position_rad)
    if b.velocity_rad_s is None or a.velocity_rad_s is None:
        return start + x * (end - start), (end - start) / h
    m0, m1 = np.asarray(a.velocity_rad_s) * h, np.asarray(b.velocity_rad_s) * h
    position = (
        (2 * x**3 - 3 * x**2 + 1) * start
        + (x**3 - 2 * x**2 + x) * m0
        + (3 * x**2 - 2 * x**3) * end
        + (x**3 - x**2) * m1
    )
    slope = 6 * (x**2 - x) * start + (3 * x**2 - 4 * x + 1) * m0 + 6 * (x - x**2) * end + (3 * x**2 - 2 * x) * m1
    return position, slope / h
