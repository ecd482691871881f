"""Percentiles rest on enough samples, or are not given."""

from __future__ import annotations

import random

import pytest

from perf_inference.measure.statistics import Distribution, TimingStatistics


def test_percentiles_of_a_known_list() -> None:
    values = Distribution()
    for ms in range(1, 101):
        values.add(ms * 1_000_000)
    summary = values.summary_ms()
    assert (summary["mean"], summary["p50"], summary["p90"], summary["max"], summary["n"]) == (50.5, 50, 90, 100, 100)
    assert summary["p99"] is None  # 662 samples are needed


def test_a_percentile_between_two_ranks_is_the_upper_one() -> None:
    # 13 samples: 50 % of them are 6.5, so the 7th
    made = Distribution.of(range(1, 14))
    assert made.percentile_ns(50.0) == 7


@pytest.mark.parametrize(("percent", "needed"), [(50.0, 11), (90.0, 64), (99.0, 662)])
def test_too_few_samples_give_no_percentile(percent: float, needed: int) -> None:
    values = Distribution()
    for _ in range(needed - 1):
        values.add(5)
    assert values.percentile_ns(percent) is None
    values.add(5)
    assert values.percentile_ns(percent) == 5


def test_the_histogram_is_within_a_thousandth_of_the_exact_values() -> None:
    numbers = random.Random(1)
    samples = [round(numbers.lognormvariate(16, 1)) for _ in range(5000)]
    exact, coarse = Distribution(exact_limit=10_000), Distribution(exact_limit=100)
    for sample in samples:
        exact.add(sample)
        coarse.add(sample)
    for percent in (50.0, 90.0, 95.0, 99.0):
        wanted = exact.percentile_ns(percent)
        assert wanted is not None
        assert coarse.percentile_ns(percent) == pytest.approx(wanted, rel=1.01e-3)
    assert (coarse.max_ns, coarse.n, coarse.total_ns) == (exact.max_ns, exact.n, exact.total_ns)


def test_the_rate_divides_by_intervals_not_by_frames() -> None:
    timings = TimingStatistics()
    for i in range(11):
        timings.add({"received_ns": i * 100_000_000, "infer_ms": 2.0, "latency_ms": None})
    assert timings.hz == pytest.approx(10.0)
    assert timings.as_dict()["latency_ms"]["n"] == 0
    assert timings.as_dict()["stages_ms"]["infer"]["p50"] == 2.0


@pytest.mark.parametrize("count", [0, 1, 10, 700])
def test_a_distribution_of_given_samples_is_that_of_the_samples_added(count: int) -> None:
    samples = [random.Random(count).randrange(1, 1_000_000_000) for _ in range(count)]
    added = Distribution()
    for sample in samples:
        added.add(sample)
    made = Distribution.of(samples)
    assert made.summary_ms() == added.summary_ms()
    made.add(2_000_000_000)
    assert (made.n, made.max_ns) == (count + 1, 2_000_000_000)
