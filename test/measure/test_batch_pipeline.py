"""Several sources, one engine, on a clock that the test holds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference.batch_pipeline import BatchPipeline
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import EngineError, InputError
from perf_inference.measure.stamps import Arrival, Scalar
from perf_inference.pipeline import Frame, Model
from perf_inference.testing.fakes import FakeClock, FakeEngine, ListRecorder

MS = 1_000_000
SPEC = (ArraySpec("x", (None,), np.dtype(np.float32)),)


class Batch:
    """Frames of one length of name go together."""

    def __init__(self, play: Play) -> None:
        self._play, self._frames = play, list[str]()

    def add(self, frame: str) -> str | None:
        if self._frames and (len(self._frames) >= self._play.most or len(frame) != len(self._frames[0])):
            return None
        self._play.clock.advance(2)
        if frame.startswith("odd"):
            raise InputError("an odd image")
        self._frames.append(frame)
        self._play.in_engine = self._frames
        return frame

    def inputs(self) -> Mapping[str, NDArray[Any]]:
        return {"x": np.zeros(self._play.fixed or len(self._frames), np.float32)}

    @property
    def padding(self) -> int:
        return (self._play.fixed or len(self._frames)) - len(self._frames)


class Play(ListRecorder):
    """Stages take 1 ms (decode), 2, 10 and 5 for each image of a run (infer), 3 and 4 ms."""

    def __init__(self, *sources: str, most: int = 8, fixed: int = 0, queue_size: int = 1, wait_ms: float = 0) -> None:
        super().__init__()
        self.clock, self.most, self.fixed, self.in_engine = FakeClock(), most, fixed, list[str]()
        self.runs: list[list[str]] = []
        self.ended: list[int] = []
        self.pipeline = BatchPipeline(
            "node", self.decode, Model(FakeEngine(SPEC, SPEC, self.infer), self), self.publish, self.timing,
            self.problem, queue_size, clocks=self.clock.clocks(), wait_ms=wait_ms,
            sources={source: {"camera": source} for source in sources},
        )  # fmt: skip

    def offer(self, source: str, message: str, stamp_ms: float | None = None) -> None:
        now_ns = self.clock.now_ns
        stamp_ns = None if stamp_ms is None else round(stamp_ms * MS) + self.clock.system_offset_ns
        arrival = Arrival(message, now_ns, now_ns + self.clock.system_offset_ns, stamp_ns, source=source)
        self.pipeline.offer(arrival)

    def decode(self, arrival: Arrival, task: Any) -> Frame:
        self.clock.advance(1)
        if arrival.message.startswith("cut"):
            raise InputError("it is cut off")
        return Frame(arrival.message, arrival.stamp_ns)

    def new_batch(self) -> Batch:
        return Batch(self)

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        self.clock.advance(10 + 5 * len(inputs["x"]))
        if any(frame.startswith("bad") for frame in self.in_engine):
            raise EngineError("the engine fails at it")
        self.runs.append(list(self.in_engine))
        return inputs

    def postprocess_one(self, outputs: Any, context: str, index: int) -> str:
        self.clock.advance(3)
        assert self.runs[-1][index] == context
        if context.startswith("nan"):
            raise EngineError("no finite score")
        return context

    def extra(self, result: Any, context: Any) -> Mapping[str, Scalar]:
        return {"length": len(result)}

    def publish(self, result: Any, frame: Frame, arrival: Arrival) -> None:
        self.clock.advance(4)
        super().publish((arrival.source, result), frame, arrival)

    def counts(self, source: str) -> tuple[int, int, int, int, int]:
        """Return (received, processed, replaced, rejected, failed), of a ledger that adds up."""
        now = self.pipeline.lanes[source].ledger.snapshot()
        assert (now.residual, now.in_work, now.published) == (0, 0, now.processed)
        return now.received, now.processed, now.replaced, now.rejected, now.failed


def test_each_camera_keeps_its_stamp_and_its_own_stages() -> None:
    # t [ms] 0  2    3    4     6     8         28    31   35    38   42
    # a      waits   dec  |     pre   | waits   infer post pub
    # b         wait | dec  |  waits  | pre     infer | waits    post pub
    play = Play("a", "b")
    play.offer("a", "A", stamp_ms=-10)
    play.clock.advance(2)
    play.offer("b", "B", stamp_ms=1)
    assert play.pipeline.step(0)
    first, second = play.timings
    assert (first.stages_ns, first.total_ns) == (
        {"queue": 5 * MS, "decode": MS, "preprocess": 2 * MS, "infer": 20 * MS, "postprocess": 3 * MS,
         "publish": 4 * MS},
        35 * MS,
    )  # fmt: skip
    assert (second.stages_ns, second.total_ns) == (
        {"queue": 10 * MS, "decode": MS, "preprocess": 2 * MS, "infer": 20 * MS, "postprocess": 3 * MS,
         "publish": 4 * MS},
        40 * MS,
    )  # fmt: skip
    assert [timing.latency_ns for timing in play.timings] == [45 * MS, 41 * MS]
    assert [dict(timing.extra) for timing in play.timings] == [
        {"camera": name, "batch": 2, "batch_padding": 0, "length": 1} for name in "ab"
    ]
    assert [timing.seq for timing in play.timings] == [1, 2]  # one count for the node: a timing is known by it
    assert play.results == [("a", "A"), ("b", "B")]
    assert play.counts("a") == play.counts("b") == (1, 1, 0, 0, 0)


def test_what_a_fixed_batch_is_padded_with_costs_its_images() -> None:
    play = Play("a", "b", most=4, fixed=4)
    play.offer("a", "A")
    play.pipeline.step(0)
    (timing,) = play.timings
    assert (timing.stages_ns["infer"], timing.extra["batch"], timing.extra["batch_padding"]) == (30 * MS, 1, 3)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_camera_starves(most: int) -> None:
    play = Play("fast", "quick", "slow", most=most)
    for turn in range(12):
        play.offer("fast", f"f{turn % 10}")
        play.offer("quick", f"q{turn % 10}")
        if turn == 5:
            play.offer("slow", "s0")
        play.pipeline.step(0)
        if turn == 7:  # two others are before it at most, however often they come
            assert play.counts("slow") == (1, 1, 0, 0, 0)
    served = [play.counts(name)[1] for name in ("fast", "quick")]
    assert max(served) - min(served) <= 1
    assert [timing.dropped_before for timing in play.timings if timing.extra["camera"] == "slow"] == [0]


def test_one_camera_dead_and_the_others_go_on() -> None:
    play = Play("a", "b")
    for turn in range(5):
        play.offer("a", f"A{turn}")
        assert play.pipeline.step(0)
    assert not play.pipeline.step(0)
    assert (play.counts("a"), play.counts("b")) == ((5, 5, 0, 0, 0), (0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("message", "outcome"),
    [("cut", "rejected"), ("odd", "rejected"), ("bad", "failed"), ("nan", "failed")],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_image_takes_no_other_down(message: str, outcome: str, place: int) -> None:
    play = Play("a", "b", "c")
    for index, source in enumerate("abc"):
        play.offer(source, message if index == place else "one")
    play.pipeline.step(0)
    assert [problem[0] for problem in play.problems] == [outcome]
    good = [source for index, source in enumerate("abc") if index != place]
    assert play.results == [(source, "one") for source in good]
    assert [play.counts(source) for source in good] == [(1, 1, 0, 0, 0)] * 2
    rejected = outcome == "rejected"
    assert play.counts("abc"[place]) == (1, 0, 0, int(rejected), int(not rejected))


def test_images_of_another_size_go_with_the_next_run() -> None:
    play = Play("a", "b", "c", "d")
    for source, message in zip("abcd", ("xx", "y", "zz", "w"), strict=True):
        play.offer(source, message)
    play.pipeline.step(0)
    assert play.runs == [["xx", "zz"], ["y", "w"]]
    for timing in play.timings:
        assert sum(timing.stages_ns.values()) == timing.total_ns
    assert {play.counts(source) for source in "abcd"} == {(1, 1, 0, 0, 0)}


def test_a_camera_that_is_faster_than_the_engine_has_its_own_losses() -> None:
    play = Play("a", "b")
    for message in ("A1", "A2", "A3"):
        play.offer("a", message)
        play.clock.advance(1)
    play.offer("b", "B1")
    play.pipeline.step(0)
    assert (play.counts("a"), play.counts("b")) == ((3, 1, 2, 0, 0), (1, 1, 0, 0, 0))
    assert [(timing.extra["camera"], timing.dropped_before) for timing in play.timings] == [("a", 2), ("b", 0)]
    assert [timing.dropped_age_ns for timing in play.timings] == [1 * MS, None]


def test_an_image_waits_for_the_other_cameras_only_while_they_live() -> None:
    play = Play("a", "b", "dead", wait_ms=30_000)
    play.offer("b", "B0")
    play.offer("a", "A0")
    assert play.pipeline.step(0)  # nothing has come of the third, so it is not waited for
    assert play.runs == [["A0", "B0"]]
    play.offer("a", "A1")
    stepped = threading.Thread(target=play.pipeline.step, args=(0,))
    stepped.start()
    stepped.join(0.05)
    assert stepped.is_alive()  # b was here a moment ago
    play.offer("b", "B1")
    stepped.join(10)
    assert play.runs[-1] == ["A1", "B1"]
    play.clock.advance(2000)
    play.offer("a", "A2")
    assert play.pipeline.step(0)
    assert play.runs[-1] == ["A2"]


def test_the_worker_ends_while_it_waits() -> None:
    play = Play("a", "b", wait_ms=30_000)
    play.offer("b", "B0")
    play.offer("a", "A0")
    play.pipeline.step(0)
    play.pipeline.start()
    play.offer("a", "A1")
    assert play.pipeline.close(10)
    assert play.pipeline.lanes["a"].ledger.snapshot().waiting == 1
    assert play.pipeline.lanes["a"].ledger.snapshot().residual == 0
