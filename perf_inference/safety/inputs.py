"""What has come on the inputs, as far as it can be believed: times of samples, and where the joints are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perf_inference.errors import InputError
from perf_inference.safety.joints import JOINT_STATES, Joints
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.samples import Samples, Taken, check_newer


class Inputs:
    """Takes the samples of all inputs; one thread at a time."""

    def __init__(
        self, limits: JointLimits, topics: Mapping[str, str], max_age_s: float, latency_s: float, tolerance_rad: float
    ) -> None:
        """Begin with nothing accepted.

        Args:
            topics: by the input's name, `joint_states` among them.
        """
        self.joints = Joints(limits, latency_s, tolerance_rad, max_age_s)
        self._samples = Samples(topics, max_age_s)

    def accept(self, name: str, now: Instant, stamp_ns: int | None) -> Taken:
        """Take a good sample of an input; return when it was taken.

        One of `joint_states` is of a machine whose joints nobody tells of, as a base is that a Twist drives: it counts
        as at rest at 0, and only its time is judged.

        Raises:
            InputError: a stamp that is too old, lies ahead, or is not newer than the one before.
        """
        sample, before = self._samples.taken(name, now, stamp_ns), self._samples[name]
        if before is not None:
            check_newer(name, before, sample)
        self.take(name, sample)
        return sample

    def take(self, name: str, sample: Taken) -> None:
        """Take a sample whose time somebody else has judged; see `accept`."""
        self._samples.accept(name, sample)
        if name == JOINT_STATES:
            self.joints.rest(sample)

    def refuse(self, name: str, why: str, forget: bool = False) -> None:
        """Note why a message of an input cannot be used; `forget`: the one that was accepted cannot be either."""
        self._samples.refuse(name, why, forget)

    def joint_states(
        self, now: Instant, stamp_ns: int | None, names: Sequence[str], positions: Sequence[float],
        velocities: Sequence[float], driving: bool,
    ) -> bool:  # fmt: skip
        """Take a sample of some of the joints, in any order; return False where it has none of ours.

        Args:
            positions: [rad], one for each name.
            velocities: [rad/s], or empty; one that is not finite counts as absent.
            driving: a command of the policy is in force, so that a joint must be where it leads.

        Raises:
            InputError: a position of ours that is missing, not finite or impossible, or far from where the commands
                lead; a stamp that cannot be used.
        """
        try:
            found = self.joints.find(names)
            if not found and names:
                return False
            taken = self._samples.taken(JOINT_STATES, now, stamp_ns)
            self.joints.check(found, positions, taken)
            self.joints.take(found, positions, velocities, taken, driving)
        except InputError as error:
            self._samples.refuse(JOINT_STATES, str(error))
            raise
        if (oldest := self.joints.oldest()) is not None:
            self._samples.accept(JOINT_STATES, oldest)
        return True

    def look(self, now: Instant) -> None:
        """Watch the ROS clock; after a step back nothing that came before is left."""
        if self._samples.look(now):
            self.joints.forget()

    def stale(self, now: Instant, but: Sequence[str] = ()) -> str:
        """Return which input, but those named, has nothing fresh, or which joint does not follow; or nothing."""
        if stale := self._samples.stale(now, but):
            return stale
        trouble = self.joints.trouble()
        return f"tracking: {trouble}" if trouble else ""

    def oldest_ns(self) -> int:
        """Return when the oldest of the newest samples was taken [ns, steady].

        Raises:
            InputError: nothing has been accepted on an input.
        """
        return self._samples.oldest_ns()

    def joints_ns(self) -> int | None:
        """Return when the newest sample of the joints was taken [ns, steady]; None: there is none."""
        newest = self._samples[JOINT_STATES]
        return None if newest is None else newest.measured_ns
