"""What the policy sees at one tick, put together from the newest samples of its inputs."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from perf_inference.tasks.policy.policy_task import Observation, Window
from perf_inference.tasks.vision.image import Image

_FORCE = 6  # force and torque


class Observations:
    """Windows of force and joints; filled on the ROS thread, read on the worker's."""

    def __init__(self, joints: int, sample_rate_hz: float, max_age_s: float) -> None:
        """Begin empty.

        Args:
            joints: how many there are.
            sample_rate_hz: of the grid on which windows are read.
            max_age_s: a sample that is older than the newest by no more is one that came late, no step back in time.
        """
        self._period_ns, self._max_age_ns = round(1e9 / sample_rate_hz), round(max_age_s * 1e9)
        self._lock = threading.Lock()
        self._force, self._joints = Window(_FORCE), Window(2 * joints)

    def add_force(self, stamp_ns: int, sample: Sequence[float]) -> None:
        """Add force [N] and torque [Nm]; raises InputError for one that is not finite."""
        with self._lock:
            self._force.add(stamp_ns, sample)

    def add_joints(self, stamp_ns: int, positions_rad: Sequence[float], velocities_rad_s: Sequence[float]) -> None:
        """Add a sample of all joints, in their order."""
        with self._lock:
            self._joints.add(stamp_ns, [*positions_rad, *velocities_rad_s], self._max_age_ns)

    def put_together(self, image: Image, observed_ns: int, now_ns: int, window: int) -> Observation:
        """Return what there is to see.

        Args:
            observed_ns: when the oldest of the newest samples was taken [ns, steady].
            now_ns: at which the windows end [ns, ROS clock].
            window: samples of each.
        """
        with self._lock:
            force, sensor_fill = self._force.sample(now_ns, self._period_ns, window)
            joints, robot_fill = self._joints.sample(now_ns, self._period_ns, window)
        return Observation(force, joints, image, sensor_fill, robot_fill, observed_ns)
