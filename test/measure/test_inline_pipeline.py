"""A pipeline without a worker: each message is worked off by a thread that offers, one at a time, and none is left."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import InputError
from perf_inference.inline_pipeline import InlinePipeline
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival
from perf_inference.pipeline import Frame, Model
from perf_inference.testing.fakes import Arrays, FakeEngine, FakeTask, ListRecorder

X = np.zeros(1, np.float32)
X_SPEC = (ArraySpec("x", (1,), np.dtype(np.float32)),)


class Line(ListRecorder):
    """A pipeline around an engine that notes how many threads are in it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.most_inside = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()
        model = Model(FakeEngine(X_SPEC, X_SPEC, self.infer), FakeTask({"x": X}))
        self.pipeline = InlinePipeline("node", self.decode, model, self.publish, self.timing, self.problem)
        self.pipeline.start()

    def infer(self, inputs: Arrays) -> Arrays:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        assert self.go_on.wait(10)
        self.inside -= 1
        return inputs

    def decode(self, arrival: Arrival, task: Any) -> Frame:
        return Frame(arrival.message, arrival.stamp_ns)

    def timing(self, timing: Any) -> None:
        pass

    def offer(self, message: str) -> None:
        self.pipeline.offer(Arrival(message, *CLOCKS.pair()))
        self.pipeline.work()


def busy_line() -> tuple[Line, threading.Thread]:
    """Return one with "a" in work until `go_on` is set, and the thread that works on it."""
    line = Line()
    line.go_on.clear()
    working = threading.Thread(target=line.offer, args=("a",))
    working.start()
    assert line.entered.wait(10)
    return line, working


def test_who_offers_works_and_who_comes_meanwhile_does_not_wait() -> None:
    line, first = busy_line()
    line.offer("b")  # returns, though the first is in work
    line.offer("c")
    counts = line.pipeline.ledger.snapshot()
    assert (counts.in_work, counts.waiting, counts.replaced) == (1, 1, 1)
    line.go_on.set()
    first.join(10)
    counts = line.pipeline.ledger.snapshot()
    assert (counts.processed, counts.waiting, counts.residual) == (2, 0, 0)  # "c" too, by the thread of "a"
    assert line.most_inside == 1
    assert not line.problems


def test_the_next_message_may_be_read_as_soon_as_only_the_engine_works_or_where_nothing_comes_to_it() -> None:
    steps: list[str] = []
    line = Line()

    def decode(arrival: Arrival, task: Any) -> Frame:
        steps.append("decode")
        if arrival.message == "broken":
            raise InputError("no image")
        return Frame(arrival.message, None)

    def infer(inputs: Arrays) -> Arrays:
        steps.append("infer")
        return inputs

    model = Model(FakeEngine(X_SPEC, X_SPEC, infer), FakeTask({"x": X}))
    pipeline = InlinePipeline("node", decode, model, line.publish, line.timing, line.problem)
    for message, expected in (("a", ["decode", "may read", "infer"]), ("broken", ["decode", "may read"])):
        pipeline.offer(Arrival(message, *CLOCKS.pair()))
        pipeline.work(lambda: steps.append("may read"))
        assert steps[: len(expected)] == expected
        steps.clear()


def test_none_is_left_however_threads_meet() -> None:
    line = Line()

    def offers() -> None:
        for number in range(2000):
            line.offer(str(number))

    threads = [threading.Thread(target=offers) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counts = line.pipeline.ledger.snapshot()
    assert (counts.received, counts.waiting, counts.in_work, counts.residual) == (6000, 0, 0, 0)
    assert counts.processed + counts.replaced == 6000
    assert line.most_inside == 1


def test_it_is_closed_when_what_is_in_work_is_done_and_takes_no_other() -> None:
    line, working = busy_line()
    line.offer("b")
    began_s = time.monotonic()
    assert not line.pipeline.close(0.05)
    assert time.monotonic() - began_s >= 0.05
    line.go_on.set()
    assert line.pipeline.close(10)
    working.join(10)
    line.offer("c")
    counts = line.pipeline.ledger.snapshot()
    assert (counts.processed, counts.waiting, counts.residual) == (1, 1, 0)  # "c" took the place of "b"
