"""The journey of one message, on a clock that the test holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo
from perf_inference.errors import EngineError, InputError
from perf_inference.measure.stamps import Arrival, Scalar, Timing
from perf_inference.pipeline import Frame, Model, Pipeline
from perf_inference.testing.fakes import FakeClock, FakeEngine, ListRecorder

MS = 1_000_000
SYSTEM_OFFSET_NS = 1_700_000_000_000_000_000


X_SPEC = (ArraySpec("x", (1,), np.dtype(np.float32)),)


class Play(ListRecorder):
    """A pipeline whose stages take 1 ms (decode), 2, 20 (infer), 3 and 4 ms.

    A frame named after a stage fails in it; the others' names are in `postprocess` and `decode`.
    """

    def __init__(
        self, queue_size: int = 1, error: type[Exception] = EngineError,
        report: Callable[[Timing], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.clock, self._error, self._in_work = FakeClock(0, SYSTEM_OFFSET_NS), error, ""
        model = Model(FakeEngine(X_SPEC, X_SPEC, self.infer), self)
        self.pipeline = Pipeline(
            "node", self.decode, model, self.publish, report or self.timing, self.problem, queue_size,
            clocks=self.clock.clocks(),
        )  # fmt: skip

    def _spend(self, stage: str, ms: float) -> None:
        self.clock.advance(ms)
        if self._in_work == stage:
            raise self._error(f"it failed in {stage}")

    def offer(self, message: Any, stamp_ns: int | None = None) -> None:
        now_ns = self.clock.now_ns
        self.pipeline.offer(Arrival(message, now_ns, now_ns + SYSTEM_OFFSET_NS, stamp_ns))

    def decode(self, arrival: Arrival, task: Any) -> Frame:
        self._in_work = arrival.message
        self._spend("decode", 1)
        if arrival.message == "malformed":
            raise InputError("step must be at least 9 bytes, got 1")
        return Frame(arrival.message, arrival.stamp_ns)

    def preprocess(self, frame: Any) -> tuple[Mapping[str, NDArray[Any]], Any]:
        self._spend("preprocess", 2)
        return {"x": np.zeros(1, np.float32)}, frame

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        self._spend("infer", 20)
        return inputs

    def postprocess(self, outputs: Any, context: Any) -> Any:
        self._spend("postprocess", 3)
        if context == "broken":
            raise EngineError("the model gave scores that are not finite")
        if context == "bug":
            raise IndexError("nobody thought of this")
        return context

    def extra(self, result: Any, context: Any) -> Mapping[str, Scalar]:
        if context == "extra":
            raise KeyError("tokens")
        return {"tokens": 7}

    def publish(self, result: Any, frame: Frame, arrival: Arrival) -> None:
        self._spend("publish", 4)
        super().publish(result, frame, arrival)


def test_each_stage_is_charged_its_own_time() -> None:
    # t [ms]  0        5      6           8        28            31       35
    # frame   waits    decode preprocess  infer    postprocess   publish  done
    play = Play()
    play.offer("a", stamp_ns=SYSTEM_OFFSET_NS - 10 * MS)
    play.clock.advance(5)
    assert play.pipeline.step(0)
    (timing,) = play.timings
    assert timing.stages_ns == {
        "queue": 5 * MS, "decode": 1 * MS, "preprocess": 2 * MS, "infer": 20 * MS, "postprocess": 3 * MS,
        "publish": 4 * MS,
    }  # fmt: skip
    assert (timing.total_ns, timing.latency_ns) == (35 * MS, 45 * MS)
    record = timing.as_dict()
    assert (record["infer_ms"], record["total_ms"], record["latency_ms"], record["tokens"]) == (20, 35, 45, 7)


# The time that a frame has used up when it fails, from the end of its wait [ms].
USED_MS = {"decode": 1, "preprocess": 3, "infer": 23, "postprocess": 26, "extra": 26, "publish": 30}


@pytest.mark.parametrize("stage", USED_MS)
@pytest.mark.parametrize("error", [InputError, EngineError, ZeroDivisionError])
def test_what_a_failing_frame_used_up_is_the_next_ones_wait(stage: str, error: type[Exception]) -> None:
    # t [ms]  0     used                                           used + 30
    # bad     [fails]
    # good    waits | decode preprocess infer postprocess publish |
    play = Play(queue_size=2, error=error)
    play.offer(stage)
    play.offer("good")
    for _ in range(2):
        assert play.pipeline.step(0)
    (timing,) = play.timings
    assert timing.stages_ns == {
        "queue": USED_MS[stage] * MS, "decode": 1 * MS, "preprocess": 2 * MS, "infer": 20 * MS, "postprocess": 3 * MS,
        "publish": 4 * MS,
    }  # fmt: skip
    assert timing.total_ns == (USED_MS[stage] + 30) * MS
    rejected = error is InputError and stage != "extra"
    assert [outcome for outcome, _ in play.problems] == ["rejected" if rejected else "failed"]
    counts = play.pipeline.ledger.snapshot()
    assert (counts.rejected, counts.failed, counts.processed) == (int(rejected), int(not rejected), 1)
    assert (counts.published, counts.in_work, counts.residual) == (1, 0, 0)
    assert play.results == ["good"]


def test_a_replaced_frame_is_counted_not_lost() -> None:
    # t [ms]  0    10   20   30
    # in      a    b    c
    # worker  [----- a -----]  [-- c --]        b is replaced by c while a is in the engine
    play = Play()
    play.offer("a")
    play.pipeline.step(0)
    play.offer("b")
    play.offer("c")
    play.pipeline.step(0)
    counts = play.pipeline.ledger.snapshot()
    assert (counts.received, counts.processed, counts.replaced, counts.residual) == (3, 2, 1, 0)
    assert [t.dropped_before for t in play.timings] == [0, 1]
    assert play.results == ["a", "c"]


def test_a_bad_frame_a_failing_engine_and_a_bug_are_counted_apart_and_skipped() -> None:
    play = Play()
    for message in ("malformed", "broken", "bug", "good"):
        play.offer(message)
        play.pipeline.step(0)
    counts = play.pipeline.ledger.snapshot()
    assert (counts.rejected, counts.failed, counts.processed, counts.residual) == (1, 2, 1, 0)
    assert [outcome for outcome, _ in play.problems] == ["rejected", "failed", "failed"]
    assert play.results == ["good"]
    assert play.timings[0].seq == 1


def test_an_implausible_stamp_gives_no_latency_and_is_counted() -> None:
    play = Play()
    for stamp_ns in (SYSTEM_OFFSET_NS + 3_600_000 * MS, 1, SYSTEM_OFFSET_NS, None):
        play.offer("a", stamp_ns)  # in the future, years old, fine, without a stamp
        play.pipeline.step(0)
    assert [t.latency_ns is None for t in play.timings] == [True, True, False, True]
    assert play.pipeline.ledger.snapshot().implausible_stamps == 2


def test_the_worker_ends_with_close_and_the_ledger_still_adds_up() -> None:
    play = Play()
    play.pipeline.start()
    play.offer("a")
    assert play.pipeline.close()
    assert not play.pipeline.step(0)
    assert play.pipeline.ledger.snapshot().residual == 0


class Gate:
    """An engine that stays in `infer` until it is opened."""

    inputs = outputs = X_SPEC
    parts_ns = NO_PARTS

    def __init__(self, name: str) -> None:
        self.info = EngineInfo(name, "fake", "fp32", "cpu", {})
        self.entered, self.opened = threading.Event(), threading.Event()

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        self.entered.set()
        assert self.opened.wait(10)
        return inputs

    def close(self) -> None: ...


def test_another_model_takes_over_between_two_frames() -> None:
    # worker  [--- a in old ---] [- b in new -]
    # swap        [ still busy ]   [ free ]
    play, old, new = Play(), Gate("old"), Gate("new")
    pipeline = Pipeline("node", play.decode, Model(old, play), play.publish, play.timing, play.problem, queue_size=5)
    pipeline.start()
    now_ns = play.clock.now_ns
    pipeline.offer(Arrival("a", now_ns, now_ns))
    assert old.entered.wait(10)
    assert not pipeline.swap(Model(new, play), timeout_s=0.05)  # not to be closed yet
    assert pipeline.model.engine is old  # a is still in it
    pipeline.offer(Arrival("b", now_ns, now_ns))
    old.opened.set()
    assert new.entered.wait(10)
    new.opened.set()
    assert pipeline.close(10)
    assert [(timing.engine, timing.seq) for timing in play.timings] == [("old", 1), ("new", 2)]
    assert pipeline.swap(Model(old, play), timeout_s=0)
    assert pipeline.ledger.snapshot().residual == 0


def test_a_frame_whose_timing_cannot_be_reported_fails_and_the_worker_goes_on() -> None:
    timings: list[Timing] = []

    def report(timing: Timing) -> None:
        if timing.seq == 1:
            raise ValueError("no room")
        timings.append(timing)

    play = Play(report=report)
    for message in ("a", "b"):
        play.offer(message)
        assert play.pipeline.step(0)
    counts = play.pipeline.ledger.snapshot()
    assert (counts.failed, counts.processed, counts.in_work, counts.residual) == (1, 1, 0, 0)
    assert play.problems == [("failed", "no room")]
    assert [timing.seq for timing in timings] == [2]
