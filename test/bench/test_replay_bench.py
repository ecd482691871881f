"""`perf-inference bench replay`: the search against a simulated queue, and real nodes on a recording."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import cycle, repeat
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from perf_inference.bench.replay.judge import Found, Limits, Trial, interval, junit, search, simulate

SECONDS = 30.0


def trials(service: Callable[[], Iterator[float]]) -> Callable[[float], Trial]:
    def at(rate_hz: float) -> Trial:
        due = [1e3 * i / rate_hz for i in range(int(SECONDS * rate_hz))]
        latencies, replaced = simulate(due, service())
        return Trial(rate_hz, SECONDS, len(due), latencies, replaced)

    return at


def limit_of(service: Callable[[], Iterator[float]], limits: Limits = Limits()) -> Found:  # noqa: B008
    return search(trials(service), limits, 10.0, 1.0, 1000.0)


def test_the_queue_is_a_mailbox_of_one() -> None:
    # t [ms]   0   10   20   30   40        service 25
    # in       a   b    c    d    e
    # worker   [-- a --]25 [-- c --]50 [-- e --]75    b is replaced by c, d by e
    latencies, replaced = simulate([0, 10, 20, 30, 40], repeat(25.0))
    assert (latencies, replaced) == ([25.0, 30.0, 35.0], 2)
    assert simulate([0, 100, 200], repeat(25.0)) == ([25.0, 25.0, 25.0], 0)


def test_the_limit_of_known_service_times() -> None:
    steady = limit_of(lambda: repeat(20.0))
    assert steady.highest_hz == pytest.approx(50.0, rel=0.02)
    every_tenth = limit_of(lambda: cycle([20.0] * 9 + [60.0]))
    assert every_tenth.highest_hz is not None
    assert 20 < every_tenth.highest_hz < 42  # 1000 / 24 ms is what its mean would promise
    numbers = random.Random(1)
    at_random = limit_of(lambda: (60.0 if numbers.random() < 0.1 else 20.0 for _ in repeat(0)))
    assert at_random.highest_hz is not None
    assert at_random.highest_hz < 42


def test_an_answer_at_the_edge_is_refused() -> None:
    slow = search(trials(lambda: repeat(2000.0)), Limits(), 10.0, 1.0, 1000.0)
    assert (slow.highest_hz, "not even 1 Hz" in slow.reason) == (None, True)
    quick = search(trials(lambda: repeat(0.1)), Limits(), 10.0, 1.0, 1000.0)
    assert (quick.highest_hz, "1000 Hz, the edge" in quick.reason) == (None, True)


def test_limits_are_judged_by_what_the_samples_allow() -> None:
    trial = Trial(30.0, 10.0, 300, [10.0] * 295 + [50.0] * 2)
    assert Limits(max_drop_pct=1.0).broken(trial) == []
    assert "1.00 %" in Limits(max_drop_pct=0.9).broken(trial)[0]
    assert "maximum (n 297 is too few for a p99) is 50.00 ms" in Limits(max_p99_ms=40).broken(trial)[0]
    many = Trial(30.0, 50.0, 1500, [10.0] * 1499 + [50.0])
    assert Limits(max_p99_ms=40).broken(many) == []
    stalls = Trial(30.0, 50.0, 1500, [10.0] * 1450 + [300.0] * 50)
    assert "p99 is 300.00 ms" in Limits(max_p99_ms=40).broken(stalls)[0]
    assert "29.70 Hz come out" in Limits(min_hz=30).broken(trial)[0]
    every_tenth = Trial(30.0, 10.0, 300, [10.0] * 270)
    assert every_tenth.drop_pct == 10.0
    assert Trial(1.0, 1.0, 0, []).drop_pct == 100.0


def test_the_ledger_of_a_trial_adds_up() -> None:
    trial = Trial(30.0, 10.0, 300, [10.0] * 280, replaced=15, late_ms=[0.1] * 290 + [2.0] * 10)
    assert trial.unaccounted == 5
    assert trial.sender_late_ms == 2.0


def test_the_interval_of_a_few_answers() -> None:
    low, high = interval([49.0, 50.0, 51.0])
    assert (low, high) == pytest.approx((50 - 4.303 / 3**0.5, 50 + 4.303 / 3**0.5))
    assert np.isnan(interval([50.0])[0])


def test_junit_names_each_check() -> None:
    root = ET.fromstring(junit("replay", {"drops": [], "p99": ['is "9" & <more>']}))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")
    failure = root.find("testcase[@name='p99']/failure")
    assert failure is not None
    assert failure.get("message") == 'is "9" & <more>'
    void = ET.fromstring(junit("replay", {"drops": []}, "the sender was late"))
    assert (void.get("failures"), void.get("errors")) == ("0", "1")
    assert json.dumps(void.attrib)
