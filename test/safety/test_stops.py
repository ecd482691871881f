"""What people and stops say: estop, speed_scale, the ramp, and bars."""

from __future__ import annotations

import math

import pytest
from support.one_joint import MS, Play

from perf_inference.errors import InputError
from perf_inference.safety.stops.estop import Estop
from perf_inference.safety.stops.speed import SpeedScale
from perf_inference.safety.stops.voices import Voices

A, B = b"a", b"b"


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
def test_a_ramp_that_a_stall_has_cut_short_restarts(stalled_ms: int) -> None:
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
