"""One joint: its newest sample, what was sent to it since, and how far it can still get."""

from __future__ import annotations

import math
from typing import NamedTuple

from perf_inference.safety.samples import Taken
from perf_inference.safety.sent import SentPositions, SentVelocities
from perf_inference.safety.way import Way

_STILL_RAD = 0.02  # a joint that has followed, and then not changed by a bit while so much was sent, is not measured
_STILL_NS = (
    10_000_000_000  # within this time; a policy at its goal leans to one side for ever, and an arm may rest there
)
_DEVIATIONS = 3  # samples in a row
_FOLLOWING = 3  # samples
_HALVINGS = 18  # of the velocity asked for, in the search for the fastest that is allowed
_FASTEST_READING = 10.0  # times its limit: a faster velocity is no reading of the joint


class Bounds(NamedTuple):
    """The limits of this joint."""

    lower_rad: float
    upper_rad: float
    velocity_rad_s: float
    acceleration_rad_s2: float


class Sample(NamedTuple):
    """A position that was accepted."""

    taken: Taken
    position_rad: float
    velocity_rad_s: float
    derived_from_ns: int | None = None  # the velocity is the mean since this sample [steady]; None: it was measured

    @property
    def measured_ns(self) -> int:
        """When it was measured, as its stamp says [ns, steady]."""
        return self.taken.measured_ns


class Joint:
    """Follows one joint of a robot."""

    def __init__(self, name: str, bounds: Bounds, latency_ns: int, tolerance_rad: float, max_age_ns: int) -> None:
        """Begin without a sample; `tolerance_rad` of 0: what is measured is not compared with what was sent."""
        self.name, self.bounds = name, bounds
        self.sample: Sample | None = None
        self.positions = SentPositions(latency_ns)
        self._latency_ns, self._tolerance_rad = latency_ns, tolerance_rad
        self._keep_ns = max_age_ns + latency_ns + _STILL_NS
        self._up = SentVelocities(latency_ns, self._keep_ns)
        self._down = SentVelocities(latency_ns, self._keep_ns)  # with their sign turned
        self._deviating = self._agreeing = 0  # samples in a row
        self._lost = self._stuck = ""  # where it is, and where it should be
        self._followed = False  # it has been seen to go where it was sent
        self.restart()

    # samples ---------------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Let bygones be bygones: the driving begins again."""
        self._deviating, self._agreeing, self._lost, self._stuck = 0, _DEVIATIONS, "", ""
        self._still_from_ns = self.sample.measured_ns if self.sample else 0
        self._steps = 0

    def begin_anew(self, tolerance_rad: float) -> None:
        """Know of nothing that was sent; compare from now on with this tolerance, as `__init__` has it."""
        self._tolerance_rad, self._followed = tolerance_rad, False
        self.positions = SentPositions(self._latency_ns)
        self._up, self._down = (SentVelocities(self._latency_ns, self._keep_ns) for _ in range(2))
        self.restart()

    def forget(self) -> None:
        """Drop the sample: its time means nothing any more."""
        self.sample = None

    def measured(self, taken: Taken, position_rad: float, velocity_rad_s: float | None, driving: bool) -> bool:
        """Take a newer sample; return whether it is believed.

        Args:
            velocity_rad_s: None: not measured; the way since the sample before stands in for it.
            driving: a command of the policy is in force, so that the joint must be where it leads.
        """
        before, measured_ns, derived_from_ns = self.sample, taken.measured_ns, None
        if velocity_rad_s is None or not abs(velocity_rad_s) <= _FASTEST_READING * self.bounds.velocity_rad_s:
            gap_s = (measured_ns - before.measured_ns) / 1e9 if before else math.inf
            velocity_rad_s = (position_rad - before.position_rad) / gap_s if before else 0.0
            derived_from_ns = before.measured_ns if before else None
        if before is not None and self._tolerance_rad and not self._agrees(before, measured_ns, position_rad, driving):
            return False
        self.sample = Sample(taken, position_rad, velocity_rad_s, derived_from_ns)
        self._watch_for_standstill(before, driving)
        return True

    def trouble(self) -> str:
        """Return why the joint cannot be driven although it is measured, or nothing."""
        return self._lost or self._stuck

    def _watch_for_standstill(self, before: Sample | None, driving: bool) -> None:
        """Note a reading that stays the same, bit for bit, while commands move a joint that has followed before."""
        sample = self.sample
        assert sample is not None
        if before is None or sample.position_rad != before.position_rad:
            self._still_from_ns, self._stuck = sample.measured_ns, ""
        elif driving and self._followed and self._tolerance_rad and not self._stuck:
            from_ns = max(self._still_from_ns, sample.measured_ns - _STILL_NS)
            least_rad = max(-side.moved(from_ns, sample.measured_ns) for side in (self._up, self._down))
            if least_rad > _STILL_RAD:
                self._stuck = (
                    f"{self.name} still reads {sample.position_rad:.4g} rad where the commands must have moved it by "
                    f"{least_rad:.2f} rad"
                )

    def _agrees(self, before: Sample, measured_ns: int, position_rad: float, driving: bool) -> bool:
        """Return whether a sample may be believed: the third of those that are elsewhere is, and ends the driving."""
        low, high = self._expected(before, measured_ns)
        off_rad = max(low - position_rad, position_rad - high)
        if off_rad <= self._tolerance_rad or not (driving or self._lost):
            self._deviating, self._agreeing = 0, self._agreeing + 1
            if self._agreeing >= _DEVIATIONS:
                self._lost = ""
            self._follow(position_rad - before.position_rad, driving)
            return True
        self._deviating, self._agreeing = self._deviating + 1, 0
        if self._deviating < _DEVIATIONS:
            return False
        self._lost = f"{self.name} is at {position_rad:.4g} rad, {off_rad:.2f} rad from where the commands lead"
        self._deviating = 0
        return True

    def _follow(self, step_rad: float, driving: bool) -> None:
        """Note whether the joint has been seen to go where it was sent: in three samples of one drive."""
        if not driving:
            self._steps = 0
        elif step_rad * self._up.newest > 0:
            self._steps += 1
            self._followed = self._followed or self._steps >= _FOLLOWING

    def _expected(self, before: Sample, at_ns: int) -> tuple[float, float]:
        """Return between which positions [rad] the joint must be, from where it was measured before."""
        if self.positions.newest is not None:
            places = [before.position_rad, *self.positions.since(before.measured_ns)]
            return min(places), max(places)
        down, up = self._way_from(before, self._down, -1), self._way_from(before, self._up, 1)
        for side, way in ((self._down, down), (self._up, up)):
            for piece in side.pieces(before.measured_ns, at_ns):
                way.go(*piece)
        return before.position_rad - down.rad, before.position_rad + up.rad

    # commands --------------------------------------------------------------------------------------------------------

    @property
    def newest_velocity(self) -> float:
        """What was sent last [rad/s]."""
        return self._up.newest

    def sent_velocity(self, now_ns: int, velocity_rad_s: float) -> None:
        """Note a velocity that leaves now."""
        self._up.add(now_ns, velocity_rad_s)
        self._down.add(now_ns, -velocity_rad_s)

    def allowed_velocity(self, velocity_rad_s: float, now_ns: int, until_ns: int) -> float:
        """Return the velocity nearest to the one asked for that may be sent now, to be stopped at `until_ns`.

        With it the joint stays within the limit that it is sent towards, even if no other sample is ever accepted.
        """
        assert self.sample is not None
        wanted = min(abs(velocity_rad_s), self.bounds.velocity_rad_s)
        upwards = velocity_rad_s > 0
        here = self.sample.position_rad
        room_rad = self.bounds.upper_rad - here if upwards else here - self.bounds.lower_rad
        side, sign = (self._up, 1) if upwards else (self._down, -1)
        past, ahead = self._past(side, sign, now_ns), side.ahead(now_ns)
        driven_s = (until_ns - now_ns) / 1e9

        def stays_within(velocity: float) -> bool:
            return past.farthest_rad(ahead, velocity, driven_s) <= room_rad

        if wanted == 0 or stays_within(wanted):
            return sign * wanted
        allowed, refused = 0.0, wanted
        if stays_within(allowed):
            for _ in range(_HALVINGS):
                middle = (allowed + refused) / 2
                if stays_within(middle):
                    allowed = middle
                else:
                    refused = middle
        return sign * allowed

    def _past(self, side: SentVelocities, sign: int, now_ns: int) -> Way:
        """Return the way in one direction from the sample until now.

        The sample may have been measured at any time between what its stamp says and when it was accepted, so a move
        back within that time does not count, nor does slowing down: it may have been before.
        """
        sample = self.sample
        assert sample is not None
        way = self._way_from(sample, side, sign)
        for duration_s, fastest in side.pieces(sample.measured_ns, sample.taken.accepted_ns):
            way.go(duration_s, max(fastest, sign * sample.velocity_rad_s, 0.0))
        for piece in side.pieces(sample.taken.accepted_ns, now_ns):
            way.go(*piece)
        return way

    def _way_from(self, sample: Sample, side: SentVelocities, sign: int) -> Way:
        """Begin a way with the velocity of the sample; of a mean it is not known what came last, but what was sent."""
        velocity = sign * sample.velocity_rad_s
        if sample.derived_from_ns is not None:
            sent = side.pieces(sample.derived_from_ns, sample.measured_ns)
            velocity = max([velocity, *(fastest for _, fastest in sent)])
        return Way(velocity, self.bounds.acceleration_rad_s2, side.fastest(sample.measured_ns), self._latency_ns / 1e9)

    # positions -------------------------------------------------------------------------------------------------------

    def allowed_position(self, position_rad: float, period_ns: int) -> float:
        """Return the position nearest to the one asked for that may be sent now.

        It lies within the limits and no farther from where the joint can be than its velocity allows in a period. A
        joint that is outside its limits comes back no faster than that either.
        """
        assert self.sample is not None
        places = [self.sample.position_rad, *self.positions.since(self.sample.measured_ns)]
        reach = self.bounds.velocity_rad_s * period_ns / 1e9
        inside = min(max(position_rad, self.bounds.lower_rad), self.bounds.upper_rad)
        return min(max(inside, min(places) - reach), max(places) + reach)

    def position_now(self, now_ns: int) -> float:
        """Return where the joint must be by now [rad]: on its way to what was sent last, no faster than it may be."""
        assert self.sample is not None
        here, there = self.sample.position_rad, self.positions.newest
        if there is None:
            return here
        reach = self.bounds.velocity_rad_s * (now_ns - self.sample.measured_ns) / 1e9
        return here + min(max(there - here, -reach), reach)
