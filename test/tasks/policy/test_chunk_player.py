"""Chunks played on a steady grid through delays, by hand-worked timelines."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perf_inference.tasks.policy.chunks.blending import fade
from perf_inference.tasks.policy.chunks.delays import KEPT, Delays, trouble
from perf_inference.tasks.policy.chunks.player import Ask, Player, PlayerSettings

STEP_S = 0.1
STEP_NS = 100_000_000
PLAIN = PlayerSettings(STEP_S, ("linear",), (False,), merge="none", fade_s=0.4)


def player(settings: PlayerSettings = PLAIN, delay_s: float = 0.2) -> Player:
    return Player(settings, Delays(settings.step_s, delay_s))


def chunk(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def send(made: Player, count: int = 1) -> list[float]:
    """Send the next steps as they are; return them."""
    found = []
    for _ in range(count):
        step = made.step()
        assert step is not None
        made.sent(step.values)
        found.append(float(step.values[0]))
    return found


def asked(made: Player, at: int = 0) -> Ask:
    question = made.ask(at * STEP_NS)
    assert question is not None
    return question


def test_a_timeline_of_two_chunks() -> None:
    # k      0  1  2  3  4  5  6  7        chunks of 6, d^ = 2, margin 1
    # plan   a0 a1 a2 a3 a4 b2 b3 b4 b5    asked when 3 steps are left (k=3), answered 2 steps later (k=5)
    made = player()
    first = asked(made)
    assert (first.origin, len(first.prefix), first.delay_steps) == (0, 0, 2)
    assert made.ask(0) is None  # one is in flight
    assert made.step() is None  # nothing to send: k stands still
    seam = made.answer(first, chunk(0, 1, 2, 3, 4, 5), 2 * STEP_NS)
    assert (seam.dropped, seam.delay_steps, seam.left) == ("", 0, 6)
    assert send(made, 3) == [0, 1, 2]
    second = asked(made, 5)
    assert second.origin == 3
    assert second.prefix[:, 0].tolist() == [3, 4]  # what will have been sent when the answer comes
    assert send(made, 2) == [3, 4]
    seam = made.answer(second, chunk(30, 40, 50, 60, 70, 80), 7 * STEP_NS)
    assert (seam.delay_steps, seam.frozen_steps, seam.left) == (2, 0, 4)
    assert send(made, 4) == [50, 60, 70, 80]
    assert made.k == 9


def test_nothing_is_asked_before_it_is_due() -> None:
    made = player()
    made.answer(asked(made), chunk(0, 1, 2, 3, 4, 5), 0)
    for _ in range(3):
        assert made.ask(0) is None or made.left <= 3
        send(made)
    assert made.left == 3


def test_standstill_skips_nothing() -> None:
    made = player(delay_s=1.0)
    question = asked(made)
    for _ in range(10):
        assert made.step() is None
    seam = made.answer(question, chunk(0, 1, 2), 10 * STEP_NS)
    assert seam.delay_steps == 0
    assert send(made, 3) == [0, 1, 2]


def test_k_counts_what_was_sent_and_not_what_was_proposed() -> None:
    made = player()
    made.answer(asked(made), chunk(0, 1, 2), 0)
    assert [float(made.step().values[0]) for _ in range(3)] == [0, 0, 0]  # type: ignore[union-attr]
    assert made.k == 0


def test_a_conditioned_model_continues_the_prefix() -> None:
    # d^ = 3 and the answer comes after 1 step: the 2 steps that the model took for sent are still played
    made = player(replace(PLAIN, conditioned=True), delay_s=0.3)
    made.answer(asked(made), chunk(0, 1, 2, 3, 4, 5), 0)
    send(made, 2)
    question = asked(made)
    assert question.prefix[:, 0].tolist() == [2, 3, 4]
    send(made, 1)
    seam = made.answer(question, chunk(2, 3, 4, 50, 60, 70), STEP_NS)
    assert (seam.delay_steps, seam.frozen_steps) == (1, 2)
    assert send(made, 5) == [3, 4, 50, 60, 70]
    made = player(replace(PLAIN, conditioned=True), delay_s=0.1)
    made.answer(asked(made), chunk(0, 1, 2, 3), 0)
    send(made, 2)
    question = asked(made)
    send(made, 2)  # later than estimated
    assert made.answer(question, chunk(2, 3, 40, 50), 2 * STEP_NS).frozen_steps == 0
    assert send(made, 2) == [40, 50]


def test_answers_of_another_epoch_too_late_or_refused_are_dropped_and_counted() -> None:
    made = player()
    question = asked(made)
    made.reset()
    assert made.answer(question, chunk(9), 0).dropped == "epoch"
    made.answer(asked(made), chunk(0, 1, 2), 0)
    question = asked(made)
    send(made, 1)
    assert made.answer(question, None, 0).dropped == "refused"
    question = asked(made)
    send(made, 2)
    assert made.answer(question, chunk(1, 2), 0).dropped == "late"
    assert (made.counts.epoch, made.counts.refused, made.counts.late, made.counts.played) == (1, 1, 1, 1)
    assert made.ask(0) is not None  # it goes on


def test_the_plan_goes_on_while_answers_are_dropped() -> None:
    made = player()
    made.answer(asked(made), chunk(0, 1, 2, 3), 0)
    send(made, 1)
    made.answer(asked(made), None, 0)
    assert send(made, 3) == [1, 2, 3]


def test_a_new_chunk_meets_the_plan_in_value_and_speed_and_the_offset_fades() -> None:
    made = player(replace(PLAIN, merge="align"))
    made.answer(asked(made), chunk(0, 1, 2, 3, 4, 5, 6, 7), 0)
    send(made, 5)
    question = asked(made)
    seam = made.answer(question, chunk(*(10.0 + 3 * i for i in range(9))), 0)
    # old(5) = 5 and 10 per s; new(5) = 10 and 30 per s
    assert seam.jump == pytest.approx(5)
    assert seam.jump_rate == pytest.approx(20)
    got = np.array(send(made, 9))
    left = fade(np.arange(9) * STEP_S, 0.4)
    np.testing.assert_allclose(got, 10 + 3 * np.arange(9) + left * (-5 + np.arange(9) * STEP_S * -20))
    assert got[0] == 5
    assert got[4:].tolist() == [22, 25, 28, 31, 34]
    assert abs((got[1] - got[0]) - 1) < 1.2  # goes on nearly as fast as before


def test_from_standstill_a_chunk_begins_at_what_was_sent_last() -> None:
    made = player(replace(PLAIN, merge="align"))
    made.reset(np.array([7.0]))
    made.answer(asked(made), chunk(*range(9)), 0)
    got = send(made, 9)
    assert got[0] == 7
    assert got[4:] == [4, 5, 6, 7, 8]


def test_angles_are_aligned_the_short_way_round() -> None:
    made = player(replace(PLAIN, merge="align", columns=("angle",)))
    made.reset(np.array([math.pi - 0.1]))
    made.answer(asked(made), chunk(*([-math.pi + 0.1] * 6)), 0)
    got = np.array(send(made, 6))
    assert (np.abs(got) >= math.pi - 0.1 - 1e-9).all()  # through pi, never through 0


def test_columns_that_are_not_aligned_take_the_new_value() -> None:
    for merge in ("align", "average", "ensemble"):
        made = player(PlayerSettings(STEP_S, ("linear", "none"), (False, False), merge=merge, fade_s=0.4))
        made.answer(asked(made), np.zeros((6, 2)), 0)
        send_all(made, 4)
        made.answer(asked(made), np.ones((6, 2)), 0)
        step = made.step()
        assert step is not None
        assert step.values[1] == 1
        assert step.values[0] < 1


def send_all(made: Player, count: int) -> None:
    for _ in range(count):
        step = made.step()
        assert step is not None
        made.sent(step.values)


def test_average_and_ensemble_over_the_steps_that_both_cover() -> None:
    for merge, share in (("average", 0.5), ("ensemble", math.exp(-0.01) / (1 + math.exp(-0.01)))):
        made = player(replace(PLAIN, merge=merge))
        made.answer(asked(made), chunk(0, 0, 0, 0), 0)
        send(made, 2)
        made.answer(asked(made), chunk(1, 1, 1, 1), 0)
        np.testing.assert_allclose(send(made, 4), [share, share, 1, 1])


def test_an_ensemble_weighs_all_chunks_of_a_step_the_oldest_first() -> None:
    made = player(replace(PLAIN, merge="ensemble"), delay_s=0.3)
    for value in (0.0, 1.0, 2.0):
        made.answer(asked(made), chunk(*([value] * 4)), 0)
    weights = np.exp(-0.01 * np.arange(3))
    assert send(made, 1)[0] == pytest.approx(float((weights * [0, 1, 2]).sum() / weights.sum()))


def test_an_exhausted_plan_ends_in_a_braking_tail() -> None:
    made = player(replace(PLAIN, merge="align"))
    made.answer(asked(made), chunk(0, 1, 2), 0)
    send(made, 3)
    tail = []
    while (step := made.step()) is not None:
        assert step.cause == "starved"
        made.sent(step.values)
        tail.append(float(step.values[0]))
    speeds = np.diff([2, *tail]) / STEP_S
    assert (np.diff([10, *speeds]) <= 1e-9).all()  # no faster than before, and ever slower
    assert tail[-1] == pytest.approx(2 + 10 * 0.4 / 2)
    assert (made.counts.starved, made.k) == (1, 3)
    # the next chunk starts as from standstill: at the last value, at rest
    seam = made.answer(asked(made), chunk(*([9.0] * 8)), 0)
    assert seam.delay_steps == 0
    assert send(made, 1) == [tail[-1]]


def test_velocities_fade_to_nothing_and_grippers_stay() -> None:
    made = player(PlayerSettings(STEP_S, ("linear", "none"), (True, False), fade_s=0.4))
    made.answer(asked(made), np.array([[2.0, 5.0]]), 0)
    send_all(made, 1)
    found = []
    while (step := made.step()) is not None:
        made.sent(step.values)
        found.append(step.values.tolist())
    assert [v for v, _ in found] == pytest.approx([1.5, 1.0, 0.5, 0.0])
    assert {g for _, g in found} == {5.0}


def test_a_tail_brakes_within_the_acceleration() -> None:
    made = player(replace(PLAIN, acceleration=(20.0,)))
    made.answer(asked(made), chunk(0, 1), 0)
    send(made, 2)
    tail = []
    while (step := made.step()) is not None:
        made.sent(step.values)
        tail.append(float(step.values[0]))
    assert len(tail) == 5  # 10 per s at 20 per s^2
    assert tail[-1] == pytest.approx(1 + 10**2 / (2 * 20))


def test_sync_asks_when_the_plan_has_ended() -> None:
    made = player(replace(PLAIN, sync=True))
    made.answer(asked(made), chunk(0, 1), 0)
    for _ in range(2):
        assert made.ask(0) is None
        send(made)
    assert made.ask(0) is not None
    while (step := made.step()) is not None:
        made.sent(step.values)
    assert made.counts.starved == 0  # it waits, as it was told to


# delays ---------------------------------------------------------------------------------------------------------------


def test_the_estimate_begins_with_the_warm_up_and_follows() -> None:
    made = Delays(0.05, 0.12)
    assert made.steps == 3
    for _ in range(30):
        made.add(0.04)
    assert made.steps == 1
    assert Delays(0.05, 0.1).steps == 2  # exactly two


@pytest.mark.parametrize("before", [0, 1, 5, 20, 200])
def test_after_one_delay_of_ten_times_the_usual_the_estimate_is_normal_within_ten(before: int) -> None:
    made = Delays(0.05, 0.1)
    for _ in range(before):
        made.add(0.1)
    made.add(1.0)
    for _ in range(10):
        made.add(0.1)
    assert made.steps == 2


def test_a_delay_that_comes_again_and_again_counts() -> None:
    made = Delays(0.05, 0.1)
    for i in range(60):
        made.add(0.5 if i % 5 == 0 else 0.1)
        if i > 10:
            assert made.steps == 10


@settings(deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_the_estimate_is_one_of_the_last_delays(delays: list[float]) -> None:
    made = Delays(0.05, 0.1)
    for delay in delays:
        made.add(delay)
    assert made.estimate_s in delays[-KEPT:] or len(delays) < KEPT


def test_whether_chunks_bridge_a_delay() -> None:
    assert trouble(0.15, 0.05, 1, 7) == ""
    said = trouble(0.5, 0.05, 1, 16)
    assert "chunks of 16 steps do not bridge a delay of 10 steps (500 ms at 20 Hz): 21 are needed" in said
    assert "a rate of at most 14 Hz, or chunks of at least 21 steps" in said
    assert trouble(0.5, 1 / 14, 1, 16) == ""
    assert trouble(0.5, 0.05, 1, 21) == ""
    assert "a model with longer chunks" in trouble(0.5, 0.05, 1, 2)


# properties -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.sampled_from(["align", "ensemble", "average", "none"]),
    st.booleans(),
    st.integers(1, 30),
    st.lists(st.integers(0, 12), min_size=1, max_size=40),
)
def test_every_step_of_a_plan_is_sent_once_whatever_the_delays(
    merge: str, conditioned: bool, horizon: int, delays: list[int]
) -> None:
    """Each chunk says for row i the number o + i, so that the plan counts on through every seam."""
    made = player(replace(PLAIN, merge=merge, conditioned=conditioned))
    sent: list[float] = []
    now, ran_out = 0, False
    for delay in delays:
        question = made.ask(now * STEP_NS)
        while question is None:
            sent += _one(made)
            now += 1
            question = made.ask(now * STEP_NS)
        for _ in range(delay):
            sent += _one(made)
            now += 1
        rows = chunk(*(float(question.origin + i) for i in range(horizon)))
        ran_out |= bool(sent) and made.left == 0
        made.answer(question, rows, now * STEP_NS)
    counts = made.counts
    assert counts.asked == counts.played + counts.late + counts.refused + counts.epoch
    if merge != "align" or not ran_out:  # with no plan left an aligned chunk begins with what was sent last
        np.testing.assert_allclose(sent, np.arange(len(sent)), atol=1e-6)
    assert made.k == len(sent) == counts.sent


def _one(made: Player) -> list[float]:
    """Send a step; return it where it is of the plan."""
    step = made.step()
    if step is None:
        return []
    planned = made.left > 0
    made.sent(step.values if planned else np.array([made.k - 1.0]))  # a robot that stands where it was
    return [float(step.values[0])] if planned else []
