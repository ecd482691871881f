"""Percentiles that say how many samples they rest on.

Exact up to `Distribution.exact_limit` samples; beyond, from a histogram whose buckets are 0.2 % wide, so that a value
is off by 0.1 % at most. Mean, maximum and count are always exact.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

MIN_SAMPLES = {50.0: 11, 90.0: 64, 95.0: 130, 99.0: 662, 99.9: 6636}
"""Samples needed before a percentile may be called one (MLPerf Inference early stopping, 99 % confidence)."""

_BUCKET = math.log(1.002)
_MOST_NS = 2**63 - 1
_FEW = 1000  # samples; with more, the memory of all that may come is taken at once, so that a long run does not grow
_MOST_STAGES = 50  # of a node: its names come with its records


class Distribution:
    """Durations in integer nanoseconds."""

    def __init__(self, exact_limit: int = 20_000) -> None:
        self.exact_limit = exact_limit
        self.n = 0
        self.total_ns = 0
        self.max_ns = 0
        self._values: array[int] | None = array("q")  # a fifth of a list's memory; the first n are the samples
        self._buckets: dict[int, int] = {}

    @classmethod
    def of(cls, values_ns: Iterable[int]) -> Distribution:
        """Return the exact distribution of these samples [ns]: one pass in C, for what is made again at each look."""
        values = sorted(values_ns)
        made = cls(exact_limit=max(20_000, len(values)))
        made.n, made.total_ns, made.max_ns = len(values), sum(values), max(values, default=0)
        made._values = array("q", values)
        return made

    def add(self, value_ns: int) -> None:
        """Add one sample [ns]; below 1 ns counts as 1 ns in the histogram."""
        self.n += 1
        self.total_ns += value_ns
        self.max_ns = max(self.max_ns, value_ns)
        if self._values is not None and self.n > self.exact_limit:
            for value in self._values[: self.n - 1]:
                self._to_bucket(value)
            self._values = None
        if self._values is None:
            self._to_bucket(value_ns)
            return
        if self.n == _FEW < self.exact_limit:
            self._values.extend(array("q", bytes(8 * (self.exact_limit - len(self._values)))))
        kept_ns = min(max(value_ns, -_MOST_NS), _MOST_NS)
        if self.n <= len(self._values):
            self._values[self.n - 1] = kept_ns
        else:
            self._values.append(kept_ns)

    def _to_bucket(self, value_ns: int) -> None:
        index = int(math.log(max(1, value_ns)) / _BUCKET)
        self._buckets[index] = self._buckets.get(index, 0) + 1

    def percentile_ns(self, percent: float) -> float | None:
        """Return the smallest value that at least `percent` of the samples do not exceed; None: too few samples."""
        if self.n < MIN_SAMPLES.get(percent, 1):
            return None
        rank = max(1, math.ceil(self.n * percent / 100))
        if self._values is not None:
            self._values[: self.n] = array("q", sorted(self._values[: self.n]))  # nearly sorted the next time
            return float(self._values[rank - 1])
        seen = 0
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if seen >= rank:
                return min(float(self.max_ns), math.exp((index + 0.5) * _BUCKET))
        return float(self.max_ns)

    def summary_ms(self) -> dict[str, float | int | None]:
        """Return {mean, p50, p90, p99, max, n} in ms; null where there are too few samples."""

        def ms(value_ns: float | None) -> float | None:
            return None if value_ns is None else round(value_ns / 1e6, 4)

        return {
            "mean": ms(self.total_ns / self.n) if self.n else None,
            "p50": ms(self.percentile_ns(50.0)),
            "p90": ms(self.percentile_ns(90.0)),
            "p99": ms(self.percentile_ns(99.0)),
            "max": ms(self.max_ns) if self.n else None,
            "n": self.n,
        }


class TimingStatistics:
    """What the timings of one node come to: its inferences, their rate, latency and stages."""

    def __init__(self) -> None:
        self.inferences = 0
        self.warmup = 0  # of them; left out of latency and stages
        self.latency, self.due_latency, self.dropped_age = Distribution(), Distribution(), Distribution()
        self.stages: dict[str, Distribution] = {}
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one flat record of the timings file; nulls are left out of the statistics."""
        self.inferences += 1
        arrived = record.get("arrived_ns") or record["received_ns"]  # monotonic, where the recording has it
        self._first_ns = arrived if self._first_ns is None else min(self._first_ns, arrived)
        self._last_ns = arrived if self._last_ns is None else max(self._last_ns, arrived)
        if record.get("warmup"):
            self.warmup += 1
            return
        named = {"latency_ms": self.latency, "due_latency_ms": self.due_latency, "dropped_age_ms": self.dropped_age}
        for key, value in record.items():
            if key.endswith("_ms") and isinstance(value, int | float):
                stage = key[:-3]
                if key in named:
                    named[key].add(round(value * 1e6))
                elif stage in self.stages or len(self.stages) < _MOST_STAGES:
                    self.stages.setdefault(stage, Distribution()).add(round(value * 1e6))

    @property
    def hz(self) -> float | None:
        """Inferences per second: N - 1 intervals over the time from the first to the last; None below two."""
        if self._first_ns is None or self._last_ns is None or self._last_ns <= self._first_ns:
            return None
        return (self.inferences - 1) / ((self._last_ns - self._first_ns) / 1e9)

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Arrivals of the first and the last [ns, monotonic]; None: there was none."""
        return None if self._first_ns is None or self._last_ns is None else (self._first_ns, self._last_ns)

    @property
    def elapsed_s(self) -> float:
        """From the first to the last inference [s]."""
        return 0.0 if self._first_ns is None or self._last_ns is None else (self._last_ns - self._first_ns) / 1e9

    def as_dict(self) -> dict[str, Any]:
        """Return {inferences, hz, warmup, latency_ms, ..., stages_ms} as the summary file has them."""
        return {
            "inferences": self.inferences,
            "hz": None if self.hz is None else round(self.hz, 4),
            "warmup": self.warmup,
            "latency_ms": self.latency.summary_ms(),
            "due_latency_ms": self.due_latency.summary_ms(),
            "dropped_age_ms": self.dropped_age.summary_ms(),
            "stages_ms": {stage: values.summary_ms() for stage, values in self.stages.items()},
        }


def summarise(records: Iterable[Mapping[str, Any]]) -> dict[str, TimingStatistics]:
    """Return the statistics of each node that occurs in these flat records."""
    nodes: dict[str, TimingStatistics] = {}
    for record in records:
        nodes.setdefault(record["node"], TimingStatistics()).add(record)
    return nodes
