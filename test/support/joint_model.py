"""One joint of a robot without stops and without a dead-man: it follows what it was sent last, for ever.

Four kinds, all within what `actuator_latency_s` = L promises (docs/safety.md):

    delay     the velocity is in force after a time of 0 to L, another for each command
    lag       a dead time, then a first-order lag; dead time + 3 time constants = L
    brake     a time of 0 to L, then the velocity changes with the acceleration of the limits, or a harder one
    position  as `delay`, for positions: it goes there no faster than its velocity limit
"""

from __future__ import annotations

import copy
import math
import random

KINDS = ("delay", "lag", "brake", "position")


class JointModel:
    """Moves on exactly from one event to the next; times in s."""

    def __init__(
        self, kind: str, position: float, latency_s: float, fastest: float = math.inf, acceleration: float = math.inf,
        chance: random.Random | None = None, lag_s: float | None = None,
    ) -> None:  # fmt: skip
        """Begin at rest; `lag_s`: its time constant, for a `lag` (default: any that the latency promises)."""
        self.kind, self.position, self.velocity = kind, position, 0.0
        self.highest = self.lowest = position  # ever
        self.latency_s, self.fastest, self.acceleration = latency_s, fastest, acceleration
        self._chance = chance or random.Random(0)
        any_s = latency_s * self._chance.uniform(0.05, 0.33) if kind == "lag" else 0.0
        self._lag_s = any_s if lag_s is None else lag_s
        self._goal = position if kind == "position" else 0.0
        self._queue: list[tuple[float, float]] = []  # (in force from, what)
        self._now_s = 0.0

    def send(self, now_s: float, value: float, after_s: float | None = None) -> None:
        """Take a command; it is in force after a time of its own, or after `after_s`."""
        if after_s is None:
            longest = self.latency_s - 3 * self._lag_s
            after_s = longest if self.kind == "lag" else self._chance.uniform(0, longest)
        last_s = self._queue[-1][0] if self._queue else 0.0
        self._queue.append((max(now_s + after_s, last_s), value))

    def advance(self, to_s: float) -> None:
        """Move on to a time."""
        if to_s <= self._now_s and not self._queue:
            return
        while self._queue and self._queue[0][0] <= to_s:
            from_s, value = self._queue.pop(0)
            self._move(from_s - self._now_s)
            self._now_s, self._goal = max(from_s, self._now_s), value
        self._move(to_s - self._now_s)
        self._now_s = max(to_s, self._now_s)

    def farthest(self, now_s: float, value: float, until_s: float) -> tuple[float, float]:
        """Return the lowest and highest position if this was just sent and zero is, at `until_s`, in force late."""
        found = []
        for late in (False, True):
            future = copy.copy(self)
            future._queue = list(self._queue)
            if (
                late and future._queue and self.kind != "lag"
            ):  # what was sent just now comes into force as late as may be
                future._queue[-1] = (max(future._queue[-1][0], now_s + self.latency_s), value)
            future.highest = future.lowest = self.position
            future.send(max(until_s, now_s), 0.0, self.latency_s - 3 * self._lag_s)
            stopped_s = max(until_s, now_s) + self.latency_s
            if math.isfinite(self.acceleration):
                stopped_s += 2 * self.fastest / self.acceleration
            future.advance(stopped_s + 1.0)
            found.append((future.lowest, future.highest))
        return min(low for low, _ in found), max(high for _, high in found)

    def _move(self, duration_s: float) -> None:
        if duration_s <= 0:
            return
        if self.kind == "delay":
            self.velocity = self._goal
            self.position += self.velocity * duration_s
        elif self.kind == "lag":
            left = math.exp(-duration_s / self._lag_s) if self._lag_s else 0.0
            excess = self.velocity - self._goal
            self.position += self._goal * duration_s + excess * self._lag_s * (1 - left)
            self.velocity = self._goal + excess * left
        elif self.kind == "brake":
            self._accelerate(duration_s)
        else:
            way = min(max(self._goal - self.position, -self.fastest * duration_s), self.fastest * duration_s)
            self.velocity = way / duration_s
            self.position += way
        self.highest, self.lowest = max(self.highest, self.position), min(self.lowest, self.position)

    def _accelerate(self, duration_s: float) -> None:
        """Change the velocity with the acceleration; the turning point counts too."""
        change = self._goal - self.velocity
        ramp_s = min(abs(change) / self.acceleration, duration_s)
        rate = math.copysign(self.acceleration, change)
        turn_s = -self.velocity / rate
        if 0 < turn_s < ramp_s:
            turn = self.position + self.velocity * turn_s / 2
            self.highest, self.lowest = max(self.highest, turn), min(self.lowest, turn)
        self.position += self.velocity * ramp_s + rate * ramp_s * ramp_s / 2
        self.velocity = self._goal if ramp_s < duration_s else self.velocity + rate * ramp_s
        self.position += self.velocity * (duration_s - ramp_s)
