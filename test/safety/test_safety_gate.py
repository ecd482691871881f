"""The gate on a clock that the test holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from perf_inference.errors import ConfigError, InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from perf_inference.safety.sent import SentVelocities

MS = 1_000_000
EPOCH_NS = 1_700_000_000_000_000_000
LIMITS = JointLimits.of(("a", "b"), (-1.0, -1.0), (1.0, 1.0), (2.0, 2.0))


class Play:
    """A gate at 10 Hz whose samples may be 0.3 s old, with an arm at rest unless the test says otherwise."""

    def __init__(
        self, kind: str = "velocity", latency_s: float = 0.0, tolerance_rad: float = 0.2, safe_action: str = "zero",
        limits: JointLimits = LIMITS, enabled: bool = True,
    ) -> None:  # fmt: skip
        self.ms, self.sent = 1000.0, []  # type: ignore[var-annotated]
        self.ros_offset_ms = 0.0
        settings = GateSettings(kind, 0.1, 0.3, latency_s, tolerance_rad, safe_action)
        self.gate = Gate(limits, settings, {n: f"/{n}" for n in ("image", "joint_states", "force")}, self.sent.append)
        self.gate.look(self.now())
        if enabled:
            self.gate.enable(True, self.now())
        self.fresh()

    def now(self) -> Instant:
        return Instant(round(self.ms * MS), EPOCH_NS + round((self.ms + self.ros_offset_ms) * MS))

    def stamp(self, age_ms: float = 0.0) -> int:
        return self.now().ros_ns - round(age_ms * MS)

    def joints(self, a: float = 0.0, b: float = 0.0, age_ms: float = 0.0, names: Sequence[str] = ("a", "b"),
               velocities: Sequence[float] = (0.0, 0.0)) -> bool:  # fmt: skip
        return self.gate.joint_states(self.now(), self.stamp(age_ms), names, [a, b], velocities)

    def fresh(self, a: float = 0.0, b: float = 0.0) -> None:
        """A new sample of everything."""
        self.ms += 1
        for name in ("image", "force"):
            self.gate.accept(name, self.now(), self.stamp())
        self.joints(a, b)

    def later(self, ms: float, look: bool = True) -> str:
        """Let time pass with a look every 20 ms."""
        end = self.ms + ms
        while self.ms < end:
            self.ms = min(self.ms + 20, end)
            if look:
                self.gate.look(self.now())
        return self.gate.reason

    def release(self, *values: float) -> list[float]:
        return self.gate.release(self.now(), values, self.gate.observed_ns())[0]


def test_a_command_towards_a_limit_is_as_fast_as_it_can_be_stopped() -> None:
    # The joints are 0.8 and 2 rad from their limits; nothing more is accepted, so the gate stops them when the sample
    # is 300 ms old, at a look that may be 100 ms late: 0.8 / 0.4 s = 2 rad/s
    play = Play()
    play.fresh(0.2, 0.6)
    assert play.release(5.0, 5.0) == pytest.approx([2.0, 1.0], abs=1e-4)


def test_the_latency_of_the_actuator_is_way_too() -> None:
    play = Play(latency_s=0.1)
    play.fresh(0.5)
    assert play.release(2.0, 0.0)[0] == pytest.approx(0.5 / (0.3 + 0.1 + 0.1), abs=1e-4)


def test_braking_needs_its_way() -> None:
    # v h + v^2 / (2 a) = 0.5 with h = 0.4 s and a = 1 rad/s^2
    play = Play(limits=JointLimits.of(("a", "b"), (-1, -1), (1, 1), (2, 2), (1, 1)))
    play.fresh(0.5)
    assert play.release(2.0, 0.0)[0] == pytest.approx(-0.4 + math.sqrt(0.16 + 2 * 0.5), abs=1e-4)


def test_what_was_sent_since_a_late_sample_was_taken_counts() -> None:
    # t [ms]   0            200 (since the sample)
    # sent     2 rad/s ----- now
    # The joint is at -0.6 + 0.4 rad by now, and another 100 + 100 ms may pass until it is stopped: 1.2 / 0.2 s
    play = Play(tolerance_rad=0)
    play.fresh(-0.6)
    play.release(2.0, 0.0)
    play.later(200)
    play.gate.accept("image", play.now(), play.stamp())
    play.gate.accept("force", play.now(), play.stamp())
    play.joints(-0.6, age_ms=199.5)
    assert play.release(2.0, 0.0)[0] == pytest.approx(2.0)
    play.joints(0.1, age_ms=199)  # 0.5 by now
    assert play.release(2.0, 0.0)[0] == pytest.approx(2.0)
    play.joints(0.3, age_ms=198)  # 0.7 by now, 202 ms until it is stopped
    assert play.release(2.0, 0.0)[0] == pytest.approx((1 - 0.3 - 2 * 0.198) / 0.202, abs=1e-3)


def test_an_older_faster_command_may_still_be_in_force() -> None:
    # 2 rad/s until now, 0.5 from now on: for one latency (100 ms) the 2 may last
    play = Play(latency_s=0.1, tolerance_rad=0)
    play.fresh(0.0)
    play.release(2.0, 0.0)
    play.ms += 50
    play.joints(0.3)
    room = 1 - 0.3 - 2.0 * 0.1
    assert play.release(1.9, 0.0)[0] == pytest.approx(room / 0.4, abs=1e-3)


@pytest.mark.parametrize(("a", "wanted", "allowed"), [(1.2, 1.0, 0.0), (1.2, -1.0, -1.0), (-1.2, -1.0, 0.0)])
def test_a_joint_beyond_its_limit_may_only_come_back(a: float, wanted: float, allowed: float) -> None:
    play = Play()
    play.fresh(a)
    assert play.release(wanted, 0.0)[0] == allowed


@pytest.mark.parametrize(
    ("names", "positions", "said"),
    [
        (("a", "b"), (math.nan, 0.0), "possible position of a, got nan"),
        (("a", "b"), (0.0, math.inf), "possible position of b, got inf"),
        (("a", "b"), (1e30, 0.0), r"possible position of a, got 1e\+30 rad with limits -1 to 1"),
        (("a", "b"), (0.0,), "must have a position for each name"),
        (("a", "b", "a"), (0.0, 0.0, 0.0), "must name each joint once"),
        ((), (0.0, 0.0), "must have a position for each name"),
    ],
)
def test_a_sample_that_cannot_be_used_is_refused_and_does_not_make_it_fresh(
    names: tuple[str, ...], positions: tuple[float, ...], said: str
) -> None:
    play = Play()
    play.release(0.1, 0.1)
    for _ in range(20):
        play.later(20)
        play.gate.accept("image", play.now(), play.stamp())
        play.gate.accept("force", play.now(), play.stamp())
        with pytest.raises(InputError, match=said):
            play.gate.joint_states(play.now(), play.stamp(), names, positions, ())
    assert play.gate.reason.startswith("nothing on /joint_states for 0.")
    assert "that can be used: joint_states must" in play.gate.reason
    assert play.sent[-1] == [0.0, 0.0]


def test_other_joints_on_the_topic_are_none_of_ours_and_do_not_make_it_fresh() -> None:
    play = Play()
    play.release(0.1, 0.1)
    for _ in range(20):
        play.later(20)
        play.gate.accept("image", play.now(), play.stamp())
        play.gate.accept("force", play.now(), play.stamp())
        assert not play.joints(names=("gripper", "lid"))
    assert "nothing on /joint_states" in play.gate.reason
    assert play.sent[-1] == [0.0, 0.0]


def test_the_joint_that_is_oldest_says_how_fresh_all_are() -> None:
    play = Play()
    play.release(0.1, 0.1)
    for _ in range(20):
        play.later(20)
        play.gate.accept("image", play.now(), play.stamp())
        play.gate.accept("force", play.now(), play.stamp())
        assert play.gate.joint_states(play.now(), play.stamp(), ["a"], [0.0], [0.0])
    assert "nothing on /joint_states" in play.gate.reason
    play.gate.joint_states(play.now(), play.stamp(), ["b"], [0.0], [])
    assert play.release(0.1, 0.1) == [0.1, 0.1]


def test_a_velocity_that_is_not_finite_counts_as_absent() -> None:
    play = Play()
    play.ms += 10
    play.joints(0.0, 0.0, velocities=(math.nan, math.inf))
    play.ms += 10
    play.joints(0.01, 0.0, velocities=())
    row = play.gate.joint_row()
    assert row is not None
    assert row[1] == pytest.approx([1.0, 0.0])


def test_a_frozen_stamp_is_no_new_sample() -> None:
    play = Play()
    stamp = play.stamp(-1)
    play.ms += 1
    play.gate.joint_states(play.now(), stamp, ["a", "b"], [0.0, 0.0], [])
    play.ms += 10
    with pytest.raises(InputError, match="got the one before again: is it frozen"):
        play.gate.joint_states(play.now(), stamp, ["a", "b"], [0.1, 0.0], [])


def test_a_clock_that_stands_still_does_not_stop_ageing() -> None:
    play = Play()
    play.later(100)
    play.fresh()
    play.release(0.1, 0.1)
    for _ in range(20):
        play.ms, play.ros_offset_ms = play.ms + 20, play.ros_offset_ms - 20
        play.gate.look(play.now())
        with pytest.raises(InputError):
            play.joints()
    assert play.gate.reason.startswith("nothing on")
    with pytest.raises(InputError, match="the ROS clock stands still"):
        play.joints(age_ms=-1)


def test_what_comes_late_while_the_clock_stands_still_is_as_old_as_it_is() -> None:
    play = Play(tolerance_rad=0)
    play.later(300)
    play.fresh()
    stamp = play.stamp(-1)  # taken 1 ms from now; the clock stops after it
    play.ms += 1
    for _ in range(10):
        play.ms, play.ros_offset_ms = play.ms + 20, play.ros_offset_ms - 20
        play.gate.look(play.now())
    play.gate.joint_states(play.now(), stamp, ["a", "b"], [0.0, 0.0], [])
    assert play.ms * MS - play.gate.observed_ns() == pytest.approx(201 * MS, abs=2 * MS)


def test_after_a_clock_that_steps_back_nothing_is_believed_until_all_old_samples_are_too_old() -> None:
    play = Play()
    play.release(0.5, 0.5)
    play.ros_offset_ms -= 200
    play.later(20)
    assert play.gate.reason.startswith("nothing has come on")
    with pytest.raises(InputError, match="the ROS clock has stepped back"):
        play.joints()
    play.later(500)  # 0.3 s and the step
    play.fresh()
    assert play.release(0.5, 0.5) == [0.5, 0.5]


@pytest.mark.parametrize(("age_ms", "said"), [(301, "is 0.301 s old: it came late"), (-150, "is 0.150 s ahead")])
def test_a_stamp_that_is_too_old_or_lies_ahead_is_refused(age_ms: float, said: str) -> None:
    play = Play()
    play.ms += 400
    with pytest.raises(InputError, match=said):
        play.joints(age_ms=age_ms)


def test_a_stamp_a_little_ahead_counts_as_so_much_old() -> None:
    play = Play()
    play.ms += 100
    play.fresh()
    play.ms += 60
    play.joints(age_ms=-50)
    assert play.ms * MS - play.gate.observed_ns() >= 50 * MS


def test_a_clock_that_stamps_ahead_is_not_forgotten_while_all_comes_late() -> None:
    play = Play(tolerance_rad=0)
    play.ms += 100
    play.joints(age_ms=-80)
    for _ in range(30):  # 3 s
        play.later(100)
        play.joints(age_ms=150 - 80)
    for name in ("image", "force"):
        play.gate.accept(name, play.now(), play.stamp())
    assert play.ms * MS - play.gate.observed_ns() >= 150 * MS


def test_a_late_engine_gives_the_safe_action() -> None:
    play = Play()
    play.release(0.5, 0.0)
    reason = ""
    for _ in range(25):
        play.fresh(min(0.5 * (play.ms - 1000) / 1000, 0.2))
        reason = play.later(19)
    assert reason.startswith("no action for 0.5 s")
    assert play.sent[-1] == [0.0, 0.0]


def test_a_command_that_leads_to_a_limit_does_not_outlive_its_sample() -> None:
    # 1 Hz: the next action is a second away; 0.3 s after the sample the command could no longer be stopped in time
    play = Play()
    play.fresh(0.2)
    assert play.release(2.0, 0.0)[0] == pytest.approx(2.0, abs=1e-3)
    position = 0.2
    for _ in range(17):
        position += 2.0 * 0.02 * (play.sent[-1][0] > 0)
        play.fresh(position)
        play.later(19)
    assert play.sent[-1] == [0.0, 0.0]
    assert play.gate.reason == "no newer action, and the last one leads to a limit"
    assert position < 1.0


def test_a_slow_policy_drives_on_while_there_is_room() -> None:
    play = Play()
    play.release(0.1, 0.0)
    for _ in range(18):
        play.fresh(0.1 * (play.ms - 1000) / 1000)
        play.later(19)
    assert play.gate.reason == ""
    assert play.sent[-1] == [0.1, 0.0]


def test_what_rests_on_an_old_observation_is_not_sent() -> None:
    play = Play()
    observed_ns = play.gate.observed_ns()
    play.ms += 310
    play.fresh()
    with pytest.raises(InputError, match=r"the observation grew older than 0\.3 s"):
        play.gate.release(play.now(), [0.1, 0.1], observed_ns)


@pytest.mark.parametrize("values", [(math.nan, 0.0), (0.0,), (0.0, math.inf)])
def test_what_is_not_finite_is_not_sent(values: tuple[float, ...]) -> None:
    play = Play()
    with pytest.raises(InputError, match="must be 2 finite values"):
        play.release(*values)


def test_disabled_or_stopping_nothing_of_the_policy_leaves() -> None:
    play = Play()
    play.release(0.5, 0.5)
    play.gate.enable(False, play.now())
    assert play.sent[-1] == [0.0, 0.0]
    with pytest.raises(InputError, match="disabled"):
        play.release(0.5, 0.5)
    play.gate.enable(True, play.now())
    play.release(0.5, 0.5)
    play.gate.stop(play.now())
    assert play.sent[-1] == [0.0, 0.0]
    play.gate.enable(True, play.now())
    with pytest.raises(InputError, match="disabled"):
        play.release(0.5, 0.5)


def test_stop_sends_one_safe_command_and_nothing_after_it() -> None:
    play = Play(safe_action="stop")
    play.release(0.5, 0.5)
    sent = len(play.sent)
    assert play.later(1000)
    assert play.sent[sent:] == [[0.0, 0.0]]


def test_a_joint_that_is_elsewhere_three_times_gives_the_safe_action() -> None:
    # A joint that jumps is not believed at once; after the third sample driving ends, and it is where it is
    play = Play()
    play.fresh(0.0)
    play.release(0.5, 0.0)
    for _ in range(2):
        play.ms += 10
        with pytest.raises(InputError, match="a cannot have moved so far"):
            play.joints(-0.6)
    play.ms += 10
    play.joints(-0.6)
    play.gate.look(play.now())
    assert play.gate.reason.startswith("tracking: a is at -0.6 rad")
    assert play.sent[-1] == [0.0, 0.0]
    for _ in range(3):
        play.fresh(-0.6)
    assert play.release(0.5, 0.0) == [0.5, 0.0]


def test_one_reading_that_is_far_off_is_skipped() -> None:
    play = Play()
    play.release(0.5, 0.0)
    play.ms += 10
    with pytest.raises(InputError, match="cannot have moved"):
        play.joints(0.9)
    play.ms += 10
    play.joints(0.01)
    assert play.gate.look(play.now()) == ""


def test_a_reading_that_stops_dead_while_the_joint_is_driven_gives_the_safe_action_until_it_moves() -> None:
    play = Play()
    play.release(1.0, 0.0)
    for step in range(5):
        play.fresh(0.01 * step)
        play.later(9)
    for _ in range(4):
        play.fresh(0.04)
        play.later(9)
    assert play.gate.reason.startswith("tracking: a still reads 0.04 rad")
    assert play.sent[-1] == [0.0, 0.0]
    with pytest.raises(InputError, match="tracking"):
        play.release(1.0, 0.0)
    play.fresh(0.041)
    play.release(1.0, 0.0)


def test_a_reading_that_stopped_dead_is_believed_again_when_somebody_enables_again() -> None:
    play = Play()
    play.release(1.0, 0.0)
    for position in (0.0, 0.01, 0.02, 0.03, 0.04, 0.04, 0.04, 0.04, 0.04):
        play.fresh(position)
        play.later(9)
    assert "still reads" in play.gate.reason
    play.gate.enable(True, play.now())
    play.fresh(0.04)
    assert "still reads" in play.later(20)
    play.gate.enable(False, play.now())
    play.gate.enable(True, play.now())
    play.fresh(0.04)
    assert play.release(0.5, 0.0) == [0.5, 0.0]


def test_enabling_again_and_again_does_not_keep_an_old_action_in_force() -> None:
    free = JointLimits.of(("a", "b"), (-math.inf,) * 2, (math.inf,) * 2, (2, 2))
    play = Play(limits=free)
    play.release(1.0, 0.0)
    for step in range(50):
        play.fresh(0.02 * min(step, 20))
        play.later(19)
        play.gate.enable(True, play.now())
    assert play.sent[-1] == [0.0, 0.0]


def test_a_gate_that_cannot_judge_sends_the_safe_action(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play()
    play.release(0.5, 0.0)
    monkeypatch.setattr(play.gate, "_expiry", lambda now: math.exp(1e9))
    assert play.later(20) == "the gate cannot judge: OverflowError: math range error"
    assert play.sent[-1] == [0.0, 0.0]


def test_a_velocity_too_large_to_be_squared_lets_nothing_leave() -> None:
    play = Play(limits=JointLimits.of(("a", "b"), (-1, -1), (1, 1), (math.inf, math.inf), (1, 1)))
    play.ms += 10
    play.joints(velocities=(1e300, 0.0))
    assert play.release(1e300, 0.0)[0] == 0.0


@pytest.mark.slow
def test_a_joint_that_rests_while_a_policy_leans_a_little_may_be_driven_on() -> None:
    play = Play()
    play.release(0.5, 0.5)
    for step in range(10):
        play.fresh(0.005 * step, 0.005 * step)
        play.later(9)
    play.release(0.0, 0.0)
    for step in range(6000):  # 2 minutes
        play.fresh(0.045, 0.045)
        play.ms += 19
        play.gate.look(play.now())
        play.release(0.0, 0.001 + 1e-6 * (step % 2))
    assert play.gate.reason == ""


def test_what_was_sent_long_ago_takes_no_memory() -> None:
    sent = SentVelocities(50 * MS, 1000 * MS)
    for step in range(30_000):
        sent.add(step * MS, 1.0 + step % 2)
    assert sent.moved(29_000 * MS, 29_999 * MS) == pytest.approx(2 * 0.999, abs=0.01)
    assert len(sent._starts) < 10_000


def test_a_position_is_held_where_the_joint_is_and_led_back_no_faster_than_it_may_be() -> None:
    play = Play("position", safe_action="hold", enabled=False)
    play.fresh(0.5, 1.6)
    play.later(1000, look=False)
    for _ in range(60):
        play.fresh(0.5, play.sent[-1][1] if play.sent else 1.6)
        play.later(19)
    assert play.sent[0] == [0.5, 1.6]
    assert play.sent[-1] == pytest.approx([0.5, 1.0])
    steps = [abs(after[1] - before[1]) for before, after in zip(play.sent, play.sent[1:], strict=False)]
    assert max(steps) <= 2.0 * 0.061


def test_a_joint_that_is_led_back_does_not_make_up_for_a_silence() -> None:
    play = Play("position", safe_action="hold", enabled=False)
    for _ in range(5):
        play.fresh(0.5, play.sent[-1][1] if play.sent else 4.0)
        play.later(19)
    play.later(3000)  # nothing comes
    here = play.sent[-1][1]
    play.fresh(0.5, here)
    play.later(60)
    steps = [abs(after[1] - before[1]) for before, after in zip(play.sent, play.sent[1:], strict=False)]
    assert max(steps) <= 2.0 * 0.101
    assert play.sent[-1][1] < here


def test_a_joint_that_was_moved_by_hand_is_held_where_it_was_put() -> None:
    play = Play("position", safe_action="hold", enabled=False)
    for _ in range(10):
        play.fresh(0.5)
        play.later(19)
    assert play.sent[-1][0] == 0.5
    for _ in range(10):
        play.fresh(0.35)  # it sags
        play.later(19)
    assert play.sent[-1][0] == 0.5
    for _ in range(20):
        play.fresh(-0.5)
        play.later(19)
    assert play.sent[-1][0] == -0.5


@pytest.mark.parametrize("safe_action", ["hold", "stop"])
def test_driving_begins_where_the_joint_is_and_not_where_it_was_sent_before(safe_action: str) -> None:
    play = Play("position", safe_action=safe_action)
    play.release(0.1, 0.0)
    play.fresh(0.1)
    play.gate.enable(False, play.now())
    for _ in range(5):
        play.fresh(-0.9)  # by hand
        play.later(19)
    play.gate.enable(True, play.now())
    play.fresh(-0.9)
    assert play.release(0.9, 0.0)[0] == pytest.approx(-0.7)
    play.later(99)
    play.fresh(-0.8)
    assert play.release(0.9, 0.0)[0] == pytest.approx(-0.5)


@pytest.mark.parametrize(("here", "wanted", "allowed"), [(0.95, 5.0, 1.0), (0.0, 5.0, 0.2), (1.5, 0.0, 1.3)])
def test_positions_are_clamped_by_range_and_speed(here: float, wanted: float, allowed: float) -> None:
    play = Play("position")
    play.fresh(here)
    assert play.release(wanted, 0.0)[0] == pytest.approx(allowed)


def test_a_model_can_only_tighten_the_limits_of_the_robot() -> None:
    play = Play()
    play.gate.narrow(JointLimits.of(("a", "b"), (-5, -0.5), (5, 0.5), (9, 0.1)))
    play.fresh()
    assert play.release(3.0, 3.0) == pytest.approx([2.0, 0.1])
    with pytest.raises(ConfigError, match="lower <= upper"):
        play.gate.narrow(JointLimits.of(("a", "b"), (2, 2), (3, 3), (1, 1)))


def test_limits_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match=r"limits.upper must have 2 values"):
        JointLimits.of(("a", "b"), (-1, -1), (1,), (1, 1))
    with pytest.raises(ConfigError, match=r"limits\.velocity must be numbers"):
        JointLimits.of(("a",), (-1,), (1,), (float("nan"),))
    with pytest.raises(ConfigError, match="lower <= upper"):
        JointLimits.of(("a",), (1,), (-1,), (1,))
    with pytest.raises(ConfigError, match=r"limits\.acceleration must be above 0"):
        JointLimits.of(("a",), (-1,), (1,), (1,), (0,))
    with pytest.raises(ConfigError, match="must name each joint once"):
        JointLimits.of(("a", "a"), (-1, -1), (1, 1), (1, 1))
