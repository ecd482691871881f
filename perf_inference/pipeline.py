"""The journey of one message: decode -> preprocess -> infer -> postprocess -> publish -> timing.

Messages are offered on the ROS thread and wait in a mailbox in which the newest wins; one worker thread at a time takes
them and walks them through the stages. Nothing here knows ROS, a model's meaning or a runtime: those are handed in, and
no stage knows the next one. Every message offered ends in exactly one place of the ledger.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import EngineError, InputError
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.mailbox import Mailbox
from perf_inference.measure.stamps import Arrival, Scalar, Stamps, Timing, source_latency_ns
from perf_inference.measure.warmup import WarmUp

Arrays = Mapping[str, NDArray[Any]]
_NOTHING: Mapping[str, Scalar] = MappingProxyType({})


class Frame(NamedTuple):
    """A decoded message."""

    data: Any  # what the task's `preprocess` takes
    stamp_ns: int | None  # of what it shows, in the header's own clock


class Task(Protocol):
    """What a model means: pure functions on arrays."""

    def preprocess(self, frame: Any) -> tuple[Arrays, Any]:
        """Return the engine's inputs, and what `postprocess` needs to know of the frame."""

    def postprocess(self, outputs: Arrays, context: Any) -> Any:
        """Return the result in the frame's own terms (pixels, words, rad/s)."""

    def extra(self, result: Any, context: Any) -> Mapping[str, Scalar]:
        """Return what this task adds to the timings line."""


class Model(NamedTuple):
    """An engine, and what its arrays mean."""

    engine: Engine
    task: Task

    def close(self) -> None:
        """Free the device."""
        self.engine.close()


class Lane:
    """One source of messages: its mailbox and ledger, and the timings of what came from it."""

    def __init__(
        self,
        node: str,
        report: Callable[[Timing], None],
        problem: Callable[[str, Exception], None],
        queue_size: int,
        source_clock_ns: Callable[[], int],
        clocks: Clocks,
        number: Callable[[], int],
        extra: Mapping[str, Scalar] = _NOTHING,
    ) -> None:
        """Make an empty one; `number` counts the inferences of all lanes, and `extra` is in each timing of this one."""
        self.ledger = Ledger()
        self.mailbox: Mailbox[Arrival] = Mailbox(self.ledger, queue_size, self._age_ns)
        self._node, self._number, self._extra = node, number, extra
        self._report, self._problem = report, problem
        self._clocks, self._source_clock_ns = clocks, source_clock_ns
        self._dropped = 0
        self._dropped_age_ns: int | None = None

    def take(self, timeout_s: float | None = None) -> Arrival | None:
        """Return the message that is in work from now on; None when the mailbox was closed or stayed empty."""
        taken = self.mailbox.take(timeout_s)
        if taken is None:
            return None
        arrival, dropped, age_ns = taken
        self._dropped += dropped  # stays until a timing says it
        if age_ns is not None:
            self._dropped_age_ns = age_ns if self._dropped_age_ns is None else max(age_ns, self._dropped_age_ns)
        return arrival

    def skip(self, outcome: str, error: Exception) -> None:
        """Count the message in work as `rejected` or `failed`."""
        self.mailbox.done(outcome)
        self._problem(outcome, error)

    def finish(
        self, arrival: Arrival, stamp_ns: int | None, stamps: Stamps, engine: Engine, extra: Mapping[str, Scalar],
        is_warmup: Callable[[int], bool],
    ) -> None:  # fmt: skip
        """Report the timing of the message in work, and count it as processed.

        Args:
            is_warmup: says of the duration of `infer` [ns] whether it belongs to the engine's warm-up.
        """
        latency_ns = source_latency_ns(stamp_ns, self._source_clock_ns())
        if latency_ns is None and stamp_ns:
            self.ledger.count("implausible_stamps")
        info = engine.info
        durations = stamps.durations_ns()
        late_ns = None if arrival.due_ns is None else arrival.received_ns - arrival.due_ns
        dropped, self._dropped = self._dropped, 0
        dropped_age_ns, self._dropped_age_ns = self._dropped_age_ns, None
        timing = Timing(
            node=self._node,
            engine=info.name,
            precision=info.precision,
            device=info.device,
            seq=self._number(),
            stamp_ns=stamp_ns,
            due_ns=arrival.due_ns,
            received_ns=arrival.received_ns,
            arrived_ns=arrival.arrived_ns,
            stages_ns=durations,
            total_ns=stamps.total_ns,
            latency_ns=latency_ns,
            dropped_before=dropped,
            due_latency_ns=None if late_ns is None else late_ns + stamps.total_ns,
            dropped_age_ns=dropped_age_ns,
            warmup=is_warmup(durations["infer"]),
            extra={**self._extra, **extra, **{f"{part}_ms": ns / 1e6 for part, ns in engine.parts_ns.items()}},
        )
        self.ledger.count("published")
        try:
            self._report(timing)
        except Exception as error:  # the worker must not end in silence
            self.skip("failed", error)
        else:
            self.mailbox.done("processed")

    def _age_ns(self, arrival: Arrival) -> int:
        late_ns = 0 if arrival.due_ns is None else arrival.received_ns - arrival.due_ns
        return self._clocks.monotonic_ns() - arrival.arrived_ns + late_ns


class Pipeline:
    """One engine's worker, and the mailbox and ledger of what it works on."""

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
        sources: Mapping[str, Mapping[str, Scalar]] = MappingProxyType({"": _NOTHING}),
    ) -> None:
        """Wire the stages.

        Args:
            node: fully qualified node name, for the timings.
            decode: (arrival, the task that takes the frame) -> frame; raises InputError.
            publish: (result, frame, arrival) -> None; raises InputError for a result that must not leave.
            report: takes the timing of each inference.
            problem: told (`rejected` | `failed`, error) of each message that is skipped.
            source_clock_ns: the clock of the messages' header stamps; the system clock by default.
            sources: what `Arrival.source` may be, and what is in each timing of it (`BatchPipeline` has several).
        """
        number = itertools.count(1).__next__
        clock = source_clock_ns or clocks.system_ns
        self.lanes = {
            source: Lane(node, report, problem, queue_size, clock, clocks, number, extra)
            for source, extra in sources.items()
        }
        self._decode, self._model, self._publish, self._clocks = decode, model, publish, clocks
        self._turn = threading.Condition()
        self._in_use: Model | None = None  # by the messages in work
        self._last: Any = None  # the newest decoded frame
        self._warm_up = WarmUp()
        self._worker = threading.Thread(target=self._work, name=f"{node} worker", daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._worker.start()

    @property
    def ledger(self) -> Ledger:
        """The ledger of the only source."""
        return self.lanes[""].ledger

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """The ledger of each source."""
        return [lane.ledger for lane in self.lanes.values()]

    @property
    def model(self) -> Model:
        """The model of the message in work, or else that of the next one."""
        return self._in_use or self._model

    @property
    def last(self) -> Any:
        """The newest frame that was decoded, as `preprocess` takes it; None: none yet."""
        return self._last

    def swap(self, model: Model, timeout_s: float) -> bool:
        """Let another model take over between two messages (any thread but the worker).

        Returns:
            Whether the one before is out of use, hence may be closed; False: it is still busy after this time.
        """
        with self._turn:
            before, self._model = self._model, model
            self._warm_up = WarmUp()
            return self._turn.wait_for(lambda: self._in_use is not before, timeout_s)

    def offer(self, arrival: Arrival) -> None:
        """Put a message into its mailbox (ROS thread)."""
        self.lanes[arrival.source].mailbox.put(arrival)

    def step(self, timeout_s: float | None = None) -> bool:
        """Walk what is taken through all stages; False when the mailbox was closed or stayed empty."""
        taken = self._take(timeout_s)
        if not taken:
            return False
        with self._turn:
            self._in_use = self._model
            engine, task = self._model
        try:
            self._walk(taken, engine, task)
        finally:
            with self._turn:
                self._in_use = None
                self._turn.notify_all()
        return True

    def _take(self, timeout_s: float | None) -> Sequence[Arrival]:
        arrival = self.lanes[""].take(timeout_s)
        return () if arrival is None else (arrival,)

    def _walk(self, taken: Sequence[Arrival], engine: Engine, task: Any) -> None:
        (arrival,) = taken
        lane = self.lanes[arrival.source]
        stamps = Stamps(arrival.arrived_ns, self._clocks.monotonic_ns)
        stamps.mark("queue")
        try:
            frame = self._decode(arrival, task)
            stamps.mark("decode")
            inputs, context = task.preprocess(frame.data)
            self._prepared()
            stamps.mark("preprocess")
            outputs = engine.infer(inputs)  # returns after the device has finished
            stamps.mark("infer")
            result = task.postprocess(outputs, context)
            extra = task.extra(result, context)
            stamps.mark("postprocess")
            self._publish(result, frame, arrival)
            stamps.mark("publish")
        except InputError as error:
            lane.skip("rejected", error)
        except (EngineError, Exception) as error:
            lane.skip("failed", error)
        else:
            self._last = frame.data
            lane.finish(arrival, frame.stamp_ns, stamps, engine, extra, self._warm_up.mark)

    def _prepared(self) -> None:
        """Hook for a subclass: the inputs are ready, and only the engine works from here on."""

    def close(self, timeout_s: float = 1.0) -> bool:
        """Finish the messages in work and end the worker; False if it is still busy after the time."""
        for lane in self.lanes.values():
            lane.mailbox.close()
        if self._worker.is_alive():
            self._worker.join(timeout_s)
        return not self._worker.is_alive()

    def _work(self) -> None:
        while self.step():
            pass
