"""What JointTrajectoryController does with a trajectory, from its public sources (ros2_controllers, Apache-2.0).

`refusal` has the rules of `validate_trajectory_msg` of Humble, Jazzy and Rolling with their default parameters;
`Follower` plays what was accepted as `Trajectory::sample` does: cubic pieces between points with velocities, straight
ones without, from the state that is measured (or, `from_desired`, its own last command) when the message comes, and the
last point for ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

RULES = ("humble", "jazzy", "rolling")
_ZERO_VELOCITY = 1.1920929e-07  # std::numeric_limits<float>::epsilon()


class Point(NamedTuple):
    """A JointTrajectoryPoint."""

    after_s: float
    positions: list[float]
    velocities: list[float]
    accelerations: list[float]
    effort: list[float]


class Message(NamedTuple):
    """A JointTrajectory."""

    names: list[str]
    stamp_s: float
    points: list[Point]

    @classmethod
    def of(cls, message: object) -> Message:
        """Return what a trajectory_msgs/JointTrajectory has."""
        stamp = message.header.stamp  # type: ignore[attr-defined]
        points = [
            Point(
                point.time_from_start.sec + point.time_from_start.nanosec / 1e9, list(point.positions),
                list(point.velocities), list(point.accelerations), list(point.effort),
            )
            for point in message.points  # type: ignore[attr-defined]
        ]  # fmt: skip
        return cls(list(message.joint_names), stamp.sec + stamp.nanosec / 1e9, points)  # type: ignore[attr-defined]


def refusal(message: Message, joints: Sequence[str], now_s: float, rules: str) -> str:
    """Return why a controller of these joints refuses a message, or nothing."""
    points = message.points
    if not message.names or len(message.names) != len(joints):
        return "Joints on incoming trajectory don't match the controller joints."
    if not points:
        return "Empty trajectory received."
    if unknown := [name for name in message.names if name not in joints]:
        return f"Incoming joint {unknown[0]} doesn't match the controller's joints."
    if rules != "humble":  # allow_nonzero_velocity_at_trajectory_end: true by default there, false since Jazzy
        for name, velocity in zip(message.names, points[-1].velocities, strict=False):
            if abs(velocity) > _ZERO_VELOCITY:
                return f"Velocity of last trajectory point of joint {name} is not zero: {velocity:.15f}"
    if message.stamp_s != 0.0 and message.stamp_s + points[-1].after_s < now_s:
        return "Received trajectory with non-zero start time that ends in the past"
    for index, point in enumerate(points):
        if index > 0 and point.after_s <= points[index - 1].after_s:
            return f"Time between points {index - 1} and {index} is not strictly increasing"
        count = len(message.names)
        if len(point.positions) != count:
            return f"Mismatch between joint_names size and positions at point #{index}."
        if any(len(values) not in (0, count) for values in (point.velocities, point.accelerations)):
            return f"Mismatch between joint_names size and velocities or accelerations at point #{index}."
        if point.effort:
            return "Trajectories with effort fields are only supported for 'effort' command interfaces."
    if not all(map(math.isfinite, [v for p in points for v in (p.after_s, *p.positions, *p.velocities)])):
        return "not finite (the controller does not look, and its hardware gets it)"
    return ""


class Follower:
    """The desired state of a controller's joints."""

    def __init__(self, joints: Sequence[str], places: Sequence[float], from_desired: bool = False) -> None:
        """Begin at rest."""
        self.joints, self._from_desired = list(joints), from_desired
        self._points: list[Point] = []
        self._began_s = 0.0
        self.positions, self.velocities = list(places), [0.0] * len(joints)

    def receive(self, message: Message, now_s: float, places: Sequence[float], velocities: Sequence[float]) -> None:
        """Take a message that was not refused, while the joints are measured here."""
        order = [message.names.index(name) for name in self.joints]
        self.sample(now_s)
        before = (self.positions, self.velocities) if self._from_desired else (list(places), list(velocities))
        first = Point(0.0, list(before[0]), list(before[1]), [], [])
        picked = [
            point._replace(
                positions=[point.positions[i] for i in order],
                velocities=[point.velocities[i] for i in order] if point.velocities else [],
            )
            for point in message.points
        ]
        self._points, self._began_s = [first, *picked], now_s

    def sample(self, now_s: float) -> None:
        """Move on to a time."""
        at_s = now_s - self._began_s
        for before, after in zip(self._points, self._points[1:], strict=False):
            if at_s < after.after_s:
                self._between(before, after, at_s - before.after_s)
                return
        if self._points:
            last = self._points[-1]
            self.positions, self.velocities = list(last.positions), [0.0] * len(last.positions)

    def _between(self, a: Point, b: Point, at_s: float) -> None:
        duration = b.after_s - a.after_s
        cubic = bool(a.velocities) and bool(b.velocities)
        places, velocities = [], []
        for index, (q0, q1) in enumerate(zip(a.positions, b.positions, strict=True)):
            if not cubic:
                rate = (q1 - q0) / duration
                places.append(q0 + rate * at_s)
                velocities.append(rate)
                continue
            v0, v1 = a.velocities[index], b.velocities[index]
            c2 = (-3 * q0 + 3 * q1 - 2 * v0 * duration - v1 * duration) / duration**2
            c3 = (2 * q0 - 2 * q1 + v0 * duration + v1 * duration) / duration**3
            places.append(q0 + v0 * at_s + c2 * at_s**2 + c3 * at_s**3)
            velocities.append(v0 + 2 * c2 * at_s + 3 * c3 * at_s**2)
        self.positions, self.velocities = places, velocities
