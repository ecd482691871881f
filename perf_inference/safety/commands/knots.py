"""Trajectories as a controller plays them: cubic pieces between knots, from the state that the joints are in.

JointTrajectoryController interpolates between points that carry velocities with cubic Hermite polynomials, and begins
with the state that it measures, or with its own last command, when a message comes (`trajectory.cpp`,
`interpolate_between_points`, ros2_controllers). A piece whose velocity changes at a constant rate is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Knot(NamedTuple):
    """Where the joints are to be at one time, and how fast."""

    after_s: float  # from the time when the message comes
    positions: list[float]  # [joints] rad
    velocities: list[float]  # [joints] rad/s


class Trajectory(NamedTuple):
    """Knots, the last one at rest."""

    knots: tuple[Knot, ...]


class State(NamedTuple):
    """One joint at one time."""

    position_rad: float
    velocity_rad_s: float


def between(start: State, end: State, duration_s: float, at_s: float) -> State:
    """Return the state within a cubic piece [0 <= at_s <= duration_s]."""
    (q0, v0), (q1, v1) = start, end
    if duration_s <= 0:
        return end
    s = min(max(at_s / duration_s, 0.0), 1.0)
    a = 2 * (q0 - q1) + duration_s * (v0 + v1)
    b = 3 * (q1 - q0) - duration_s * (2 * v0 + v1)
    position = q0 + s * (duration_s * v0 + s * (b + s * a))
    return State(position, v0 + s * (2 * b + s * 3 * a) / duration_s)


def farthest(start: State, end: State, duration_s: float) -> tuple[float, float]:
    """Return the lowest and the highest position [rad] within a cubic piece."""
    (q0, v0), (q1, v1) = start, end
    a = 2 * (q0 - q1) + duration_s * (v0 + v1)
    b = 3 * (q1 - q0) - duration_s * (2 * v0 + v1)
    turns = [s * duration_s for s in _roots(3 * a, 2 * b, duration_s * v0) if 0 < s < 1]
    places = [q0, q1, *(between(start, end, duration_s, turn).position_rad for turn in turns)]
    return min(places), max(places)


def state_at(starts: Sequence[State], trajectory: Trajectory, at_s: float) -> list[State]:
    """Return where each joint is to be, this long after the message came while the joints were in these states."""
    before_s, before = 0.0, list(starts)
    for knot in trajectory.knots:
        here = [State(q, v) for q, v in zip(knot.positions, knot.velocities, strict=True)]
        if at_s < knot.after_s:
            duration_s = knot.after_s - before_s
            return [between(a, b, duration_s, at_s - before_s) for a, b in zip(before, here, strict=True)]
        before_s, before = knot.after_s, here
    return [State(position, 0.0) for position, _ in before]


def _roots(a: float, b: float, c: float) -> list[float]:
    """Return the real roots of a x^2 + b x + c."""
    if abs(a) < 1e-12:
        return [] if abs(b) < 1e-12 else [-c / b]
    under = b * b - 4 * a * c
    if under < 0:
        return []
    root = math.sqrt(under)
    return [(-b - root) / (2 * a), (-b + root) / (2 * a)]
