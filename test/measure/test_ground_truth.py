"""What the pipeline measures, against an engine that knows what it took."""

from __future__ import annotations

import json
import random
import resource
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from perf_inference.engines.engine import ArraySpec
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.measure.stamps import Arrival, Timing
from perf_inference.measure.statistics import Distribution
from perf_inference.pipeline import Frame, Model, Pipeline
from perf_inference.testing.fakes import Arrays, FakeClock, FakeEngine, FakeTask, ListRecorder

MS = 1_000_000
X = np.zeros(1, np.float32)


X_SPEC = (ArraySpec("x", (1,), np.dtype(np.float32)),)


class Bench(ListRecorder):
    """A pipeline around one engine; `infer` is what it does."""

    def __init__(self, infer: Callable[[], None], clocks: Clocks = CLOCKS) -> None:
        super().__init__()
        self._clocks = clocks
        self.measured = Distribution()
        self.reported = threading.Event()
        self.switches = self.newest_ns = 0

        def answer(inputs: Arrays) -> Arrays:
            infer()
            return inputs

        model = Model(FakeEngine(X_SPEC, X_SPEC, answer), FakeTask({"x": X}))
        self.pipeline = Pipeline(
            "node", self.decode, model, self.publish, self.timing, self.problem, clocks=clocks
        )  # fmt: skip

    def offer(self) -> None:
        self.pipeline.offer(Arrival("a", *self._clocks.pair()))

    def decode(self, arrival: Arrival, task: Any) -> Frame:
        return Frame(arrival.message, arrival.stamp_ns)

    def timing(self, timing: Timing) -> None:
        self.switches, self.newest_ns = switches(), timing.stages_ns["infer"]
        self.measured.add(self.newest_ns)
        self.reported.set()

    def problem(self, outcome: str, error: Exception) -> None:
        super().problem(outcome, error)
        self.reported.set()


def switches() -> int:
    """Return how often the machine has taken the core away from this thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def busy_wait(delay_ms: float, frames: int) -> tuple[Distribution, Distribution, float]:
    """Run an engine that busy-waits.

    Returns:
        What the pipeline's worker measured, what the engine read itself, and what a little of any code takes after
        such a wait on this machine now (the median) [ns]. Calls between whose two readings the machine took the core
        away count in neither.
    """
    readings: list[tuple[int, int]] = []

    def infer() -> None:
        start_ns = now_ns = time.monotonic_ns()
        while now_ns - start_ns < delay_ms * MS:
            now_ns = time.monotonic_ns()
        readings.append((now_ns - start_ns, switches()))

    bench, measured, own, some = Bench(infer), Distribution(), Distribution(), []
    bench.pipeline.start()
    deadline_s = time.monotonic() + 30
    while own.n < frames:
        assert time.monotonic() < deadline_s, f"{own.n} of {frames} calls were left alone"
        bench.reported.clear()
        bench.offer()
        assert bench.reported.wait(10.0)
        own_ns, before = readings.pop()
        if bench.switches == before:
            own.add(own_ns)
            measured.add(bench.newest_ns)
        infer()
        start_ns = time.monotonic_ns()
        json.dumps({"after": readings})
        some.append(time.monotonic_ns() - start_ns)
        readings.clear()
    assert bench.pipeline.close()
    assert not bench.problems
    return measured, own, statistics.median(some)


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize(("delay_ms", "frames"), [(2, 60), (5, 40), (20, 15)])
def test_p50_and_mean_are_within_a_hundredth_of_the_engines_own_reading(delay_ms: float, frames: int) -> None:
    measured, own, some_ns = busy_wait(delay_ms, frames)
    p50, own_p50 = measured.percentile_ns(50.0), own.percentile_ns(50.0)
    assert measured.n == own.n == frames
    assert p50 is not None
    assert own_p50 is not None
    assert measured.total_ns >= own.total_ns  # what the engine took is never more than what it is charged
    apart = (p50 / own_p50 - 1, measured.total_ns / own.total_ns - 1)
    limit = max(0.01, some_ns / own_p50)  # 15 us on an idle machine; on a busy one the limit grows
    print(f"{delay_ms:g} ms busy: p50 {apart[0]:+.2%}, mean {apart[1]:+.2%} of the engine's own reading ({limit:.2%})")
    assert max(map(abs, apart)) < limit, apart


def test_known_delays_give_exactly_their_percentiles() -> None:
    # 1, 2, ... 700 ms in any order: p50 is the 350th, p90 the 630th, p99 the 693rd of them
    delays_ms = list(range(1, 701))
    random.Random(3).shuffle(delays_ms)
    clock, coming = FakeClock(), iter(delays_ms)
    bench = Bench(lambda: clock.advance(next(coming)), clock.clocks())
    for _ in delays_ms:
        bench.offer()
        assert bench.pipeline.step(0)
    summary = bench.measured.summary_ms()
    assert {key: summary[key] for key in ("mean", "p50", "p90", "p99", "max", "n")} == {
        "mean": 350.5, "p50": 350, "p90": 630, "p99": 693, "max": 700, "n": 700,
    }  # fmt: skip
