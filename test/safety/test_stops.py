"""What people and stops say: estop, speed_scale, the ramp, bars, and the ways to slow down."""

from __future__ import annotations

import math

import pytest

from perf_inference.errors import InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from perf_inference.safety.stops.estop import Estop
from perf_inference.safety.stops.speed import SpeedScale
from perf_inference.safety.stops.voices import Voices

MS = 1_000_000
EPOCH_NS = 1_700_000_000_000_000_000
LIMITS = JointLimits.of(("a",), (-10.0,), (10.0,), (2.0,))
A, B = b"a", b"b"


class Play:
    """A gate at 10 Hz with one joint that follows what is sent at once."""

    def __init__(
        self, safe_action: str = "zero", ramp_s: float = 0.0, limits: JointLimits = LIMITS, kind: str = "velocity"
    ) -> None:
        self.ms, self.place, self.sent = 1000.0, 0.0, []  # type: ignore[var-annotated]
        settings = GateSettings(kind, 0.1, 0.3, 0.0, 0.0, safe_action, ramp_s)
        self.velocity = kind == "velocity"
        self.gate = Gate(limits, settings, {"joint_states": "/joint_states"}, self._send)
        self.gate.look(self.now())
        self.gate.enable(True, self.now())
        self.fresh()

    def now(self) -> Instant:
        return Instant(round(self.ms * MS), EPOCH_NS + round(self.ms * MS))

    def _send(self, values: list[float]) -> None:
        self.sent.append((self.ms, values[0]))

    def fresh(self) -> None:
        self.ms += 1
        v = self.sent[-1][1] if self.sent and self.velocity else 0.0
        self.gate.joint_states(self.now(), self.now().ros_ns, ["a"], [self.place], [v])

    def release(self, value: float) -> float:
        return self.gate.release(self.now(), [value], self.gate.observed_ns())[0][0]

    def later(self, ms: float, fresh: bool = True) -> str:
        for _ in range(round(ms / 20)):
            self.ms += 19 if fresh else 20
            self.place += (self.sent[-1][1] if self.sent and self.velocity else 0.0) * 0.02
            if fresh:
                self.fresh()
            self.gate.look(self.now())
        return self.gate.reason


# voices --------------------------------------------------------------------------------------------------------------


def test_each_publisher_has_one_voice_and_the_newest_of_it_counts() -> None:
    voices: Voices[int] = Voices()
    assert voices.hear(A, 1, 1, {A, B})
    assert voices.hear(B, 2, 1, {A, B})
    assert voices.hear(A, 3, 2, {A, B})
    assert sorted(voices.values) == [2, 3]


def test_what_another_reader_hears_later_is_no_news() -> None:
    voices: Voices[int] = Voices()
    for number, value in ((1, 10), (2, 20)):
        voices.hear(A, value, number, {A})
    assert not voices.hear(A, 10, 1, {A})
    assert not voices.hear(A, 20, 2, {A})
    assert voices.values == [20]


def test_who_has_left_counts_until_somebody_speaks() -> None:
    voices: Voices[int] = Voices()
    voices.hear(A, 1, 1, {A})
    assert voices.values == [1]
    voices.hear(B, 2, 1, {B})
    assert voices.values == [2]


@pytest.mark.parametrize("number", [None, 5])
def test_where_nobody_tells_who_speaks_all_is_news(number: int | None) -> None:
    voices: Voices[int] = Voices()
    assert voices.hear(b"", 1, 7, ())
    assert voices.hear(b"", 2, number, ())
    assert voices.values == [2]


@pytest.mark.slow
def test_a_crowd_takes_no_memory() -> None:
    voices: Voices[int] = Voices()
    gids = [bytes([n // 256, n % 256]) for n in range(1000)]
    for gid in gids:
        voices.hear(gid, 0, 1, gids)
    assert len(voices.values) == 100


# estop ---------------------------------------------------------------------------------------------------------------


def test_estop_is_what_any_publisher_says() -> None:
    estop = Estop("/estop", None)
    assert estop.why(0) == ""
    estop.hear(A, False, 1, {A, B}, 0)
    estop.hear(B, True, 1, {A, B}, 0)
    estop.hear(A, False, 2, {A, B}, 0)
    assert estop.why(0) == "estop: true on /estop"
    estop.hear(B, False, 2, {A, B}, 0)
    assert estop.why(0) == ""


def test_a_button_that_was_unplugged_is_none_that_was_released() -> None:
    estop = Estop("/estop", None)
    estop.hear(B, True, 1, {B}, 0)
    assert estop.why(10**12) == "estop: true on /estop"
    estop.hear(A, False, 1, {A}, 0)
    assert estop.why(0) == ""


def test_a_required_estop_must_be_heard_and_go_on() -> None:
    estop = Estop("/estop", 0.5)
    assert estop.why(0).startswith("estop: nothing has come on /estop yet")
    assert not estop.latches()
    estop.hear(A, False, 1, {A}, 1000 * MS)
    assert estop.why(1500 * MS) == ""
    assert estop.why(1510 * MS) == "estop: nothing on /estop for 0.5 s (estop_required is true)"
    assert estop.latches()
    estop.hear(A, False, 1, {A}, 1510 * MS)
    assert estop.why(1510 * MS) != "", "the same message again, by another reader, is no sign of life"


def test_once_stopped_false_alone_does_not_let_it_drive() -> None:
    play = Play()
    play.release(1.0)
    play.gate.disable("estop: true on /estop", play.now())
    play.gate.bar("estop", "estop: true on /estop", play.now())
    assert play.sent[-1][1] == 0.0, "at once"
    assert play.gate.enable(True, play.now()) == "estop: true on /estop"
    assert not play.gate.enabled
    play.gate.bar("estop", "", play.now())
    assert play.later(100) == "disabled: estop: true on /estop"
    with pytest.raises(InputError, match="disabled"):
        play.release(1.0)
    assert play.gate.enable(True, play.now()) == ""
    assert play.release(1.0) == 1.0


def test_one_that_was_disabled_by_a_person_stays_just_that() -> None:
    play = Play()
    play.gate.enable(False, play.now())
    play.gate.disable("estop: true on /estop", play.now())
    assert play.later(20) == "disabled"


def test_what_bars_driving_shows_and_nothing_is_asked_for() -> None:
    play = Play()
    play.release(1.0)
    play.gate.bar("others", "somebody else publishes on /action", play.now())
    play.gate.bar("estop", "estop: true on /estop", play.now())
    assert not play.gate.is_fresh(play.now())
    with pytest.raises(InputError, match="somebody else publishes on /action: action not sent"):
        play.release(1.0)
    play.gate.bar("others", "", play.now())
    assert play.gate.reason == "estop: true on /estop"
    play.gate.bar("estop", "", play.now())
    assert play.later(20) == "waiting for an action"
    assert play.release(1.0) == 1.0


# speed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "share", "trouble"),
    [
        (0.25, 0.25, ""), (0.0, 0.0, ""), (1.0, 1.0, ""), (1.5, 1.0, "got 1.5: it counts as 1"),
        (-0.1, 0.0, "got -0.1: it counts as 0"), (math.nan, 0.0, "got nan: it counts as 0"),
        (math.inf, 1.0, "got inf: it counts as 1"), (-math.inf, 0.0, "got -inf: it counts as 0"),
    ],
)  # fmt: skip
def test_a_scale_is_a_number_from_0_to_1(value: float, share: float, trouble: str) -> None:
    speed = SpeedScale("/speed_scale")
    assert speed.share == 1.0
    speed.hear(A, value, 1, {A})
    assert speed.share == share
    assert trouble in speed.trouble()
    assert bool(trouble) == bool(speed.trouble())


def test_the_lowest_scale_counts() -> None:
    speed = SpeedScale("/speed_scale")
    speed.hear(A, 0.25, 1, {A, B})
    speed.hear(B, 0.75, 1, {A, B})
    assert speed.share == 0.25
    speed.hear(A, 1.0, 2, {A, B})
    assert speed.share == 0.75


def test_a_scale_slows_what_is_asked_for_and_what_is_in_force() -> None:
    play = Play()
    assert play.release(2.0) == 2.0
    play.gate.scale(0.5, play.now())
    assert play.sent[-1][1] == 1.0, "at once"
    assert play.release(2.0) == 1.0
    assert play.release(9.0) == 1.0
    assert play.release(0.5) == 0.25
    play.gate.scale(0.75, play.now())
    assert play.sent[-1][1] == 0.25, "it never makes anything faster by itself"
    play.gate.scale(0.0, play.now())
    assert play.release(2.0) == 0.0


def test_a_scale_slows_positions() -> None:
    play = Play(kind="position")
    play.gate.scale(0.5, play.now())
    assert play.release(5.0) == pytest.approx(0.1)


def test_after_enabling_it_grows_from_nothing() -> None:
    # t [ms]  0    100    200 ...  500
    # share   0    0.2    0.4      1
    play = Play(ramp_s=0.5)
    shares = []
    for _ in range(8):
        shares.append(play.release(2.0) / 2)
        play.later(100)
    assert shares == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    play.gate.enable(True, play.now())
    assert play.release(2.0) == 2.0, "it was enabled already"
    play.gate.enable(False, play.now())
    play.gate.enable(True, play.now())
    assert play.release(2.0) == 0.0


@pytest.mark.parametrize("stalled_ms", [400, 900])  # of a ramp of 500 ms
def test_a_ramp_that_a_stall_has_cut_short_begins_anew(stalled_ms: int) -> None:
    play = Play(ramp_s=0.5)
    for share in (0.0, 0.2):
        assert play.release(2.0) / 2 == pytest.approx(share)
        play.later(100)
    play.later(stalled_ms)
    assert play.sent[-1][1] == 0.0
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        assert play.release(2.0) / 2 == pytest.approx(share)
        play.later(100)
    play.later(stalled_ms)
    assert play.release(2.0) == 2.0, "this one had come to its end"


# slowing down --------------------------------------------------------------------------------------------------------


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
