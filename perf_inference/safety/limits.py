"""The limits of a robot's joints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perf_inference.errors import ConfigError

_FARTHEST_RAD = 4 * math.pi  # beyond its limits: more than two turns are no reading of a joint
_LARGEST_RAD = 1e6  # of a joint without limits; adding up small steps means nothing beyond


@dataclass(frozen=True)
class JointLimits:
    """Bounds of each joint, in the order of `names`."""

    names: tuple[str, ...]
    lower_rad: tuple[float, ...]
    upper_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...]
    acceleration_rad_s2: tuple[float, ...]  # with which the joint brakes at least; inf: at once

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        lower: Sequence[float],
        upper: Sequence[float],
        velocity: Sequence[float],
        acceleration: Sequence[float] = (),
    ) -> JointLimits:
        """Check that there is one bound a joint.

        Args:
            acceleration: [rad/s^2]; empty: not given.

        Raises:
            ConfigError: a joint named twice, a length that does not fit, a bound that is not a number, or a lower one
                over its upper one.
        """
        count = len(names)
        if len(set(names)) != count or not count:
            raise ConfigError(f"joint_names must name each joint once, got {list(names)}")
        given = {"lower": lower, "upper": upper, "velocity": velocity}
        if len(acceleration):
            given["acceleration"] = acceleration
        for label, values in given.items():
            if len(values) != count:
                raise ConfigError(f"limits.{label} must have {count} values, one for each of {list(names)}, "
                                  f"got {len(values)}")  # fmt: skip
            if any(math.isnan(v) for v in values):
                raise ConfigError(f"limits.{label} must be numbers, got {list(values)}")
        if any(a > b for a, b in zip(lower, upper, strict=True)) or any(v < 0 for v in velocity):
            raise ConfigError(f"limits must be lower <= upper and velocity >= 0, got {list(lower)}, {list(upper)}, "
                              f"{list(velocity)}")  # fmt: skip
        if any(a <= 0 for a in acceleration):
            raise ConfigError(f"limits.acceleration must be above 0, got {list(acceleration)}")
        braking = tuple(map(float, acceleration)) or (math.inf,) * count
        return cls(tuple(names), tuple(map(float, lower)), tuple(map(float, upper)), tuple(map(float, velocity)),
                   braking)  # fmt: skip

    def tightened(self, other: JointLimits) -> JointLimits:
        """Return the narrower bound of each joint; the order of the joints is the same.

        Raises:
            ConfigError: a joint is left no room.
        """
        return JointLimits.of(
            self.names,
            [max(pair) for pair in zip(self.lower_rad, other.lower_rad, strict=True)],
            [min(pair) for pair in zip(self.upper_rad, other.upper_rad, strict=True)],
            [min(pair) for pair in zip(self.velocity_rad_s, other.velocity_rad_s, strict=True)],
            [min(pair) for pair in zip(self.acceleration_rad_s2, other.acceleration_rad_s2, strict=True)],
        )

    def is_possible(self, joint: int, position_rad: float) -> bool:
        """Return whether a joint can report this position: a finite number not far beyond its limits."""
        low, high = self.lower_rad[joint] - _FARTHEST_RAD, self.upper_rad[joint] + _FARTHEST_RAD
        return math.isfinite(position_rad) and low <= position_rad <= high and abs(position_rad) <= _LARGEST_RAD
