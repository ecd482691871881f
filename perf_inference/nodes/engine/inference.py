"""What every node with an engine has: the engine, its pipeline, its inputs, and the report on all three."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from perf_inference.devices.process_memory import give_back
from perf_inference.engines import Engine
from perf_inference.errors import BrokenDeviceError, InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.heartbeat import TICK, Heartbeat, InputState
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival, Scalar, Timing, rate_hz
from perf_inference.measure.statistics import Distribution
from perf_inference.nodes.engine.hot_swap import HotSwap
from perf_inference.nodes.engine.loader import Loader
from perf_inference.nodes.engine.long_load import told_where_long
from perf_inference.nodes.engine.model_sizes import ModelSizes
from perf_inference.nodes.engine.problems import Problems
from perf_inference.nodes.engine.waiting import WaitingInputs
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros.parameters import EngineParameters, is_given
from perf_inference.nodes.ros.subscription import Input
from perf_inference.pipeline import Frame, Pipeline, Task
from perf_inference.printable import LINE, shown

_RECENT, _RECENT_NS = 2000, 10_000_000_000  # inferences, and their age, that the live percentiles rest on
_RATE_NS, _RATE_PERIODS = 5_000_000_000, 5  # what the live rate rests on, whichever is longer
_SLOW_NS = 2_000_000_000  # for so long a slow inference is told: whoever looks once a second misses none
_LAST_INFERENCE_S, _LAST_SWAP_S = 0.3, 0.1
_IDLE_S = 2.0  # until what has come before a node is inactive is worked off
_TYPE_CHECK_EVERY = 4  # heartbeats


class Inference:
    """Runs one engine for a node."""

    def __init__(
        self,
        node: ManagedNode,
        parameters: EngineParameters,
        task_of: Callable[[Engine], Task],
        decode: Callable[[Arrival, Any], Frame],
        publish: Callable[[Any, Frame, Arrival], None],
        blank: Callable[[Any], Any],
        queue_size: int = 1,
        state: Callable[[], tuple[bytes, str]] = lambda: (OK, "running"),
        rate_hz: float | None = None,
        skipped: Callable[[Exception], None] = lambda error: None,
        wrap: Callable[[Engine], Engine] = lambda engine: engine,
        pipeline: Callable[..., Pipeline] = Pipeline,
        sources: int = 1,
        more: Callable[[], Mapping[str, Scalar]] = dict,
    ) -> None:
        """Make what `loading` loads, and what is ended with the node's cleanup.

        Args:
            parameters: the node's own, as they are now.
            task_of: what an engine's arrays mean; raises ConfigError for an engine of another kind.
            blank: a frame of nothing for this task, to warm its engine up with.
            state: level and message of the node itself, for the heartbeat.
            skipped: told of each message that ended in an error, after it was counted (worker thread).
            wrap: what an engine is run as, from its warm-up on.
            more: what the node adds to the heartbeat (ROS thread).
            rate_hz: the node's own rate or its input's; an inference that takes longer than its period is a warning.
            pipeline: makes the pipeline, with the arguments of `Pipeline`.
            sources: of messages at that rate, that it has.
        """
        self.inputs: dict[str, Input] = {}
        self._waiting = WaitingInputs(node)
        self._node, self._state, self._skipped, self._more = node, state, skipped, more
        self._parameters, self._sizes = parameters, ModelSizes()
        self._loader = Loader(node.started_as, parameters, task_of, blank, wrap, self._sizes.add)
        self._decode, self._publish, self._queue_size = decode, publish, queue_size
        self._make_pipeline = pipeline
        self._sources = sources
        self.expect(rate_hz)
        self._drivers: list[str] = []
        self._deadlines = self._misses = 0  # inferences that had one, and those of them that came after it
        self._recent: deque[Timing] = deque(maxlen=_RECENT)
        self._problems = Problems()
        self._beats = 0
        self._wrong_types = ""

    def loading(self) -> Work:
        """Load the engine, warm it up and start the worker; inputs are to be made afterwards.

        Raises:
            ConfigError: the model does not run.
        """
        node, p, loader = self._node, self._parameters, self._loader
        node.busy_with = f"loading {shown(p.model)}"
        with told_where_long(node, f"runtime {p.runtime}, precision {p.precision}, device {p.device}"):
            model = yield loader.first
        self.pipeline = self._make_pipeline(
            node=node.get_fully_qualified_name().lstrip("/"),
            decode=self._decode,
            model=model,
            publish=self._publish,
            report=self._measured,
            problem=self._problem,
            queue_size=self._queue_size,
            source_clock_ns=lambda: node.get_clock().now().nanoseconds,
        )
        del model  # a swap may close it
        if not is_given(node, "model"):
            node.get_logger().warning(
                f"no model is named: the embedded '{p.model}' runs, which knows the demo's scenes; set model"
            )
        self._swap = HotSwap(node, p, loader.allowed, loader.load, self.pipeline, self._sizes.as_json)
        node.at_clean_up(self._free)
        node.at_clean_up(self._finish)
        self.pipeline.start()

    def listen(self, on: bool) -> Work:
        """Listen to the inputs, or no longer: then what came before is worked off first, for a moment at most."""
        for source in self.inputs.values():
            source.open() if on else source.close()
        if not on:
            yield self._wait_until_idle

    def _wait_until_idle(self) -> None:
        until_s = time.monotonic() + _IDLE_S
        while (counts := self.ledger.snapshot()).waiting + counts.in_work and time.monotonic() < until_s:
            time.sleep(0.005)

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self.pipeline.model.engine

    @property
    def task(self) -> Any:
        """The task in use."""
        return self.pipeline.model.task

    @property
    def ledger(self) -> Ledger:
        return self.pipeline.ledger

    def watch(self, name: str, source: Input) -> None:
        """Report this input, its ledger and its type; the one that the pipeline is offered drives the engine."""
        self.inputs[name] = source
        if source.ledger in self.pipeline.ledgers:
            self._drivers.append(name)

    def expect(self, rate_hz: float | None) -> None:
        """Hold inferences to another rate from now on; none: to no deadline."""
        self._rate_hz = rate_hz * self._sources if rate_hz else None
        self._period_ns = round(1e9 / rate_hz) if rate_hz else None

    def unreadable(self, error: InputError) -> None:
        """Report a message of an input that could not be read (ROS thread); its own ledger has it."""
        self._note("rejected", error)

    def _finish(self) -> None:
        """Finish the message in work, and publish the last timings and counts."""
        self._loader.cancel()
        self._swap.stop()
        if not self.pipeline.close(_LAST_INFERENCE_S):
            self._node.get_logger().error(f"the engine is still busy after {_LAST_INFERENCE_S:g} s; it is left behind")
        if self._node.ending:
            self._node.reporter.finish()
        else:
            self._node.reporter.flush()

    def _free(self) -> None:
        """Free the engine and its memory."""
        self._swap.join(_LAST_SWAP_S if self._node.ending else _LAST_INFERENCE_S)
        self.engine.close()
        if not self._node.ending:
            give_back()

    def report(self) -> Report:
        """Return level, message and figures of now."""
        self._beats += 1
        if self._beats % _TYPE_CHECK_EVERY == 1:
            self._check_types()
        self._waiting.look(self.inputs)
        level, message = self._state()
        return Report(level, message, self._heartbeat().as_values()).with_trouble(self._trouble())

    def _heartbeat(self) -> Heartbeat:
        info = self.engine.info
        now_ns = CLOCKS.monotonic_ns()
        newest = list(self._recent)
        recent = [t for t in newest if now_ns - t.arrived_ns < _RECENT_NS]
        rate_from_ns = now_ns - max(_RATE_NS, _RATE_PERIODS * (self._period_ns or 0))
        latency = Distribution.of(t.latency_ns for t in recent if t.latency_ns is not None).summary_ms()
        total = Distribution.of(t.total_ns for t in recent).summary_ms()
        ticks = {} if self._drivers else {TICK: InputState(self.ledger.snapshot().as_dict())}
        return Heartbeat(
            engine=info.name,
            runtime=info.runtime,
            precision=info.precision,
            device=info.device,
            driven_by=",".join(self._drivers) or TICK,
            inferences=sum(ledger.snapshot().processed for ledger in self.pipeline.ledgers),
            rate_hz=rate_hz([t.arrived_ns for t in newest if t.arrived_ns > rate_from_ns]),
            expected_hz=self._rate_hz,
            deadline_ms=None if self._period_ns is None else self._period_ns / 1e6,
            deadlines=self._deadlines,
            deadline_misses=self._misses,
            latency_p50_ms=latency["p50"],
            latency_p90_ms=latency["p90"],
            latency_max_ms=latency["max"],
            total_p50_ms=total["p50"],
            total_p90_ms=total["p90"],
            total_max_ms=total["max"],
            samples=len(recent),
            inputs={**ticks, **{name: source.state() for name, source in self.inputs.items()}},
            others={
                "state": self._state()[1],
                **self._swap.figures(),
                **self._sizes.figures(self.engine),
                **self._more(),
            },
        )

    def _trouble(self) -> str:
        if trouble := self._wrong_types or self._swap.trouble():
            return trouble
        now = time.monotonic_ns()
        if problem := self._problems.worst(now):
            return problem
        if silence := "; ".join(filter(None, (source.silence() for source in self.inputs.values()))):
            return silence
        for source in self.inputs.values():
            if trouble := source.trouble():
                return trouble
        since_ns = now - _SLOW_NS
        slow = max((t.total_ns for t in self._judged() if t.arrived_ns + t.total_ns > since_ns), default=0)
        if self._period_ns is not None and slow > self._period_ns:
            return f"an inference took {slow / 1e6:.1f} ms, longer than the period of {self._period_ns / 1e6:.1f} ms"
        return ""

    def _took_ns(self, timing: Timing) -> int:
        """Return what is held against the deadline: from the tick's due time, or from when the reader had the message.

        A source that is slower than it promised makes every due time of its grid early; that is the input's to tell.
        """
        late = None if self._drivers else timing.due_latency_ns
        return timing.total_ns if late is None else late

    def _judged(self) -> list[Timing]:
        """Return the recent inferences that count: the first few of an engine, which warm it up, do not."""
        return [t for t in list(self._recent) if not t.warmup]

    def _check_types(self) -> None:
        wrong = "; ".join(filter(None, (source.wrong_types() for source in self.inputs.values())))
        if wrong and wrong != self._wrong_types:
            self._node.get_logger().error(wrong)
        self._wrong_types = wrong

    def _measured(self, timing: Timing) -> None:
        if timing.latency_ns is None and timing.stamp_ns:
            self._node.get_logger().warning(
                "a header stamp lies in the future or over an hour back: no latency is given; is it replayed, or are "
                "the clocks of both hosts not synchronised?",
                throttle_duration_sec=10.0,
            )
        self._recent.append(timing)
        # What nobody looks at any more goes: at 2 Hz it would be a quarter of an hour until the queue were full.
        kept_ns = max(_RECENT_NS, _RATE_NS, _RATE_PERIODS * (self._period_ns or 0))
        while self._recent[0].arrived_ns < timing.arrived_ns - kept_ns:
            self._recent.popleft()
        if self._period_ns is not None and not timing.warmup:
            self._deadlines += 1
            self._misses += self._took_ns(timing) > self._period_ns
        self._node.reporter.add(timing)

    def _problem(self, outcome: str, error: Exception) -> None:
        self._note(outcome, error)
        self._skipped(error)

    def _note(self, outcome: str, error: Exception) -> None:
        self._problems.note(outcome, str(error)[:LINE], CLOCKS.monotonic_ns())
        log = self._node.get_logger()
        if isinstance(error, InputError):
            log.warning(f"skipped: {error}", throttle_duration_sec=2.0)
        elif isinstance(error, BrokenDeviceError):
            self._end(error)
        else:
            log.error(f"inference failed: {type(error).__name__}: {error}", throttle_duration_sec=2.0)

    def _end(self, error: BrokenDeviceError) -> None:
        """End the process, with a status after which it is started again: nothing in it can use the GPU any more."""
        if not self._node.exit_status:
            self._node.exit_status = 1
            self._node.get_logger().fatal(f"this process ends, to be started again: {error}")
            os.kill(os.getpid(), signal.SIGINT)
