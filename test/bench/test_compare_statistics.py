"""The statistics of `compare`: on numbers made for the purpose, and on run times that were recorded once.

`support/recorded_runs.json` holds what 480 runs of one command took [ms of processor time], in their order, on a
machine that was busy with other work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from support.paths import SUPPORT

from perf_inference.bench.compare.measure import ARMS, order_of, pairs_within
from perf_inference.bench.judge.pairs import ratio_of_blocks, ratio_of_pairs, signed_rank_p
from perf_inference.bench.judge.shape import trend, two_modes
from perf_inference.bench.judge.verdict import VOID, Rounds, Verdict, judge, judge_blocks

RECORDED: list[float] = json.loads((SUPPORT / "recorded_runs.json").read_text())
PAIRS = 20
Draw = Callable[[np.random.Generator], Sequence[float]]


def rounds_of(times: Sequence[float], head: float = 1.0) -> Rounds:
    """Return the rounds that these times make, in the order in which `compare` runs; HEAD takes `head` times them."""
    arms: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(len(times) // 6):
        for position, arm in enumerate(order_of(number)):
            arms[arm].append(times[6 * number + position] * (head if arm == "head" else 1.0))
    return Rounds(**{arm: list(zip(values[::2], values[1::2], strict=True)) for arm, values in arms.items()})


def noisy(numbers: np.random.Generator, share: float, pairs: int = PAIRS) -> list[float]:
    return [float(value) for value in 100 * np.exp(numbers.normal(0, share, 6 * pairs))]


def shuffled(numbers: np.random.Generator) -> Sequence[float]:
    return [float(value) for value in numbers.choice(RECORDED, 6 * PAIRS)]


def in_a_row(numbers: np.random.Generator) -> Sequence[float]:
    begin = int(numbers.integers(0, len(RECORDED) - 6 * PAIRS))
    return RECORDED[begin : begin + 6 * PAIRS]


def test_the_signed_ranks_are_exact() -> None:
    values = np.array([0.3, -0.1, 0.7, 0.2, -0.5, 0.4])
    ranks = np.argsort(np.argsort(np.abs(values))) + 1
    reached = ranks[values > 0].sum()
    as_high = sum(ranks[np.array(signs)].sum() >= reached for signs in product((False, True), repeat=6))
    assert signed_rank_p(values) == pytest.approx(as_high / 64)
    assert signed_rank_p(np.zeros(5)) == 1.0
    assert signed_rank_p(np.ones(10)) == pytest.approx(1 / 1024)


def test_the_ratio_of_pairs_is_that_of_the_pairs() -> None:
    base = [10.0, 20.0, 40.0, 5.0]
    found = ratio_of_pairs(base, [1.5 * value for value in base])
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))
    one_odd = ratio_of_pairs([100.0] * 12, [110.0] * 11 + [900.0])
    assert one_odd.value == pytest.approx(1.1)
    with pytest.raises(ValueError, match="as many figures"):
        ratio_of_pairs([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="above 0"):
        ratio_of_pairs([1.0], [0.0])


def test_the_order_puts_each_arm_as_often_first_as_last() -> None:
    positions = {arm: [0] * 6 for arm in ARMS}
    for number in range(6):
        order = order_of(number)
        assert order == order[::-1]
        for position, arm in enumerate(order):
            positions[arm][position] += 1
    assert positions == {arm: [2] * 6 for arm in ARMS}
    assert (pairs_within(0.01), pairs_within(2.0), pairs_within(60.0)) == (20, 15, 10)


def alarms_and_voids(draw: Draw, tolerance: float, times: int) -> tuple[int, int]:
    numbers = np.random.default_rng(1)
    statuses = [judge(rounds_of(draw(numbers)), tolerance).status for _ in range(times)]
    return statuses.count(1), statuses.count(VOID)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [shuffled, in_a_row])
def test_a_command_against_itself_is_not_called_slower(draw: Draw) -> None:
    alarms, voids = alarms_and_voids(draw, 5.0, 40)
    assert alarms == 0
    assert voids <= 2


@pytest.mark.long
@pytest.mark.parametrize("tolerance", [1.0, 5.0])
def test_of_a_thousand_comparisons_with_itself_three_at_most_are_called_slower(tolerance: float) -> None:
    """`make prove PROVE=thousand`."""
    found = [alarms_and_voids(draw, tolerance, 500) for draw in (shuffled, in_a_row)]
    print(f"tolerance {tolerance:g} %: (false alarms, void) of 500 shuffled and 500 in a row: {found}")
    assert sum(alarms for alarms, _ in found) <= 3


@pytest.mark.slow
def test_three_percent_are_found_at_two_percent_of_noise() -> None:
    numbers = np.random.default_rng(2)
    found = [judge(rounds_of(noisy(numbers, 0.02), head=1.03), 1.0).status for _ in range(40)]
    assert found.count(1) >= 38
    assert not any(judge(rounds_of(noisy(numbers, 0.02), head=1.03), 5.0).status for _ in range(20))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [shuffled, in_a_row])
def test_thirty_percent_are_found_on_a_busy_machine(draw: Draw) -> None:
    numbers = np.random.default_rng(3)
    assert [judge(rounds_of(draw(numbers), head=1.3), 5.0).status for _ in range(20)].count(1) >= 19


@pytest.mark.parametrize(
    "drift",
    [
        lambda share: 1 + 0.15 * share,
        lambda share: 1.25 - 0.25 * share,
        lambda share: 1.2 if share > 0.5 else 1.0,
        lambda share: math.exp(0.3 * share),
    ],
)
def test_a_drift_that_hits_all_arms_voids(drift: Callable[[float], float]) -> None:
    numbers = np.random.default_rng(4)
    for head in (1.0, 1.3):
        times = noisy(numbers, 0.02)
        verdict = judge(rounds_of([t * drift(i / len(times)) for i, t in enumerate(times)], head), 5.0)
        assert (verdict.status, "drifted" in verdict.reason) == (VOID, True), verdict


def test_a_control_that_moves_voids() -> None:
    rounds = rounds_of(noisy(np.random.default_rng(5), 0.02), head=1.3)
    moved = Rounds(rounds.base, [(1.06 * a, 1.06 * b) for a, b in rounds.control], rounds.head)
    verdict = judge(moved, 5.0)
    assert (verdict.status, "control" in verdict.reason) == (VOID, True)


def test_noise_that_hides_the_tolerance_voids_and_faster_is_no_fault() -> None:
    numbers = np.random.default_rng(6)
    assert judge(rounds_of(noisy(numbers, 0.6)), 5.0).status == VOID
    faster = judge(rounds_of(noisy(numbers, 0.02), head=0.8), 5.0)
    assert (faster.status, faster.word) == (0, "faster")
    assert judge(rounds_of(noisy(numbers, 0.02, pairs=9), head=2.0), 5.0).status == VOID


def test_a_slow_mode_of_head_alone_is_slower_though_its_centre_is_not() -> None:
    numbers = np.random.default_rng(7)
    rounds = rounds_of(noisy(numbers, 0.02))
    head = [(a * (3 if i % 3 == 0 else 1), b) for i, (a, b) in enumerate(rounds.head)]  # 7 of 40
    verdict = judge(Rounds(rounds.base, rounds.control, head), 5.0)
    assert (verdict.status, verdict.word) == (1, "slower")
    assert "two modes: 82 % near" in "".join(verdict.remarks)
    both = Rounds(head, head, head)
    assert judge(both, 5.0).status == 0


def test_two_modes_are_found_and_one_heap_is_not() -> None:
    numbers = np.random.default_rng(8)
    one = [20 * numbers.normal(1, 0.03, 200), numbers.uniform(10, 20, 200), numbers.gamma(2.0, 5.0, 200) + 20]
    assert [two_modes(list(values)) for values in one] == [None] * 3
    assert two_modes([20.0] * 200 + [60.0] * 2) is None  # two outliers
    found = two_modes([*numbers.normal(20, 0.5, 90), *numbers.normal(60, 2, 10)])
    assert found is not None
    assert (found.fast, found.slow, found.slow_share) == (pytest.approx(20, 0.02), pytest.approx(60, 0.05), 0.1)
    false_alarms = sum(two_modes(list(np.exp(numbers.normal(0, 0.1, 40)))) is not None for _ in range(300))
    assert false_alarms <= 1


def test_a_trend_is_told_from_noise() -> None:
    numbers = np.random.default_rng(9)
    still = [trend(list(np.exp(numbers.normal(0, 0.05, 20)))).significant for _ in range(500)]
    assert sum(still) <= 5
    found = trend([1 + 0.01 * i for i in range(21)])
    assert found.significant
    assert found.drift == pytest.approx(0.2, abs=0.01)
    assert trend([1.0] * 30).p == 1.0


@pytest.mark.slow
def test_arms_that_were_measured_apart() -> None:
    numbers = np.random.default_rng(10)
    base, head = (list(100 * np.exp(numbers.normal(0, 0.02, 20))) for _ in range(2))
    assert judge_blocks(base, head, 5.0).status == 0
    assert judge_blocks(base, [1.2 * value for value in head], 5.0).status == 1
    assert judge_blocks(base, head[:5], 5.0).status == VOID
    assert judge_blocks(base, [value * (1 + 0.02 * i) for i, value in enumerate(head)], 5.0).status == VOID
    same = ratio_of_blocks([1.0] * 12, [1.0] * 12)
    assert (same.value, same.p_slower, same.p_faster) == (1.0, 0.5, 0.5)
    alarms: list[Verdict] = [
        judge_blocks(list(numbers.choice(RECORDED, 20)), list(numbers.choice(RECORDED, 20)), 1.0) for _ in range(50)
    ]
    assert not any(verdict.status == 1 for verdict in alarms)
