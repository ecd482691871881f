"""Velocities, which stay in force until the next one: Float64MultiArray, or JointState."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perf_inference.safety.commands.way_to_send import LOOK_LATE_NS
from perf_inference.safety.joint import Joint
from perf_inference.safety.joints import Joints
from perf_inference.safety.settings import BRAKES_S

_STEP_NS = 20_000_000  # between two commands while it slows down
_STILL_RAD_S = 1e-3


class Velocities:
    """Commands of [joints] rad/s."""

    renews = True

    def __init__(self, joints: Joints, decelerates: bool) -> None:
        """Begin at rest; `decelerates`: the safe action slows down with the joints' acceleration, else it is zero."""
        self._joints, self._decelerates = joints, decelerates
        self._slowing: tuple[int, list[float]] | None = None  # since when, from which velocities

    def begin(self) -> None:
        """See `Commands`."""
        for joint in self._joints.each:
            joint.positions.clear()

    def allowed(
        self, values: Sequence[float], now_ns: int, until_ns: int, share: float
    ) -> tuple[list[float], list[float]]:
        """See `Commands`."""
        self._slowing = None
        command = [
            joint.allowed_velocity(_clamped(value, joint) * share, now_ns, until_ns + LOOK_LATE_NS)
            for joint, value in zip(self._joints.each, values, strict=True)
        ]
        return command, command

    def goes_on(self, now_ns: int, until_ns: int) -> bool:
        """See `Commands`."""
        commands = [(joint, joint.newest_velocity) for joint in self._joints.each]
        return all(joint.allowed_velocity(v, now_ns, until_ns + LOOK_LATE_NS) == v for joint, v in commands)

    def safe(self, now_ns: int, newest_ns: int | None) -> list[float]:
        """See `Commands`."""
        if not self._decelerates:
            return [0.0] * len(self._joints.each)
        if self._slowing is None:
            self._slowing = now_ns, [joint.newest_velocity for joint in self._joints.each]
        since_ns, before = self._slowing
        return [self._slowed(joint, v, since_ns, now_ns) for joint, v in zip(self._joints.each, before, strict=True)]

    def _slowed(self, joint: Joint, velocity: float, since_ns: int, now_ns: int) -> float:
        """Return the velocity on the way to zero, as far as it may be sent: it stands for the end of this step."""
        if joint.sample is None:
            return 0.0
        gone_s = (now_ns + _STEP_NS - since_ns) / 1e9
        left = max(abs(velocity) - braking_rad_s2(joint) * gone_s, 0.0)
        left = min(left, abs(joint.newest_velocity))  # what has stopped short of a limit does not start again
        wanted = math.copysign(left, velocity) if left > _STILL_RAD_S else 0.0
        return joint.allowed_velocity(wanted, now_ns, now_ns + _STEP_NS + LOOK_LATE_NS)

    def slower(self, share: float) -> list[float]:
        """See `Commands`."""
        return [joint.newest_velocity * share for joint in self._joints.each]

    def resting(self, now_ns: int) -> bool:
        """See `Commands`."""
        return not any(joint.newest_velocity for joint in self._joints.each)

    def slows_down(self) -> bool:
        """See `Commands`."""
        return self._slowing is not None and not self.resting(0)

    def sent(self, at_ns: int, command: Sequence[float]) -> None:
        """See `Commands`."""
        for joint, value in zip(self._joints.each, command, strict=True):
            joint.sent_velocity(at_ns, value)


def braking_rad_s2(joint: Joint) -> float:
    """Return with which acceleration a joint is slowed down: its own, or within a quarter of a second."""
    own = joint.bounds.acceleration_rad_s2
    return own if own != math.inf else joint.bounds.velocity_rad_s / BRAKES_S


def _clamped(value: float, joint: Joint) -> float:
    return min(max(value, -joint.bounds.velocity_rad_s), joint.bounds.velocity_rad_s)
