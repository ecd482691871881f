"""What the pipeline measures, against an engine that knows what it took."""

from __future__ import annotations

import random
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
        self.measured.add(timing.stages_ns["infer"])
        self.reported.set()

    def problem(self, outcome: str, error: Exception) -> None:
        super().problem(outcome, error)
        self.reported.set()


def busy_wait(delay_ms: float, frames: int) -> tuple[Distribution, Distribution]:
    """Return what the pipeline's worker measured of an engine that busy-waits, and what the engine read itself."""
    own = Distribution()

    def infer() -> None:
        start_ns = now_ns = time.monotonic_ns()
        while now_ns - start_ns < delay_ms * MS:
            now_ns = time.monotonic_ns()
        own.add(now_ns - start_ns)

    bench = Bench(infer)
    bench.pipeline.start()
    for _ in range(frames):
        bench.reported.clear()
        bench.offer()
        assert bench.reported.wait(10.0)
    assert bench.pipeline.close()
    assert not bench.problems
    return bench.measured, own


def two_hundred_calls_ns() -> float:
    """Return what two hundred calls of a function take on this machine now: the median of 21 readings."""

    def once() -> int:
        start_ns = time.monotonic_ns()
        for _ in range(200):
            time.monotonic_ns()
        return time.monotonic_ns() - start_ns

    return statistics.median(once() for _ in range(21))


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize(("delay_ms", "frames"), [(2, 60), (5, 40), (20, 15)])
def test_p50_and_mean_are_within_a_hundredth_of_the_engines_own_reading(delay_ms: float, frames: int) -> None:
    measured, own = busy_wait(delay_ms, frames)
    p50, own_p50 = measured.percentile_ns(50.0), own.percentile_ns(50.0)
    assert measured.n == own.n == frames
    assert p50 is not None
    assert own_p50 is not None
    assert measured.total_ns >= own.total_ns  # what the engine took is never more than what it is charged
    # the machine may take the core away between the engine's reading and the pipeline's
    apart = (p50 / own_p50 - 1, measured.total_ns / own.total_ns - 1)
    limit = max(0.01, 2 * two_hundred_calls_ns() / own_p50)  # 10 us on an idle machine; on a busy one the limit grows
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
