"""Trajectories that a controller accepts, and that end at rest within the limits whoever dies when."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Sequence

import pytest
from support.trajectory_follower import RULES, Follower, Message, Point, refusal

from perf_inference.errors import InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from perf_inference.safety.commands.knots import Knot, State, Trajectory, between, farthest, state_at

MS = 1_000_000
EPOCH_NS = 1_700_000_000_000_000_000
STEP_MS = 2.0
SLACK_RAD = 1e-6


def as_message(names: Sequence[str], trajectory: Trajectory) -> Message:
    points = [Point(knot.after_s, knot.positions, knot.velocities, [], []) for knot in trajectory.knots]
    return Message(list(names), 0.0, points)


class Arm:
    """A gate, a JointTrajectoryController behind it, and joints that follow that with a lag."""

    def __init__(
        self, kind: str = "velocity", period_s: float = 0.1, latency_s: float = 0.15, lag_s: float = 0.0,
        safe_action: str = "zero", from_desired: bool = False, places: Sequence[float] = (0.0, 0.0),
        limits: JointLimits | None = None, open_loop_s: float = 0.3, transit_ms: float = 0.0,
    ) -> None:  # fmt: skip
        count = len(places)
        self.names = [f"j{index}" for index in range(count)]
        self.limits = limits or JointLimits.of(self.names, [-1.0] * count, [1.0] * count, [2.0] * count)
        self.ms, self.transit_ms = 1000.0, transit_ms
        self.trajectories: list[Trajectory] = []
        self.refusals: list[str] = []
        self.places, self.velocities, self._lag_s = list(places), [0.0] * count, lag_s
        self.lowest, self.highest, self.fastest = list(places), list(places), 0.0
        self._coming: list[tuple[float, Message]] = []
        self.follower = Follower(self.names, places, from_desired)
        self.looks = self.measures = True
        settings = GateSettings(kind, period_s, 0.3, latency_s, 0.0, safe_action, 0.0, True, open_loop_s)
        self.gate = Gate(self.limits, settings, {"joint_states": "/joint_states"}, self._sent)
        self.gate.look(self.now())
        self.gate.enable(True, self.now())
        self.measure()

    def now(self) -> Instant:
        return Instant(round(self.ms * MS), EPOCH_NS + round(self.ms * MS))

    def _sent(self, trajectory: Trajectory) -> None:
        message = as_message(self.names, trajectory)
        self.trajectories.append(trajectory)
        self.refusals += [why for rules in RULES if (why := refusal(message, self.names, self.ms / 1e3, rules))]
        self._coming.append((self.ms + self.transit_ms, message))

    def measure(self) -> None:
        self.gate.joint_states(self.now(), self.now().ros_ns, self.names, self.places, self.velocities)

    def release(self, *values: float) -> list[float]:
        return self.gate.release(self.now(), values, self.gate.observed_ns())[0]

    def later(self, ms: float) -> None:
        """Let time pass; samples at 100 Hz, looks at 50 Hz."""
        for _ in range(round(ms / STEP_MS)):
            self.ms += STEP_MS
            while self._coming and self._coming[0][0] <= self.ms:
                self.follower.receive(self._coming.pop(0)[1], self.ms / 1e3, self.places, self.velocities)
            self.follower.sample(self.ms / 1e3)
            self._follow()
            if self.measures and self.ms % 10 < STEP_MS:
                self.measure()
            if self.looks and self.ms % 20 < STEP_MS:
                self.gate.look(self.now())

    def _follow(self) -> None:
        gain = 1.0 if not self._lag_s else 1 - math.exp(-STEP_MS / 1e3 / self._lag_s)
        for index, desired in enumerate(self.follower.positions):
            step = gain * (desired - self.places[index])
            self.places[index] += step
            self.velocities[index] = step / (STEP_MS / 1e3)
            self.lowest[index] = min(self.lowest[index], self.places[index])
            self.highest[index] = max(self.highest[index], self.places[index])
            self.fastest = max(self.fastest, abs(self.velocities[index]))

    def beyond(self) -> float:
        lower, upper = self.limits.lower_rad, self.limits.upper_rad
        return max(
            max(high - up, low - lowest) for lowest, high, low, up in zip(
                self.lowest, self.highest, lower, upper, strict=True)
        )  # fmt: skip

    def drive(self, policy: Callable[[], Sequence[float]], ms: float, period_ms: float = 100.0) -> None:
        for _ in range(round(ms / period_ms)):
            self.release(*policy())
            self.later(period_ms)


# knots ---------------------------------------------------------------------------------------------------------------


def test_a_piece_of_constant_deceleration_is_a_parabola() -> None:
    # 2 rad/s to rest in 0.5 s: 0.5 rad, after half the time 1 rad/s and 0.375 rad
    start, end = State(0.0, 2.0), State(0.5, 0.0)
    assert between(start, end, 0.5, 0.25) == pytest.approx(State(0.375, 1.0))
    assert farthest(start, end, 0.5) == pytest.approx((0.0, 0.5))


@pytest.mark.parametrize("seed", range(20))
def test_the_farthest_places_of_a_piece_are_those_that_are_met(seed: int) -> None:
    chance = random.Random(seed)
    start, end = (State(chance.uniform(-1, 1), chance.uniform(-5, 5)) for _ in range(2))
    duration = chance.uniform(0.01, 1.0)
    met = [between(start, end, duration, duration * step / 2000).position_rad for step in range(2001)]
    assert farthest(start, end, duration) == pytest.approx((min(met), max(met)), abs=1e-5)


def test_after_its_end_a_trajectory_rests() -> None:
    trajectory = Trajectory((Knot(0.1, [0.1], [1.0]), Knot(0.3, [0.2], [0.0])))
    assert state_at([State(0.0, 1.0)], trajectory, 0.05)[0] == pytest.approx((0.05, 1.0))
    assert state_at([State(0.0, 1.0)], trajectory, 0.2)[0] == pytest.approx((0.175, 0.5))
    assert state_at([State(0.0, 1.0)], trajectory, 5.0) == [State(0.2, 0.0)]


# the shape -----------------------------------------------------------------------------------------------------------


def test_a_velocity_is_a_knot_a_reserve_for_lateness_and_a_tail() -> None:
    # t [s]       0    0.1        0.15           0.25 + ...
    # velocity    0 -- 1 -------- 1 ------------ 0          braking takes 1 / (2 / 0.25) = 0.125 s
    # position    0    0.05       0.1            0.1625
    arm = Arm()
    assert arm.release(1.0, 0.0) == [1.0, 0.0]
    knots = arm.trajectories[-1].knots
    assert [knot.after_s for knot in knots] == pytest.approx([0.1, 0.15, 0.275])
    assert [knot.positions[0] for knot in knots] == pytest.approx([0.05, 0.1, 0.1625])
    assert [knot.velocities for knot in knots] == [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]


def test_the_tail_brakes_no_harder_than_the_joint_can() -> None:
    arm = Arm(limits=JointLimits.of(("j0", "j1"), (-3, -3), (3, 3), (2, 2), (1.0, 4.0)))
    arm.release(1.0, 2.0)
    *_, before, last = arm.trajectories[-1].knots
    assert last.after_s - before.after_s == pytest.approx(1.0), "the slowest joint decides"


@pytest.mark.parametrize(("open_loop_s", "ahead_s"), [(0.3, 0.15), (0.12, 0.12), (0.05, 0.05)])
def test_how_far_is_sent_ahead_is_bounded(open_loop_s: float, ahead_s: float) -> None:
    arm = Arm(open_loop_s=open_loop_s)
    arm.release(1.0, 0.0)
    assert arm.trajectories[-1].knots[-2].after_s == pytest.approx(ahead_s)


def test_a_slow_policy_rests_between_two_actions() -> None:
    arm = Arm(period_s=1.0)
    arm.release(1.0, 0.0)
    assert arm.trajectories[-1].knots[-1].after_s < 0.7
    arm.later(900)
    assert arm.velocities == pytest.approx([0.0, 0.0])


def test_a_position_is_reached_within_a_period_and_left_with_the_same_velocity() -> None:
    arm = Arm(kind="position")
    assert arm.release(0.1, -0.05) == pytest.approx([0.1, -0.05])
    first, *_, last = arm.trajectories[-1].knots
    assert (first.after_s, first.positions) == (pytest.approx(0.1), pytest.approx([0.1, -0.05]))
    assert first.velocities == pytest.approx([1.0, -0.5])
    assert last.velocities == [0.0, 0.0]


def test_a_position_that_stays_is_a_single_knot_at_rest() -> None:
    arm = Arm(kind="position")
    arm.drive(lambda: (0.1, 0.1), 2000)
    assert arm.trajectories[-1].knots[0].velocities == pytest.approx([0.0, 0.0], abs=1e-6)
    assert arm.places == pytest.approx([0.1, 0.1], abs=1e-3)


def test_a_constant_velocity_is_driven_without_a_ripple() -> None:
    arm = Arm(places=(-0.9, -0.9))
    arm.drive(lambda: (0.5, 0.25), 500)
    speeds = []
    for _ in range(100):
        if len(speeds) % 10 == 0:
            arm.release(0.5, 0.25)
        arm.later(10)
        speeds.append(arm.velocities[0])
    assert min(speeds) == pytest.approx(0.5, abs=0.02)
    assert max(speeds) == pytest.approx(0.5, abs=0.02)


# stops ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("safe_action", ["zero", "hold", "stop", "decelerate"])
def test_every_safe_action_is_a_trajectory_to_rest(safe_action: str) -> None:
    arm = Arm(safe_action=safe_action, places=(-0.5, 0.5))
    arm.drive(lambda: (1.0, -1.0), 500)
    sent = len(arm.trajectories)
    arm.gate.enable(False, arm.now())
    arm.later(1000)
    assert len(arm.trajectories) == sent + 1 if safe_action == "stop" else len(arm.trajectories) > sent + 10
    assert all(knot.velocities == [0.0, 0.0] for t in arm.trajectories[sent:] for knot in t.knots[-1:])
    assert arm.velocities == pytest.approx([0.0, 0.0])
    assert arm.refusals == []


@pytest.mark.parametrize("lag_s", [0.0, 0.05])
@pytest.mark.parametrize("kind", ["velocity", "position"])
def test_the_death_of_everything_at_full_speed_towards_a_limit_ends_in_a_stop_within_it(
    kind: str, lag_s: float
) -> None:
    for died_ms in range(100, 1000, 70):
        arm = Arm(kind=kind, lag_s=lag_s, places=(-0.3, 0.3))
        goal = (2.0, -2.0) if kind == "velocity" else (5.0, -5.0)
        arm.drive(lambda goal=goal: goal, died_ms // 100 * 100)  # type: ignore[misc]
        arm.release(*goal)
        arm.later(died_ms % 100)
        arm.looks = arm.measures = False
        arm.later(1500)
        assert arm.velocities == pytest.approx([0.0, 0.0], abs=1e-6)
        assert arm.beyond() < SLACK_RAD


def test_beyond_a_limit_it_may_only_come_back() -> None:
    arm = Arm(places=(1.3, 0.0))
    assert arm.release(1.0, 0.0)[0] == 0.0
    arm.later(100)
    assert arm.release(-1.0, 0.0)[0] == pytest.approx(-1.0)
    arm.later(500)
    assert arm.highest[0] == pytest.approx(1.3)


def test_a_share_of_the_limits_slows_both_kinds() -> None:
    for kind, goal in (("velocity", 2.0), ("position", 1.0)):
        arm = Arm(kind=kind)
        arm.gate.scale(0.25, arm.now())
        arm.release(goal, 0.0)
        assert arm.trajectories[-1].knots[0].velocities[0] == pytest.approx(0.5)


@pytest.mark.slow
def test_no_trajectory_gets_a_joint_beyond_its_limits_whatever_is_lost_late_or_dead() -> None:
    moved = 0
    for seed in range(120):
        chance = random.Random(seed)
        outcome = history(chance)
        assert outcome.refusals == [], seed
        assert outcome.beyond() < SLACK_RAD, seed
        assert all(abs(v) < 1e-3 for v in outcome.velocities), seed
        moved += outcome.fastest > 0.1
    assert moved > 100


def history(chance: random.Random) -> Arm:
    """Drive an arm for a while with anything, then let something die; what it was measured as is true."""
    count = chance.choice((1, 2, 3))
    names = [f"j{index}" for index in range(count)]
    lower = [chance.uniform(-2, -0.3) for _ in names]
    upper = [chance.uniform(0.3, 2) for _ in names]
    braking = [chance.uniform(2, 20) for _ in names] if chance.random() < 0.5 else []
    limits = JointLimits.of(names, lower, upper, [chance.choice((0.5, 2.0, 5.0)) for _ in names], braking)
    lag_s = chance.choice((0.0, 0.02, 0.05))
    period_s = chance.choice((0.02, 0.05, 0.1, 0.3))
    arm = Arm(
        kind=chance.choice(("velocity", "position")), period_s=period_s, lag_s=lag_s, latency_s=3 * lag_s,
        safe_action=chance.choice(("zero", "hold", "stop", "decelerate")), from_desired=chance.random() < 0.3,
        places=[chance.uniform(low, high) for low, high in zip(lower, upper, strict=True)], limits=limits,
        open_loop_s=chance.choice((0.02, 0.1, 0.3)), transit_ms=chance.choice((0.0, 2.0, 6.0)),
    )  # fmt: skip
    style = chance.choice(("bang", "walk", "up", "huge"))
    arm_goal = [chance.choice((-1, 1)) * 9.0 for _ in names]

    def wanted() -> list[float]:
        nonlocal arm_goal
        if style == "bang" and chance.random() < 0.1:
            arm_goal = [chance.choice((-1, 1)) * 9.0 for _ in names]
        if style == "walk":
            arm_goal = [chance.gauss(0, 2) for _ in names]
        return [1e6 * goal for goal in arm_goal] if style == "huge" else arm_goal

    for _ in range(round(chance.uniform(0.3, 2.0) / period_s)):
        if chance.random() > 0.1:  # now and again one is missing
            with contextlib.suppress(InputError):
                arm.release(*wanted())
        arm.later(STEP_MS * round(period_s * 1e3 * chance.choice((1.0, 1.0, 1.0, 0.5, 1.7)) / STEP_MS))
    end = chance.choice(("all die", "disabled", "policy dies", "samples end"))
    if end == "disabled":
        arm.gate.enable(False, arm.now())
    arm.looks, arm.measures = end != "all die", end not in ("all die", "samples end")
    arm.later(STEP_MS * round(chance.uniform(1500, 2500) / STEP_MS))
    if braking:
        arm.later(3000)
    return arm


# the rules of the controller -----------------------------------------------------------------------------------------

GOOD = Message(
    ["a", "b"], 0.0, [Point(0.1, [0.0, 0.0], [1.0, 0.0], [], []), Point(0.2, [0.0, 0.0], [0.0, 0.0], [], [])]
)


@pytest.mark.parametrize(
    ("message", "refused_by"),
    [
        (GOOD, ()),
        (GOOD._replace(names=["a"]), RULES),
        (GOOD._replace(names=["a", "c"]), RULES),
        (GOOD._replace(points=[]), RULES),
        (GOOD._replace(points=GOOD.points[:1]), ("jazzy", "rolling")),
        (GOOD._replace(points=GOOD.points[:1] * 2), RULES),
        (GOOD._replace(points=[GOOD.points[1]._replace(positions=[])]), RULES),
        (GOOD._replace(points=[GOOD.points[1]._replace(velocities=[0.0])]), RULES),
        (GOOD._replace(points=[GOOD.points[1]._replace(effort=[0.0, 0.0])]), RULES),
        (GOOD._replace(stamp_s=9.7), RULES),
        (GOOD._replace(stamp_s=9.9), ()),
    ],
)
def test_the_follower_refuses_what_the_controller_does(message: Message, refused_by: Sequence[str]) -> None:
    assert tuple(rules for rules in RULES if refusal(message, ["a", "b"], 10.0, rules)) == tuple(refused_by)
