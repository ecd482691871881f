"""How a joint comes to rest where the safe action is `decelerate`."""

from __future__ import annotations

import math

import pytest
from support.one_joint import LIMITS, Play

from perf_inference.errors import InputError
from perf_inference.safety import GateSettings, JointLimits
from perf_inference.safety.settings import slowing_s


def test_decelerating_follows_the_acceleration_of_the_joint() -> None:
    # 2 rad/s with 4 rad/s^2: at rest after 0.5 s; each command is the velocity at its end
    play = Play("decelerate", limits=JointLimits.of(("a",), (-10,), (10,), (2,), (4,)))
    play.release(2.0)
    play.later(60)
    play.gate.enable(False, play.now())
    began = play.ms
    play.later(700)
    slowing = [(ms - began, v) for ms, v in play.sent if ms >= began and v]
    assert slowing[0][1] == pytest.approx(2.0 - 4 * 0.02)
    assert slowing[-1][0] == pytest.approx(460, abs=21)
    assert all(v == pytest.approx(2.0 - 4 * (ms + 20) / 1000) for ms, v in slowing)
    assert play.sent[-1][1] == 0.0
    assert play.gate.at_rest(play.now())


@pytest.mark.parametrize("room", [0.03, 0.1, 0.2])  # rad to the limit of a model that comes while it slows down
def test_what_has_stopped_while_it_slows_down_does_not_start_again(room: float) -> None:
    play = Play("decelerate", limits=JointLimits.of(("a",), (-9,), (9,), (2,), (0.5,)))
    play.release(1.0)
    play.later(100)
    play.gate.enable(False, play.now())
    play.gate.narrow(JointLimits.of(("a",), (-9,), (play.place + room,), (2,)))
    count = len(play.sent)
    play.later(400)
    assert play.sent[count][1] == 0.0
    assert not any(v for _, v in play.sent[count:])


def test_decelerating_is_no_reason_to_get_beyond_a_limit() -> None:
    play = Play("decelerate", limits=JointLimits.of(("a",), (-1,), (1,), (2,), (4,)))
    for _ in range(12):
        play.release(2.0)
        play.later(100)
    play.gate.enable(False, play.now())
    play.later(1000, fresh=False)
    assert play.place <= 1.0
    assert play.sent[-1][1] == 0.0


def test_decelerating_without_an_acceleration_takes_a_quarter_of_a_second() -> None:
    play = Play("decelerate")
    play.release(2.0)
    play.gate.enable(False, play.now())
    began = play.ms
    play.later(600)
    assert max(ms - began for ms, v in play.sent if v) == pytest.approx(220, abs=21)


def test_a_driving_that_begins_again_ends_the_slowing() -> None:
    play = Play("decelerate")
    play.release(2.0)
    play.gate.enable(False, play.now())
    play.later(40)
    play.gate.enable(True, play.now())
    assert play.release(1.0) == 1.0
    play.gate.enable(False, play.now())
    assert 0.8 < play.sent[-1][1] < 1.0


def test_enabled_again_it_goes_on_slowing_down_until_an_action_comes() -> None:
    # velocity 2 ... enabled again at 1.2, and no action is accepted: it must not stay at 1.2 until one is missed
    play = Play("decelerate", limits=JointLimits.of(("a",), (-10,), (10,), (2,), (4,)))
    play.release(2.0)
    play.later(60)
    play.gate.enable(False, play.now())
    play.later(200)
    assert 0.5 < play.sent[-1][1] < 1.5
    play.gate.enable(True, play.now())
    count = len(play.sent)
    with pytest.raises(InputError, match="finite"):
        play.release(math.nan)
    play.later(400)
    assert play.sent[-1][1] == 0.0
    speeds = [v for _, v in play.sent[count:]]
    assert speeds == sorted(speeds, reverse=True)
    assert play.gate.at_rest(play.now())
    assert play.release(1.0) == 1.0


def test_a_bar_that_wants_silence_has_it_once_the_joints_are_at_rest() -> None:
    play = Play("decelerate", limits=JointLimits.of(("a",), (-10,), (10,), (2,), (4,)))
    play.release(2.0)
    play.later(60)
    play.gate.bar("policy", "it is silent", play.now(), quiet=True)
    play.later(600)
    assert play.sent[-1][1] == 0.0
    count = len(play.sent)
    play.later(400)
    assert len(play.sent) == count


def test_how_long_it_takes_to_slow_down() -> None:
    limits = JointLimits.of(("a", "b"), (-1, -1), (1, 1), (2, 3), (4, 0.5))
    assert slowing_s(limits, GateSettings("velocity", 0.1, 0.3, 0.0, 0.0, "decelerate")) == 6.0
    assert slowing_s(limits, GateSettings("velocity", 0.1, 0.3, 0.0, 0.0, "zero")) == 0.0
    assert slowing_s(LIMITS, GateSettings("velocity", 0.1, 0.3, 0.0, 0.0, "decelerate")) == 0.25
    assert slowing_s(limits, GateSettings("position", 0.1, 0.3, 0.0, 0.0, "decelerate")) == 0.0
