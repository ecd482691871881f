"""Trajectories with a braking tail: what is not overwritten in time plays to its end, and that is a stop.

    velocity   wanted -----+------------+
                          /|            |\\
                         / |            | \\
               now -----+  |            |  \\
                        0  t1         t1+m  t1+m+T     position at the end, and t1/8 of the velocity, within the limits

t1 is a period of the policy, m half of one for a message that is late: t1 + m are at most `open_loop_s`. T is the time
that the slowest joint needs to brake, and t1 at least. Where a joint has come so near to a limit that it must brake
sooner, t1 is shorter: as long as it takes to come to rest just there with a constant deceleration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from perf_inference.safety.commands.hold import Hold
from perf_inference.safety.commands.knots import Knot, State, Trajectory, farthest, state_at
from perf_inference.safety.commands.velocities import braking_rad_s2
from perf_inference.safety.joint import Joint
from perf_inference.safety.joints import Joints
from perf_inference.safety.settings import GateSettings

_SHORTEST_S = 0.02  # to the first knot: a controller cannot follow a shorter one
_LATE_SHARE = 0.5  # of a period: a message that is late by so much does not make the joints brake
_HOLD_S = 0.1  # to a place that is held
_COASTS_S = 0.05  # so long a joint that was sent nowhere moves on as it was measured
_TRANSIT_S = 0.02  # until the controller has the message, and begins with the state of then
_STEADY_S = 0.05  # a safe action takes at least so long
_OFF_RAD = 0.02  # a joint that is farther from its trajectory than its latency makes it be is started from where it is
_SPARE_RAD = 1e-3  # that a trajectory ends before a limit: velocities are never measured without an error
_LEAST_S = 1e-3  # of a piece


class _Start(NamedTuple):
    """From which states of a joint a trajectory may start: what the controller has when it comes is not known."""

    here: State
    others: list[State]


class _Shape(NamedTuple):
    """The times of a trajectory's knots."""

    first_s: float
    late_s: float
    brake_s: float

    @property
    def tail_s(self) -> float:
        """What is still to come after the first knot, in times of its velocity, with a little to spare."""
        return self.late_s + self.brake_s / 2 + self.first_s / 8


class _Plan(NamedTuple):
    """A trajectory that was sent."""

    at_ns: int
    starts: list[State]
    trajectory: Trajectory

    def state(self, index: int, at_ns: int) -> State:
        """Return where one joint is to be at a time; before it was sent, where it was."""
        knots = tuple(
            Knot(knot.after_s, [knot.positions[index]], [knot.velocities[index]]) for knot in self.trajectory.knots
        )
        return state_at([self.starts[index]], Trajectory(knots), max(at_ns - self.at_ns, 0) / 1e9)[0]


class Trajectories:
    """Commands are `Trajectory`s, of a policy's velocities or positions."""

    renews = False

    def __init__(self, joints: Joints, settings: GateSettings) -> None:
        """Begin with nothing sent."""
        self._joints, self._velocity = joints, settings.kind == "velocity"
        self._first_s = min(max(settings.period_s, _SHORTEST_S), settings.open_loop_s)
        self._ahead_s = min((1 + _LATE_SHARE) * self._first_s, settings.open_loop_s)
        self._latency_s = settings.latency_s
        self._plan: _Plan | None = None
        self._next: list[State] = []  # the states that the command which is made starts from
        self._stop_ns: int | None = None  # when the safe action has come to rest
        self._held: Hold | None = None

    def begin(self) -> None:
        """See `Commands`."""
        self._plan = None
        for joint in self._joints.each:
            joint.positions.clear()

    # driving ---------------------------------------------------------------------------------------------------------

    def allowed(
        self, values: Sequence[float], now_ns: int, until_ns: int, share: float
    ) -> tuple[Trajectory, list[float]]:
        """See `Commands`."""
        self._stop_ns = self._held = None
        starts = self._starts(now_ns)
        self._next = [start.here for start in starts]
        first_s = self._soonest_s(starts, self._first_s)
        wanted = [
            self._wanted_velocity(joint, start, value, share)
            for joint, start, value in zip(self._joints.each, starts, values, strict=True)
        ]
        brakes_s = [abs(v) / braking_rad_s2(j) for j, v in zip(self._joints.each, wanted, strict=True) if v]
        shape = _Shape(first_s, max(self._ahead_s - first_s, 0.0), max([first_s, *brakes_s]))
        firsts = [
            self._first(joint, start, velocity, shape)
            for joint, start, velocity in zip(self._joints.each, starts, wanted, strict=True)
        ]
        trajectory = _with_tail(firsts, shape)
        return trajectory, [first.velocity_rad_s if self._velocity else first.position_rad for first in firsts]

    def _soonest_s(self, starts: Sequence[_Start], longest_s: float) -> float:
        """Return in which time all joints can come to rest within their limits, by a constant deceleration."""
        for joint, start in zip(self._joints.each, starts, strict=True):
            for place, velocity in (start.here, *start.others):
                limit = joint.bounds.upper_rad if velocity > 0 else joint.bounds.lower_rad
                room = (limit - place) * math.copysign(1.0, velocity)
                if velocity and abs(velocity) * longest_s > 2 * room:
                    longest_s = max(2 * room / abs(velocity), _LEAST_S)
        return longest_s

    def _wanted_velocity(self, joint: Joint, start: _Start, value: float, share: float) -> float:
        """Return the velocity that the policy asks for, within the velocity limit."""
        fastest = joint.bounds.velocity_rad_s * share
        velocity = value if self._velocity else (value - start.here.position_rad) / self._first_s
        return min(max(velocity, -fastest), fastest)

    def _first(self, joint: Joint, start: _Start, wanted: float, shape: _Shape) -> State:
        """Return the state of the first knot: as near to what the policy wants as the way to the end allows."""
        (here, velocity), first_s, tail_s = start.here, shape.first_s, shape.tail_s
        lower, upper = joint.bounds.lower_rad + _SPARE_RAD, joint.bounds.upper_rad - _SPARE_RAD
        if self._velocity:
            all_s, rest = first_s / 2 + tail_s, velocity * first_s / 2
            velocity = _within_room(wanted, (lower - here - rest) / all_s, (upper - here - rest) / all_s)
            first = State(here + rest + velocity * first_s / 2, velocity)
        else:
            all_s = first_s + tail_s
            velocity = _within_room(wanted, (lower - here) / all_s, (upper - here) / all_s)
            first = State(here + velocity * first_s, velocity)
        return _without_overshoot(joint, start, first, first_s)

    # where they are --------------------------------------------------------------------------------------------------

    def _starts(self, now_ns: int) -> list[_Start]:
        return [self._start(joint, index, now_ns) for index, joint in enumerate(self._joints.each)]

    def _start(self, joint: Joint, index: int, now_ns: int) -> _Start:
        """Return the state to start from: where it was sent, or where it is if that is elsewhere.

        What was measured is moved on by what the joint was sent since; where it was sent nowhere, by its velocity.
        """
        assert joint.sample is not None
        q, v, measured_ns = joint.sample.position_rad, joint.sample.velocity_rad_s, joint.sample.measured_ns
        age_s = min(max(now_ns - measured_ns, 0) / 1e9, _COASTS_S)
        if self._plan is None:
            here = State(q + v * age_s, v)
            return _Start(here, [State(here.position_rad + v * _TRANSIT_S, v)])
        then, now, soon = (
            self._plan.state(index, at_ns) for at_ns in (measured_ns, now_ns, now_ns + round(_TRANSIT_S * 1e9))
        )
        measured = State(q + now.position_rad - then.position_rad, v + now.velocity_rad_s - then.velocity_rad_s)
        later = State(q + soon.position_rad - then.position_rad, v + soon.velocity_rad_s - then.velocity_rad_s)
        off = self._latency_s * max(abs(v), abs(now.velocity_rad_s), abs(then.velocity_rad_s)) + _OFF_RAD
        here = now if abs(now.position_rad - measured.position_rad) <= off else measured
        return _Start(here, [now, soon, measured, later])

    # the safe action -------------------------------------------------------------------------------------------------

    def goes_on(self, now_ns: int, until_ns: int) -> bool:
        """See `Commands`."""
        return True

    def safe(self, now_ns: int, newest_ns: int | None) -> Trajectory | None:
        """See `Commands`."""
        if self._stop_ns is None or self._held is None:
            return self._brake(now_ns, newest_ns)
        if now_ns < self._stop_ns:
            return None  # one message has said it all
        places = self._held.places_rad
        if newest_ns is not None:
            here = [joint.sample.position_rad for joint in self._joints.each if joint.sample is not None]
            places = self._held.step(here, now_ns)
        self._next = [State(place, 0.0) for place in places]
        return Trajectory((Knot(_HOLD_S, places, [0.0] * len(places)),))

    def _brake(self, now_ns: int, newest_ns: int | None) -> Trajectory | None:
        """Come to rest from where the joints are, within their limits; None: it is not known where they are."""
        if newest_ns is None and self._plan is None:
            return None
        starts = self._starts(now_ns)
        self._next = [start.here for start in starts]
        brake_s = _STEADY_S
        for joint, (_, velocity) in zip(self._joints.each, self._next, strict=True):
            brake_s = max(brake_s, min(abs(velocity), joint.bounds.velocity_rad_s) / braking_rad_s2(joint))
        brake_s, ends = self._soonest_s(starts, brake_s), []
        for joint, (position, velocity) in zip(self._joints.each, self._next, strict=True):
            bounds = joint.bounds
            end = position + velocity * brake_s / 2
            ends.append(min(max(end, min(bounds.lower_rad, position)), max(bounds.upper_rad, position)))
        self._stop_ns, self._held = now_ns + round(brake_s * 1e9), Hold(self._joints.each, ends, now_ns)
        return Trajectory((Knot(brake_s, ends, [0.0] * len(ends)),))

    def slower(self, share: float) -> None:
        """See `Commands`."""

    def resting(self, now_ns: int) -> bool:
        """See `Commands`."""
        return self._stop_ns is not None and now_ns >= self._stop_ns

    def slows_down(self) -> bool:
        """See `Commands`."""
        return False

    def sent(self, at_ns: int, command: Trajectory) -> None:
        """See `Commands`."""
        self._plan = _Plan(at_ns, self._next, command)
        for index, joint in enumerate(self._joints.each):
            joint.positions.add(at_ns, command.knots[0].positions[index])
            joint.positions.add(at_ns, command.knots[-1].positions[index])


def _within_room(velocity: float, lowest: float, highest: float) -> float:
    """Return the velocity as far as it leads to no limit; one that leads away from both is any."""
    return max(min(velocity, highest), 0.0) if velocity > 0 else min(max(velocity, lowest), 0.0)


def _without_overshoot(joint: Joint, start: _Start, first: State, first_s: float) -> State:
    """Return the first knot such that the piece up to it stays within the limits, wherever it may start."""
    for place, velocity in (start.here, *start.others):
        lower, upper = min(joint.bounds.lower_rad, place), max(joint.bounds.upper_rad, place)
        low, high = farthest(State(place, velocity), first, first_s)
        rest = place + velocity * first_s / 2
        if high > upper:
            first = State(min(first.position_rad, rest, upper), min(first.velocity_rad_s, 0.0))
        if low < lower:
            first = State(max(first.position_rad, rest, lower), max(first.velocity_rad_s, 0.0))
    return first


def _with_tail(firsts: Sequence[State], shape: _Shape) -> Trajectory:
    places, velocities = [first.position_rad for first in firsts], [first.velocity_rad_s for first in firsts]
    knots = [Knot(shape.first_s, places, velocities)]
    if not any(velocities):
        return Trajectory(tuple(knots))
    if shape.late_s >= _LEAST_S:
        places = [q + v * shape.late_s for q, v in zip(places, velocities, strict=True)]
        knots.append(Knot(shape.first_s + shape.late_s, places, velocities))
    ends = [q + v * shape.brake_s / 2 for q, v in zip(places, velocities, strict=True)]
    knots.append(Knot(knots[-1].after_s + shape.brake_s, ends, [0.0] * len(ends)))
    return Trajectory(tuple(knots))
