"""The end of a plan for which no newer one has come: values come to rest within their own speed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MOST_STEPS = 1000


class Tail:
    """Makes the steps in which values come to rest: velocities fade to 0, positions stop at an even deceleration."""

    def __init__(
        self, rates: Sequence[bool], moving: NDArray[np.bool_], acceleration: Sequence[float], brake_s: float,
        step_s: float,
    ) -> None:  # fmt: skip
        """Take what is fixed.

        Args:
            rates: of each value: it is a velocity itself.
            moving: of each value: it changes evenly; others (grippers) stay where they are.
            acceleration: with which each brakes; empty: all within `brake_s`.
        """
        self._rates, self._moving = np.array(rates, bool), moving
        self._acceleration = np.array(acceleration, np.float64)
        self._brake_s, self._step_s = brake_s, step_s

    def steps(self, values: Floats, speed: Floats) -> list[Floats]:
        """Return the values [A] of each step; none where all is at rest already."""
        moving = self._moving & (np.where(self._rates, values, speed) != 0)
        if not moving.any():
            return []
        velocity = np.where(self._rates, values, speed)
        brake_s = self._brake_s
        if len(self._acceleration):
            with np.errstate(divide="ignore", invalid="ignore"):
                needed = np.where(moving, np.abs(velocity) / self._acceleration, 0.0)
            brake_s = float(needed.max())
        count = min(max(math.ceil(brake_s / self._step_s - 1e-9), 1), _MOST_STEPS)
        times_s = np.minimum(np.arange(1, count + 1) * self._step_s, brake_s)
        brake_s = max(brake_s, 1e-9)
        tail = []
        for t in times_s:
            faded = velocity * (1 - t / brake_s)
            travelled = values + velocity * (t - t * t / (2 * brake_s))
            each = np.where(self._rates, faded, travelled)
            tail.append(np.where(moving, each, values))
        return tail
