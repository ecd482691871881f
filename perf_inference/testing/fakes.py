"""A clock that moves when it is told to, an engine that answers as it is told, and lists of what a pipeline said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, check_inputs
from perf_inference.errors import EngineError
from perf_inference.measure.clocks import Clocks
from perf_inference.measure.stamps import Arrival, Scalar, Timing

Arrays = Mapping[str, NDArray[Any]]

_NS_PER_MS = 1_000_000


class FakeClock:
    """Time that moves when it is told to; system time is `system_offset_ns` ahead of the monotonic clock."""

    def __init__(self, now_ns: int = 0, system_offset_ns: int = 1_700_000_000_000_000_000) -> None:
        self.now_ns = now_ns
        self.system_offset_ns = system_offset_ns

    @property
    def system_ns(self) -> int:
        """System time now [ns]."""
        return self.now_ns + self.system_offset_ns

    def clocks(self) -> Clocks:
        """Return both clocks, as all that measures here takes them."""
        return Clocks(lambda: self.now_ns, lambda: self.system_ns)

    def advance(self, ms: float) -> None:
        """Move on by so many milliseconds; also what work of that length does."""
        self.now_ns += round(ms * _NS_PER_MS)


class FakeEngine:
    """An engine of any specs: `infer` checks its inputs and returns what `answer` makes of them.

    Without `answer` each output is zeros in the shape of its spec (free axes have length 1). `calls` counts.
    """

    parts_ns: Mapping[str, int] = NO_PARTS

    def __init__(
        self,
        inputs: Sequence[ArraySpec],
        outputs: Sequence[ArraySpec],
        answer: Callable[[Arrays], Arrays] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.info = EngineInfo("fake", "fake", "fp32", "cpu", metadata or {})
        self.calls, self.closed = 0, False
        self._answer = answer or self._zeros

    def infer(self, inputs: Arrays) -> Arrays:
        """Return the answer; raise InputError for inputs that do not fit, EngineError after `close`."""
        if self.closed:
            raise EngineError("this engine is closed")
        check_inputs(self.inputs, inputs)
        self.calls += 1
        return self._answer(inputs)

    def close(self) -> None:
        """Refuse from now on."""
        self.closed = True

    def _zeros(self, inputs: Arrays) -> Arrays:
        return {
            spec.name: np.zeros([1 if length is None else length for length in spec.shape], spec.dtype)
            for spec in self.outputs
        }


class FakeTask:
    """A task for which every message is the same input; its result is the message itself."""

    def __init__(self, inputs: Arrays) -> None:
        self._inputs = inputs

    def preprocess(self, frame: Any) -> tuple[Arrays, Any]:
        """Return the inputs, and the frame as what goes with them."""
        return self._inputs, frame

    def postprocess(self, outputs: Arrays, context: Any) -> Any:
        """Return the frame."""
        return context

    def extra(self, result: Any, context: Any) -> Mapping[str, Scalar]:
        """Return nothing: no fields beyond those that every timing has."""
        return {}


@dataclass
class ListRecorder:
    """Stands where a node's publishers do: keeps what a pipeline publishes, measures and reports, in lists."""

    results: list[Any] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)  # (outcome, sentence)

    def publish(self, result: Any, frame: Any, arrival: Arrival) -> None:
        """Keep a result."""
        self.results.append(result)

    def timing(self, timing: Timing) -> None:
        """Keep the timing of an inference."""
        self.timings.append(timing)

    def problem(self, outcome: str, error: Exception) -> None:
        """Keep what went wrong with a message: `rejected` or `failed`, and the error's text."""
        self.problems.append((outcome, str(error)))
