"""The contract's limits on what is sent, one command after the other; the robot's own are the gate's business."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError
from perf_inference.tasks.policy.contract.contract import ActionSpec

Floats = NDArray[np.float64]
_KEYS = ("lower", "upper", "velocity", "acceleration", "jerk", "step")


class Limiter:
    """Clamps or refuses commands by lower, upper, velocity, acceleration, jerk and step of each column.

    Of a column that is a velocity itself, `velocity` bounds its value, `acceleration` its change per second, and `jerk`
    the change of that; `lower` and `upper` are of the joint's position, which is the gate's business. `step` bounds the
    change from one command to the next.
    Where they contradict each other, the narrower of value and velocity wins over acceleration and jerk.
    """

    def __init__(self, actions: Sequence[ActionSpec], step_s: float) -> None:
        bounds = {key: [] for key in _KEYS}  # type: dict[str, list[float]]
        rates, rejects, names = [], [], []
        for action in actions:
            count = len(action.names)
            for key in _KEYS:
                none = -math.inf if key == "lower" else math.inf
                of_places = action.kind == "velocity" and key in ("lower", "upper")  # the gate keeps joints within them
                said = () if of_places else getattr(action.limits, key)
                bounds[key] += list(said) or [none] * count
            rates += [action.kind in ("velocity", "twist")] * count
            rejects += [action.limits.on_violation == "reject"] * count
            names += list(action.names)
        self._b = {key: np.array(values) for key, values in bounds.items()}
        self._rates, self._rejects, self._names = np.array(rates, bool), np.array(rejects, bool), names
        self._step_s = step_s
        fastest = self._b["velocity"]
        self._low = np.where(self._rates, np.maximum(self._b["lower"], -fastest), self._b["lower"])
        self._high = np.where(self._rates, np.minimum(self._b["upper"], fastest), self._b["upper"])
        self.active = any(np.isfinite(values).any() for values in self._b.values())
        self.reset()

    def reset(self) -> None:
        """Forget what was sent: the next command has none before it."""
        self._last: Floats | None = None
        self._speed: Floats | None = None
        self._push: Floats | None = None

    def apply(self, values: Floats) -> Floats:
        """Return what of a command [A] is allowed.

        Raises:
            InputError: a column with on_violation reject goes beyond.
        """
        allowed = self._allowed(values)
        beyond = self._rejects & (np.abs(allowed - values) > 1e-9 * (1 + np.abs(values)))
        if beyond.any():
            i = int(np.argmax(beyond))
            raise InputError(
                f"'{self._names[i]}' must be {allowed[i]:.4g} by its limits, got {values[i]:.4g}: not sent"
            )
        return allowed

    def sent(self, values: Floats) -> None:
        """Note what really left."""
        if self._last is not None:
            speed = (values - self._last) / self._step_s
            if self._speed is not None:
                self._push = (speed - self._speed) / self._step_s
            self._speed = speed
        self._last = values.copy()

    def _allowed(self, values: Floats) -> Floats:
        wanted = np.clip(values, self._low, self._high)
        if self._last is None:
            return wanted
        step_s, b = self._step_s, self._b
        # For a velocity: its change is an acceleration. For a position: a velocity, whose change is an acceleration.
        first = np.where(self._rates, b["acceleration"], b["velocity"])
        second = np.where(self._rates, b["jerk"], b["acceleration"])
        third = np.where(self._rates, np.inf, b["jerk"])
        reach = np.minimum(first * step_s, b["step"])
        low, high = self._last - reach, self._last + reach
        if self._speed is not None:
            centre = self._last + self._speed * step_s
            low, high = _narrowed(low, high, centre - second * step_s**2, centre + second * step_s**2)
            if self._push is not None:
                centre = centre + self._push * step_s**2
                low, high = _narrowed(low, high, centre - third * step_s**3, centre + third * step_s**3)
        return np.clip(np.clip(wanted, low, high), self._low, self._high)


def _narrowed(low: Floats, high: Floats, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Return where both ranges overlap; where they do not, the end of the first that is nearest to the second."""
    a, b = np.maximum(low, lower), np.minimum(high, upper)
    apart = a > b
    nearest = np.where(lower > high, high, low)
    return np.where(apart, nearest, a), np.where(apart, nearest, b)
