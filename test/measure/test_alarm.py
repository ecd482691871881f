"""Levels and shares of hand-made timelines."""

from __future__ import annotations

import pytest

from perf_inference.measure.alarm import ERROR, OK, WARN, Alarm, Growth, Limits, share_pct


def levels(limits: Limits, values: list[float | None]) -> list[int]:
    alarm = Alarm(limits)
    return [alarm.update(value) for value in values]


def test_a_level_is_raised_at_the_limit_and_lowered_behind_the_margin() -> None:
    # degC   84  85  84  82.1  82  84  85
    # level  -   W   W   W     -   -   W       82 = 85 - 3
    values = [84, 85, 84, 82.1, 82, 84, 85]
    assert levels(Limits(85, 95, 3), values) == [OK, WARN, WARN, WARN, OK, OK, WARN]


def test_an_error_comes_down_by_way_of_the_warning() -> None:
    # degC   96  93  92  90  82  |  96  50
    # level  E   E   W   W   -   |  E   -
    assert levels(Limits(85, 95, 3), [96, 93, 92, 90, 82]) == [ERROR, ERROR, WARN, WARN, OK]
    assert levels(Limits(85, 95, 3), [96, 50]) == [ERROR, OK]


def test_less_can_be_worse() -> None:
    # % of the rate  95  90  91  91.9  92  100
    # level          -   W   W   W     -   -      best is 100: under 90 warns, 92 clears
    assert levels(Limits(90, None, 2, best=100), [95, 90, 91, 91.9, 92, 100]) == [OK, WARN, WARN, WARN, OK, OK]


def test_the_margin_never_asks_for_more_than_the_best() -> None:
    assert levels(Limits(1, None, 5), [1, 0.5, 0]) == [WARN, WARN, OK]
    assert levels(Limits(99, None, 5, best=100), [98, 99.5, 100]) == [WARN, WARN, OK]


def test_without_a_margin_it_follows_the_value() -> None:
    assert levels(Limits(5), [4.9, 5, 4.9]) == [OK, WARN, OK]


def test_an_unknown_value_is_no_alarm() -> None:
    assert levels(Limits(5, 50, 2), [60, None, 4]) == [ERROR, OK, OK]


def test_it_does_not_flicker_around_the_limit() -> None:
    around = [5 + (0.4 if i % 2 else -0.4) for i in range(100)]
    seen = levels(Limits(5, None, 2), around)
    assert seen == [OK] + [WARN] * 99


def test_growth_is_that_of_the_window() -> None:
    # t [s]   0   1   2   3   4
    # misses  0   0   4   5   5       window 2 s
    # of      10  20  30  40  50
    growth = Growth(2.0)
    grown = [growth.add(t, counts) for t, counts in enumerate([(0, 10), (0, 20), (4, 30), (5, 40), (5, 50)])]
    assert grown == [None, (0, 10), (4, 20), (5, 20), (1, 20)]
    assert [None if g is None else share_pct(*g) for g in grown] == [None, 0, 20, 25, 5]


def test_a_reading_a_little_late_still_covers_a_window() -> None:
    growth = Growth(2.0)
    for t, count in ((0.0, 0), (1.05, 1), (2.1, 2)):
        grown = growth.add(t, (count,))
    assert grown == (2,)  # since 0.0: at 1.05 it would be less than a window
    assert growth.add(3.2, (3,)) == (2,)


def test_a_restarted_node_begins_anew() -> None:
    growth = Growth(10.0)
    growth.add(0, (100, 1000))
    assert growth.add(1, (101, 1010)) == (1, 10)
    assert growth.add(2, (0, 5)) is None
    assert growth.add(3, (1, 15)) == (1, 10)


@pytest.mark.parametrize(("part", "whole", "pct"), [(0, 0, None), (0, 5, 0), (1, 4, 25), (4, 4, 100)])
def test_a_share_of_nothing_is_unknown(part: int, whole: int, pct: float | None) -> None:
    assert share_pct(part, whole) == pct


def test_a_timeline_of_misses_raises_and_lowers() -> None:
    # One inference each 0.1 s; from 3 s to 5 s every other one is late. Window 2 s, warning from 20 %, margin 10 %.
    # t [s]   1    2    3    4    5    6    7    8
    # share   0    0    0    25   50   25   0    0
    # level   -    -    -    W    W    W    -    -
    alarm, growth = Alarm(Limits(20, None, 10)), Growth(2.0)
    growth.add(0, (0, 0))
    seen = []
    for t, misses in zip(range(1, 9), (0, 0, 0, 5, 10, 10, 10, 10), strict=True):
        grown = growth.add(t, (misses, 10 * t))
        assert grown is not None
        seen.append((share_pct(*grown), alarm.update(share_pct(*grown))))
    assert seen == [(0, OK), (0, OK), (0, OK), (25, WARN), (50, WARN), (25, WARN), (0, OK), (0, OK)]
