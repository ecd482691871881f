"""How far a joint can get in one direction while it follows what it is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence


class Way:
    """Adds up the farthest way, piece by piece; slowing down takes the time that the joint's brakes need.

    Speeding up is taken to be instant, which is the farther way.
    """

    def __init__(self, velocity_rad_s: float, acceleration_rad_s2: float, expected_rad_s: float, latency_s: float):
        """Begin with the velocity that was measured.

        Args:
            acceleration_rad_s2: with which the joint brakes at least; inf: at once.
            expected_rad_s: the fastest that was sent; what is faster than that coasts for one latency.
        """
        self.rad = max(velocity_rad_s - max(expected_rad_s, 0.0), 0.0) * latency_s
        self._velocity, self._braking = velocity_rad_s, acceleration_rad_s2

    def go(self, duration_s: float, velocity_rad_s: float) -> None:
        """Follow one velocity for a time."""
        excess = self._velocity - velocity_rad_s
        if excess > 0 and self._braking != math.inf:
            slowing_s = min(excess / self._braking, duration_s)
            self.rad += self._velocity * slowing_s - self._braking * slowing_s * slowing_s / 2
            self._velocity -= self._braking * slowing_s
            duration_s -= slowing_s
        if duration_s > 0:
            self.rad += velocity_rad_s * duration_s
            self._velocity = velocity_rad_s

    def farthest_rad(self, ahead: Sequence[tuple[float, float]], velocity_rad_s: float, driven_s: float) -> float:
        """Return the way to the farthest place if this velocity is sent now and zero after a time.

        Args:
            ahead: (duration [s], velocity [rad/s]) of what was sent before and may still be in force, until one
                latency from now; the velocity and the zero after it are in force as late.
        """
        way, velocity = self.rad, max(self._velocity, 0.0)
        if self._braking == math.inf:
            way += sum(duration_s * max(before, velocity_rad_s) for duration_s, before in ahead)
            return way + max(driven_s, 0.0) * velocity_rad_s
        rest = Way(velocity, self._braking, velocity, 0.0)
        for duration_s, before in ahead:
            rest.go(duration_s, max(before, velocity_rad_s))
        rest.go(max(driven_s, 0.0), velocity_rad_s)
        return way + rest.rad + rest._velocity * rest._velocity / (2 * self._braking)
