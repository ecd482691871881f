"""What the measurement of one frame costs: `python -m perf_inference.bench.overhead`.

A pipeline whose task and engine do nothing takes frame after frame, and each time the same calls are made bare; the
two are interleaved, so that whatever the machine does in between hits both. The difference is all that is added to a
frame's own work: arrival, due time, gaps, mailbox, stamps, ledger, warm-up, timing, hand-over to the live figures and
to the queue of `inference/timing`. Then each part alone, and what happens later and elsewhere.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from perf_inference.bench.results.printed import keep
from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.due import DueGrid
from perf_inference.measure.ledger import GapCounter, Ledger
from perf_inference.measure.mailbox import Mailbox
from perf_inference.measure.stamps import STAGES, Arrival, Scalar, Stamps, Timing
from perf_inference.measure.statistics import Distribution, TimingStatistics
from perf_inference.measure.warmup import AT_MOST, WarmUp
from perf_inference.pipeline import Frame, Model, Pipeline
from perf_inference.quantities import positive
from perf_inference.recording.recorder.line_file import LineFile

LIMIT_US = 20.0
_GID, _RATE_HZ, _RECENT = b"publisher", 1000.0, 2000
_X = np.zeros(1, np.float32)


class Nothing:
    """A task and an engine that do nothing."""

    inputs: tuple[ArraySpec, ...] = (ArraySpec("x", (1,), np.dtype(np.float32)),)
    outputs = inputs
    info = EngineInfo("nothing", "bench", "fp32", "cpu", {})
    parts_ns = NO_PARTS

    def decode(self, arrival: Arrival, task: Any) -> Frame:
        return Frame(arrival.message, arrival.stamp_ns)

    def preprocess(self, frame: Any) -> tuple[Mapping[str, NDArray[Any]], Any]:
        return {"x": _X}, frame

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return inputs

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Any) -> Any:
        return context

    def extra(self, result: Any, context: Any) -> Mapping[str, Scalar]:
        return {}

    def publish(self, result: Any, frame: Frame, arrival: Arrival) -> None: ...

    def close(self) -> None: ...


class Measured:
    """The pipeline with all that a node's input and report add to it."""

    def __init__(self, nothing: Nothing) -> None:
        self.pending: deque[Timing] = deque()  # as `Reporter` has it
        self._recent: deque[Timing] = deque(maxlen=_RECENT)  # as `Inference` has it
        self._gaps, self._grid, self._sequence = GapCounter(), DueGrid(_RATE_HZ), 0
        self._pipeline = Pipeline(
            "node", nothing.decode, Model(nothing, nothing), nothing.publish, self._report, self._problem
        )  # fmt: skip

    def frame(self) -> None:
        """Let one message come and walk it through."""
        monotonic_ns, received_ns = CLOCKS.pair()
        self._sequence += 1
        lost = self._gaps.lost(_GID, self._sequence) or 0
        self._pipeline.ledger.lost(lost)
        due_ns = self._grid.due(received_ns, lost)
        self._pipeline.offer(Arrival("message", monotonic_ns, received_ns, received_ns, due_ns))
        self._pipeline.step(0)

    def _report(self, timing: Timing) -> None:
        self._recent.append(timing)
        self.pending.append(timing)

    def _problem(self, outcome: str, error: Exception) -> None:
        raise AssertionError(outcome) from error


def bare(nothing: Nothing) -> None:
    """Make the calls that a frame costs without any measurement."""
    arrival = Arrival("message", 0, 0)
    frame = nothing.decode(arrival, nothing)
    inputs, context = nothing.preprocess(frame.data)
    result = nothing.postprocess(nothing.infer(inputs), context)
    nothing.publish(result, frame, arrival)
    nothing.extra(result, context)


def durations(call: Callable[[], object], frames: int) -> list[int]:
    """Return what each call took [ns], the two readings of the clock taken off."""
    clock = time.perf_counter_ns
    empty = sorted(-(clock() - clock()) for _ in range(1000))[500]
    taken = []
    for _ in range(frames):
        start = clock()
        call()
        taken.append(max(0, clock() - start - empty))
    return taken


def added(frames: int) -> tuple[list[int], list[int], list[int]]:
    """Return (measured, bare, their difference) of each frame [ns]."""
    nothing = Nothing()
    measured = Measured(nothing)
    clock = time.perf_counter_ns
    with_all, without = [], []
    for _ in range(frames):
        start = clock()
        measured.frame()
        between = clock()
        bare(nothing)
        without.append(clock() - between)
        with_all.append(between - start)
        if len(measured.pending) >= 100:  # what a flush takes away is not the frame's
            measured.pending.clear()
    return with_all, without, [a - b for a, b in zip(with_all, without, strict=True)]


def a_timing() -> Timing:
    """Return the timing of one frame after the warm-up, as the pipeline makes it."""
    measured = Measured(Nothing())
    for _ in range(AT_MOST + 1):
        measured.frame()
    return measured.pending[-1]


def parts() -> dict[str, Callable[[], object]]:
    """Return each part of the measurement as a call."""
    ledger = Ledger()
    mailbox: Mailbox[Arrival] = Mailbox(ledger)
    gaps, grid, warm_up = GapCounter(), DueGrid(_RATE_HZ), WarmUp()
    timing = a_timing()
    pending: deque[Timing] = deque(maxlen=_RECENT)
    arrival = Arrival("message", 0, 0)
    sequence = 0

    def arrive() -> None:
        nonlocal sequence
        monotonic_ns, received_ns = CLOCKS.pair()
        sequence += 1
        lost = gaps.lost(_GID, sequence) or 0
        ledger.lost(lost)
        Arrival("message", monotonic_ns, received_ns, received_ns, grid.due(received_ns, lost))

    def through_the_mailbox() -> None:
        mailbox.put(arrival)
        mailbox.take(0)
        mailbox.done("processed")

    def stamp() -> None:
        stamps = Stamps(0, CLOCKS.monotonic_ns)
        for stage in STAGES:
            stamps.mark(stage)
        stamps.durations_ns()

    fields = timing._asdict()
    return {
        "arrival: clocks, gaps, due time": arrive,
        "mailbox and ledger: put, take, done": through_the_mailbox,
        f"stamps: {len(STAGES)} marks and their durations": stamp,
        "timing: creation": lambda: Timing(**fields),
        "warm-up rule": lambda: warm_up.mark(1_000_000),
        "hand-over to the queue of the timing topic": lambda: pending.append(timing),
    }


def elsewhere(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what a frame costs later, on the ROS thread, and in the recorder's process."""
    timing = a_timing()
    record = timing.as_dict()
    statistics = TimingStatistics()
    line_file = LineFile(folder / "timings.jsonl")

    def write() -> None:
        line_file.add(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        line_file.save()

    recent = [1_000_000 + 977 * (i * 7919 % 1000) for i in range(1000)]
    calls: dict[str, Callable[[], object]] = {
        "record of the timing": timing.as_dict,
        "JSON line: formatting": lambda: orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE),
        "JSON line: formatting and writing": write,
        "recorder: statistics of the run": lambda: statistics.add(record),
        "heartbeat: summary of 1000 latencies": lambda: Distribution.of(recent).summary_ms(),
    }
    try:
        from perf_inference.nodes.reports.messages import timing_status
    except ImportError:
        return calls  # no ROS 2 here
    return {"ROS message: its status in the batch": lambda: timing_status(timing.as_dict(), "host"), **calls}


def row(name: str, taken_ns: Sequence[int]) -> str:
    """Return one line of the table [us]."""
    keep(name.strip(), (ns / 1e3 for ns in taken_ns), "us")
    p50, p90, p99 = (float(np.percentile(taken_ns, percent)) / 1e3 for percent in (50, 90, 99))
    return f"{name:<52}{p50:>9.2f}{p90:>9.2f}{p99:>9.2f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--frames", type=positive, default=20_000, help="frames to measure (20000)")


def run(options: argparse.Namespace) -> int:
    """Print the table; 1 where the measurement costs more than it may."""
    return int(added_at_p50(options.frames) >= LIMIT_US)


def added_at_p50(frames: int) -> float:
    """Print the table; return what the measurement adds to a frame at p50 [us]."""
    added(min(frames, 500))  # warm up
    with_all, without, difference = added(frames)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {frames} frames each")
    print(f"{'[us]':<52}{'p50':>9}{'p90':>9}{'p99':>9}")
    print(row("a frame, measured", with_all))
    print(row("a frame, bare", without))
    print(row("ADDED by the measurement", difference))
    print("of that")
    for name, call in parts().items():
        print(row("  " + name, durations(call, frames)))
    print("later, or elsewhere")
    with TemporaryDirectory() as folder:
        for name, call in elsewhere(Path(folder)).items():
            print(row("  " + name, durations(call, max(20, frames // 10))))
    p50 = float(np.percentile(difference, 50)) / 1e3
    print(f"added at p50: {p50:.1f} us ({'under' if p50 < LIMIT_US else 'OVER'} the limit of {LIMIT_US:g} us)")
    return p50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m perf_inference.bench.overhead", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
