"""What a policy without a contract sees at one tick, put together from the newest samples of its inputs."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError
from perf_inference.tasks.policy.observing.series import NEAR_PERIODS
from perf_inference.tasks.policy.observing.track import Track, grid_ns, pick
from perf_inference.tasks.policy.policy_task import Observation
from perf_inference.tasks.vision.image import Image

_FORCE = 6  # force and torque


class Observations:
    """Windows of force and joints; filled on the ROS thread, read on the worker's."""

    def __init__(self, joints: int, sample_rate_hz: float, max_disorder_s: float) -> None:
        """Begin empty.

        Args:
            joints: how many there are.
            sample_rate_hz: of the grid on which windows are read.
            max_disorder_s: a sample that is older than the newest by no more is put in order, and no step back in time.
        """
        self._rate_hz, disorder_ns = sample_rate_hz, round(max_disorder_s * 1e9)
        self._lock = threading.Lock()
        self._force, self._joints = Track(_FORCE, 0, disorder_ns), Track(2 * joints, 0, disorder_ns)
        self.need(65)

    def need(self, window: int) -> None:
        """Keep so many samples of the grid from now on, or more."""
        keep_ns = round((window + NEAR_PERIODS) * 1e9 / self._rate_hz)
        with self._lock:
            for track in (self._force, self._joints):
                track.keep_at_least(keep_ns)

    def add_force(self, stamp_ns: int, sample: Sequence[float]) -> None:
        """Add force [N] and torque [Nm]; raises InputError for one that is not finite."""
        with self._lock:
            self._force.add(stamp_ns, _finite(sample))

    def add_joints(self, stamp_ns: int, positions_rad: Sequence[float], velocities_rad_s: Sequence[float]) -> None:
        """Add a sample of all joints, in their order; raises InputError for one that is not finite."""
        with self._lock:
            self._joints.add(stamp_ns, _finite([*positions_rad, *velocities_rad_s]))

    def put_together(self, image: Image, observed_ns: int, now_ns: int, window: int) -> Observation:
        """Return what there is to see.

        Args:
            observed_ns: when the oldest of the newest samples was taken [ns, steady].
            now_ns: at which the windows end [ns, ROS clock].
            window: samples of each.
        """
        with self._lock:
            force, sensor_fill = self._window(self._force, now_ns, window)
            joints, robot_fill = self._window(self._joints, now_ns, window)
        return Observation(force, joints, image, sensor_fill, robot_fill, observed_ns)

    def _window(self, track: Track, end_ns: int, length: int) -> tuple[NDArray[np.float32], int]:
        """Return the samples on the grid [length, width] and how many slots are filled; without any, zeros."""
        if not len(track):
            return np.zeros((length, track.values.shape[1]), np.float32), 0
        grid = grid_ns(end_ns, self._rate_hz, length)
        which = pick(track.stamps_ns, grid, "hold", round(NEAR_PERIODS * 1e9 / self._rate_hz))
        return track.values[which.before].astype(np.float32), which.filled


def _finite(sample: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(sample, np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"a sample must be finite, got {values.tolist()}")
    return values
