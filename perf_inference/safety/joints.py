"""The joints of a robot: what joint_states says of them, merged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perf_inference.errors import InputError
from perf_inference.safety.joint import Bounds, Joint
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.samples import Taken, check_newer

JOINT_STATES = "joint_states"


class Joints:
    """All joints that the policy drives, in its order; messages may have them in any order, or some of them."""

    def __init__(self, limits: JointLimits, latency_s: float, tolerance_rad: float, max_age_s: float) -> None:
        self._limits, self._tolerance_rad = limits, tolerance_rad
        self._index = {name: index for index, name in enumerate(limits.names)}
        bounds = _bounds(limits)
        self.each = tuple(
            Joint(name, bound, round(latency_s * 1e9), tolerance_rad, round(max_age_s * 1e9))
            for name, bound in zip(limits.names, bounds, strict=True)
        )

    def narrow(self, limits: JointLimits) -> None:
        """Use these limits of the same joints, as far as they lie within the robot's own."""
        for joint, bound in zip(self.each, _bounds(self._limits.tightened(limits)), strict=True):
            joint.bounds = bound

    def find(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return (joint, place in the message) of each of ours that is named.

        Raises:
            InputError: one is named twice.
        """
        found = [(self._index[name], place) for place, name in enumerate(names) if name in self._index]
        if len(indices := {index for index, _ in found}) < len(found):
            twice = (self._limits.names[i] for i in sorted(indices) if sum(i == other for other, _ in found) > 1)
            raise InputError(f"{JOINT_STATES} must name each joint once, got {', '.join(twice)} again")
        return found

    def check(self, found: Sequence[tuple[int, int]], positions: Sequence[float], taken: Taken) -> None:
        """Check that a message can be used.

        Raises:
            InputError: a position of ours that is missing, not finite or impossible; one taken before that which is
                known.
        """
        if not found or len(positions) <= max(place for _, place in found):
            raise InputError(
                f"{JOINT_STATES} must have a position for each name, {', '.join(self._limits.names)} among them, got "
                f"{len(positions)} positions"
            )
        for index, place in found:
            if not self._limits.is_possible(index, positions[place]):
                raise InputError(
                    f"{JOINT_STATES} must have a possible position of {self._limits.names[index]}, got "
                    f"{positions[place]:.4g} rad with limits {self._limits.lower_rad[index]:g} to "
                    f"{self._limits.upper_rad[index]:g}"
                )
            before = self.each[index].sample
            if before is not None:
                check_newer(JOINT_STATES, before.taken, taken)

    def take(
        self, found: Sequence[tuple[int, int]], positions: Sequence[float], velocities: Sequence[float], taken: Taken,
        driving: bool,
    ) -> None:  # fmt: skip
        """Take a message that was checked; a velocity that is missing or not finite counts as absent.

        Raises:
            InputError: a joint that is far from where the commands lead.
        """
        doubted = []
        for index, place in found:
            velocity = velocities[place] if place < len(velocities) else math.nan
            known = velocity if math.isfinite(velocity) else None
            if not self.each[index].measured(taken, positions[place], known, driving):
                doubted.append(self._limits.names[index])
        if doubted:
            raise InputError(f"{', '.join(doubted)} cannot have moved so far since the sample before")

    def rest(self, taken: Taken) -> None:
        """Take all as at rest at 0, where nobody tells where they are."""
        for joint in self.each:
            joint.measured(taken, 0.0, 0.0, driving=False)

    def oldest(self) -> Taken | None:
        """Return when the joint whose sample is oldest was measured; None: one has not been."""
        samples = [joint.sample for joint in self.each if joint.sample is not None]
        if len(samples) < len(self.each):
            return None
        oldest = min(samples, key=lambda sample: sample.measured_ns)
        return oldest.taken

    def row(self) -> tuple[list[float], list[float]] | None:
        """Return the newest positions [rad] and velocities [rad/s] of all joints; None: one has not been measured."""
        samples = [joint.sample for joint in self.each if joint.sample is not None]
        if len(samples) < len(self.each):
            return None
        return [sample.position_rad for sample in samples], [sample.velocity_rad_s for sample in samples]

    def trouble(self) -> str:
        """Return which joint cannot be driven although it is measured, and why; or nothing."""
        return "; ".join(filter(None, (joint.trouble() for joint in self.each)))

    def restart(self) -> None:
        """Begin again to compare what is measured with what is sent."""
        for joint in self.each:
            joint.restart()

    def begin(self) -> None:
        """Drive from where the joints are, wherever they were sent before."""
        for joint in self.each:
            joint.positions.clear()

    def begin_anew(self, compared: bool) -> None:
        """Know of nothing that was sent; `compared`: what is measured is compared with what will be."""
        for joint in self.each:
            joint.begin_anew(self._tolerance_rad if compared else 0.0)

    def sent(self, at_ns: int, values: Sequence[float], velocity: bool) -> None:
        """Note a command of all joints [rad/s, or rad] that leaves now [ns, steady]."""
        for joint, value in zip(self.each, values, strict=True):
            if velocity:
                joint.sent_velocity(at_ns, value)
            else:
                joint.positions.add(at_ns, value)

    def forget(self) -> None:
        """Drop all samples."""
        for joint in self.each:
            joint.forget()


def _bounds(limits: JointLimits) -> list[Bounds]:
    each = zip(limits.lower_rad, limits.upper_rad, limits.velocity_rad_s, limits.acceleration_rad_s2, strict=True)
    return [Bounds(*bounds) for bounds in each]
