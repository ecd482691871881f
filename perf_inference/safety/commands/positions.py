"""Positions, which a controller goes to and no farther: Float64MultiArray, or JointState."""

from __future__ import annotations

from collections.abc import Sequence

from perf_inference.safety.commands.hold import Hold
from perf_inference.safety.joints import Joints


class Positions:
    """Commands of [joints] rad; every safe action holds."""

    renews = False

    def __init__(self, joints: Joints, period_s: float) -> None:
        """Begin with nothing sent; `period_s`: between two commands of the policy."""
        self._joints, self._period_s = joints, period_s
        self._held: Hold | None = None

    def begin(self) -> None:
        """See `Commands`."""
        for joint in self._joints.each:
            joint.positions.clear()

    def allowed(
        self, values: Sequence[float], now_ns: int, until_ns: int, share: float
    ) -> tuple[list[float], list[float]]:
        """See `Commands`."""
        self._held = None
        period_ns = round(self._period_s * share * 1e9)
        command = [
            joint.allowed_position(value, period_ns) for joint, value in zip(self._joints.each, values, strict=True)
        ]
        return command, command

    def goes_on(self, now_ns: int, until_ns: int) -> bool:
        """See `Commands`."""
        return True

    def safe(self, now_ns: int, newest_ns: int | None) -> list[float] | None:
        """See `Commands`."""
        if newest_ns is None:
            return None if self._held is None else self._held.places_rad
        if self._held is None:
            places_rad = [joint.position_now(now_ns) for joint in self._joints.each]
            self._held = Hold(self._joints.each, places_rad, now_ns)
        here = [joint.sample.position_rad for joint in self._joints.each if joint.sample is not None]
        return self._held.step(here, now_ns)

    def slower(self, share: float) -> None:
        """See `Commands`."""

    def resting(self, now_ns: int) -> bool:
        """See `Commands`."""
        return True

    def slows_down(self) -> bool:
        """See `Commands`."""
        return False

    def sent(self, at_ns: int, command: Sequence[float]) -> None:
        """See `Commands`."""
        for joint, value in zip(self._joints.each, command, strict=True):
            joint.positions.add(at_ns, value)
