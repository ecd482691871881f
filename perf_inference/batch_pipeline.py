"""Several sources, one engine: what waits when the engine is free goes through it as one batch.

    mailbox of each source ─┬─ decode ─ preprocess ─┬─ infer ─┬─ postprocess ─ publish ─ timing     each by itself
                            ┴─ ...                 ─┴         ┴─ ...

Each message keeps its own stamp, stages and ledger. What it waits for the others of its batch counts as `queue`;
`infer` is the whole run's, so what a fixed batch is padded with costs every message of it. A model that takes one image
at a time is given the sources in turn. Those that were served last come last: none starves, however fast another is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from perf_inference.engines.engine import Engine
from perf_inference.errors import BrokenDeviceError, EngineError, InputError
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.measure.stamps import Arrival, Scalar, Stamps, Timing
from perf_inference.pipeline import Arrays, Frame, Lane, Model, Pipeline, Task

_LIVE_NS = 1_000_000_000  # a source that was silent for longer is not waited for


class Batch(Protocol):
    """The inputs of one run of an engine, an image after the other."""

    def add(self, frame: Any) -> Any | None:
        """Take a frame; return what `postprocess_one` needs to know of it, or None: it goes with another run.

        The first one is taken always.

        Raises:
            InputError: a frame that the model cannot take.
        """

    def inputs(self) -> Arrays:
        """Return the engine's inputs, valid until the next batch of the task."""

    @property
    def padding(self) -> int:
        """The places of the run that no image is in."""


class BatchTask(Task, Protocol):
    """A task whose model may take several images at once."""

    @property
    def most(self) -> int | None:
        """Images of one run at most; None: any number."""

    def new_batch(self) -> Batch:
        """Return an empty batch, in the place of the one before."""

    def postprocess_one(self, outputs: Arrays, context: Any, index: int) -> Any:
        """Return the result of the frame that was added as the one of this index."""


_NO_FRAME = Frame(None, None)


@dataclass
class _Work:
    """A message that was taken."""

    lane: Lane
    arrival: Arrival
    stamps: Stamps
    frame: Frame = _NO_FRAME
    context: Any = None
    extra: dict[str, Scalar] = field(default_factory=dict)


class BatchPipeline(Pipeline):
    """One engine's worker, and a mailbox and a ledger for each source."""

    def __init__(
        self,
        node: str,
        decode: Callable[[Arrival, Any], Frame],
        model: Model,
        publish: Callable[[Any, Frame, Arrival], None],
        report: Callable[[Timing], None],
        problem: Callable[[str, Exception], None],
        queue_size: int = 1,
        source_clock_ns: Callable[[], int] | None = None,
        clocks: Clocks = CLOCKS,
        *,
        sources: Mapping[str, Mapping[str, Scalar]],
        wait_ms: float = 0.0,
    ) -> None:
        """Wire the stages, as in `Pipeline`; the model's task is a `BatchTask`.

        Args:
            wait_ms: so long the first message waits for those of other sources that have sent within the last second.
        """
        super().__init__(node, decode, model, publish, report, problem, queue_size, source_clock_ns, clocks, sources)
        self._wait_s = wait_ms / 1e3
        self._fresh = threading.Condition()
        self._order = list(sources)  # who was served last comes last
        self._came_ns = dict.fromkeys(sources, -2 * _LIVE_NS)  # monotonic, of the newest message
        self._closing = False

    def offer(self, arrival: Arrival) -> None:
        """Put a message into the mailbox of its source (ROS thread)."""
        super().offer(arrival)
        with self._fresh:
            self._came_ns[arrival.source] = arrival.arrived_ns
            self._fresh.notify_all()

    def close(self, timeout_s: float = 1.0) -> bool:
        """Finish the messages in work and end the worker; False if it is still busy after the time."""
        with self._fresh:
            self._closing = True
            self._fresh.notify_all()
        return super().close(timeout_s)

    def _take(self, timeout_s: float | None) -> Sequence[Arrival]:
        boxes = [lane.mailbox for lane in self.lanes.values()]
        with self._fresh:
            self._fresh.wait_for(lambda: self._closing or any(map(len, boxes)), timeout_s)
            if self._wait_s > 0 and any(map(len, boxes)):
                self._fresh.wait_for(lambda: self._closing or self._all_are_here(), self._wait_s)
            if self._closing:
                return ()
        task: Any = self._model.task
        most = task.most or len(self.lanes)
        taken: list[Arrival] = []
        for source in list(self._order):
            if len(taken) < most and (arrival := self.lanes[source].take(0)) is not None:
                taken.append(arrival)
                self._order.remove(source)
                self._order.append(source)
        return taken

    def _all_are_here(self) -> bool:
        since_ns = self._clocks.monotonic_ns() - _LIVE_NS
        return all(len(lane.mailbox) or self._came_ns[source] < since_ns for source, lane in self.lanes.items())

    def _walk(self, taken: Sequence[Arrival], engine: Engine, task: BatchTask) -> None:
        works = [
            _Work(self.lanes[arrival.source], arrival, Stamps(arrival.arrived_ns, self._clocks.monotonic_ns))
            for arrival in taken
        ]
        left = [work for work in works if self._is_done(work, "decode", lambda work: self._decoded(work, task))]
        while left:
            left = self._run(left, engine, task)

    def _run(self, works: Sequence[_Work], engine: Engine, task: BatchTask) -> list[_Work]:
        """Walk those that go together through the engine; return the others."""
        batch = task.new_batch()
        together: list[_Work] = []
        others: list[_Work] = []
        for work in works:
            if self._is_done(work, "preprocess", lambda work: setattr(work, "context", batch.add(work.frame.data))):
                (others if work.context is None else together).append(work)
        if not together:
            return others
        for work in together:
            work.stamps.mark("queue")
            work.extra = {"batch": len(together), "batch_padding": batch.padding}
        try:
            outputs = engine.infer(batch.inputs())  # returns after the device has finished
        except Exception as error:
            if len(together) > 1 and isinstance(error, EngineError) and not isinstance(error, BrokenDeviceError):
                for work in together:  # one image may be what it fails at: the others go on
                    self._run([work], engine, task)
                return others
            for work in together:
                work.lane.skip("rejected" if isinstance(error, InputError) else "failed", error)
            return others
        for work in together:
            work.stamps.mark("infer")
        warmup = self._warm_up.mark(together[0].stamps.durations_ns()["infer"])
        for index, work in enumerate(together):
            self._end(work, index, outputs, engine, task, warmup)
        return others

    def _end(self, work: _Work, index: int, outputs: Arrays, engine: Engine, task: BatchTask, warmup: bool) -> None:
        result: list[Any] = []

        def postprocess(work: _Work) -> None:
            result.append(task.postprocess_one(outputs, work.context, index))
            work.extra.update(task.extra(result[0], work.context))

        if not self._is_done(work, "postprocess", postprocess):
            return
        if self._is_done(work, "publish", lambda work: self._publish(result[0], work.frame, work.arrival)):
            self._last = work.frame.data
            work.lane.finish(
                work.arrival, work.frame.stamp_ns, work.stamps, engine, work.extra, lambda infer_ns: warmup
            )

    def _decoded(self, work: _Work, task: BatchTask) -> None:
        work.frame = self._decode(work.arrival, task)

    def _is_done(self, work: _Work, stage: str, do: Callable[[_Work], None]) -> bool:
        """Do a stage of one message, before which it has waited for others; False: the message is skipped."""
        work.stamps.mark("queue")
        try:
            do(work)
        except InputError as error:
            work.lane.skip("rejected", error)
        except (EngineError, Exception) as error:
            work.lane.skip("failed", error)
        else:
            work.stamps.mark(stage)
            return True
        return False
