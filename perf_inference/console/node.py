"""One node as it was heard: its newest heartbeats and timings, and what they come to."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from perf_inference.measure.heartbeat import TICK, Beat, Heartbeat
from perf_inference.measure.stamps import STAGES
from perf_inference.measure.statistics import Distribution

TRANSPORT = "transport"
SHOWN = (TRANSPORT, *STAGES)
LAST = 30  # timings of the second column of statistics
_BEATS, _TIMINGS, _RECENT_NS, _MEANS = 60, 300, 10_000_000_000, 100
_BLOCK, _SPARKS = 20, 24  # timings of which a mean is a baseline; seconds of the latency's line
_STARTS = 8  # processes of a node that are told apart


class Sample(NamedTuple):
    """What is kept of a timing."""

    arrived_ns: int
    stages_ms: tuple[float | None, ...]  # of SHOWN
    total_ms: float
    latency_ms: float | None
    late_ms: float | None  # of a tick: from when it was due until it came


@dataclass(frozen=True)
class Times:
    """Means of the newest timings."""

    stages_ms: Mapping[str, float]  # of SHOWN, those that are known
    total_ms: float
    latency_ms: float | None
    late_ms: float | None
    n: int

    @property
    def busy_ms(self) -> float:
        """Of the whole, what the worker has to do."""
        return self.total_ms - self.stages_ms.get("queue", 0.0)

    def largest(self, but: Sequence[str] = ()) -> tuple[str, float]:
        """Return the longest stage of the node itself, and its mean [ms]."""
        own = {name: ms for name, ms in self.stages_ms.items() if name != TRANSPORT and name not in but}
        return max(own.items(), key=lambda item: item[1], default=("infer", 0.0))


class Run:
    """Statistics of all that was heard, and of the last few."""

    def __init__(self) -> None:
        self.whole = Distribution(exact_limit=1000)  # it is read twice a second
        self.last: deque[float] = deque(maxlen=LAST)
        self._mean = self._squares = 0.0
        self.least_ms: float | None = None

    def add(self, value_ms: float) -> None:
        """Add one [ms]."""
        self.whole.add(round(value_ms * 1e6))
        self.last.append(value_ms)
        self.least_ms = value_ms if self.least_ms is None else min(self.least_ms, value_ms)
        off = value_ms - self._mean  # Welford (1962)
        self._mean += off / self.whole.n
        self._squares += off * (value_ms - self._mean)

    def as_dict(self) -> dict[str, Any]:
        """Return mean, median, percentiles, min, max, deviation [ms] and n; null where there are too few."""
        summary = self.whole.summary_ms()
        deviation = (self._squares / (self.whole.n - 1)) ** 0.5 if self.whole.n > 1 else None
        return {**summary, "min": self.least_ms, "deviation": deviation}

    def last_as_dict(self) -> dict[str, Any]:
        """Return the same of the last ones."""
        last = list(self.last)
        summary = Distribution.of(round(value * 1e6) for value in last).summary_ms()
        deviation = statistics.stdev(last) if len(last) > 1 else None
        return {**summary, "min": min(last, default=None), "deviation": deviation}


class NodeSeen:
    """What is known of a node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.beats: deque[Beat] = deque(maxlen=_BEATS)  # of the process that is there now
        self.samples: deque[Sample] = deque(maxlen=_TIMINGS)
        self.total, self.latency = Run(), Run()
        self.current = Run()  # latencies (or times from the reader on) with the engine that runs now
        self.counted = 0  # timings
        self.heard_timing_s: float | None = None
        self.restarts: deque[float] = deque(maxlen=20)  # when another process took the name
        self.double_s: float | None = None  # when one that was replaced was heard again
        self.twins = (1, 0.0)  # nodes of this name in the graph, and since when it is more than one
        self.loaded: dict[tuple[str, str], dict[str, Any]] = {}  # (engine, precision): figures while it ran
        self.span_ns: tuple[int, int] | None = None  # arrivals of the first and the last timing
        self._starts: deque[str] = deque(maxlen=_STARTS)
        self._best_ms: dict[tuple[str, str, str], float] = {}  # lowest mean of a block, by engine
        self._block: list[float] = []
        self._engine = ("", "", "")
        self._times: tuple[int, Times | None] = (0, None)  # and at how many timings they were made
        self._sparks: deque[tuple[int, float, int]] = deque(maxlen=_SPARKS)

    # hearing ---------------------------------------------------------------------------------------------------------

    def hear(self, beat: Beat) -> None:
        """Take a heartbeat; one of another process begins anew."""
        if self.beats and self.beats[-1].start != beat.start:
            if beat.start in self._starts:
                self.double_s = beat.heard_s
            else:
                self.restarts.append(beat.heard_s)
            self._starts.append(self.beats[-1].start)
            self.beats.clear()
        self.beats.append(beat)

    def time(self, record: Mapping[str, Any], heard_s: float) -> None:
        """Take the flat record of an inference."""
        self.counted += 1
        self.heard_timing_s = heard_s
        arrived = record.get("arrived_ns")
        arrived_ns = arrived if isinstance(arrived, int) else record["received_ns"]
        first, _ = self.span_ns or (arrived_ns, arrived_ns)
        self.span_ns = first, arrived_ns
        total = record.get("total_ms")
        if record.get("warmup") in (True, "true") or not isinstance(total, int | float):
            return
        latency, due = _number(record.get("latency_ms")), _number(record.get("due_latency_ms"))
        stages = tuple(_number(record.get(f"{stage}_ms")) for stage in STAGES)
        transport = None if latency is None else max(0.0, latency - total)
        late = None if due is None else max(0.0, due - total)
        self.samples.append(Sample(arrived_ns, (transport, *stages), float(total), latency, late))
        self.total.add(float(total))
        if latency is not None:
            self.latency.add(latency)
        self._spark(arrived_ns // 1_000_000_000, latency if latency is not None else float(total))
        self._baseline(record, stages[STAGES.index("infer")])
        self.current.add(latency if latency is not None else float(total))

    def _spark(self, second: int, value_ms: float) -> None:
        if self._sparks and self._sparks[-1][0] == second:
            _, mean, n = self._sparks.pop()
            self._sparks.append((second, mean + (value_ms - mean) / (n + 1), n + 1))
        else:
            self._sparks.append((second, value_ms, 1))

    def _baseline(self, record: Mapping[str, Any], infer_ms: float | None) -> None:
        engine = (str(record.get("engine")), str(record.get("precision")), str(record.get("device")))
        if engine != self._engine:
            self._engine, self._block, self.current = engine, [], Run()
        if infer_ms is None:
            return
        self._block.append(infer_ms)
        if len(self._block) == _BLOCK:
            mean, self._block = statistics.fmean(self._block), []
            if engine in self._best_ms or len(self._best_ms) < 50:
                self._best_ms[engine] = min(mean, self._best_ms.get(engine, mean))

    def remember_loaded(self) -> None:
        """Keep the figures of what runs, for the table of models."""
        beat = self.newest
        if beat is None or beat.said.engine is None or beat.said.precision is None:
            return
        times, key = self.times(), (beat.said.engine, beat.said.precision)
        if times is None or times.n < 5 or (key not in self.loaded and len(self.loaded) >= 50):
            return
        others = beat.said.others
        self.loaded[key] = {
            "infer_ms": times.stages_ms.get("infer"),
            "n": times.n,
            "size_mb": _number(others.get("model_mb")),
            "memory_mb": _number(others.get("process_memory_mb")),
            "score": _number(others.get("model_score")),
            "difference": _number(others.get("difference_from_fp32")),
        }

    # what it comes to ------------------------------------------------------------------------------------------------

    @property
    def newest(self) -> Beat | None:
        """The newest heartbeat."""
        return self.beats[-1] if self.beats else None

    @property
    def said(self) -> Heartbeat:
        """What it says; nothing before it was heard."""
        return self.beats[-1].said if self.beats else Heartbeat()

    @property
    def host(self) -> str:
        """Where it runs."""
        return self.beats[-1].host if self.beats else ""

    @property
    def message(self) -> str:
        """Its state in its own words."""
        return self.beats[-1].message if self.beats else ""

    def silent_s(self, now_s: float) -> float:
        """Return for how long nothing was heard."""
        return now_s - self.beats[-1].heard_s if self.beats else 0.0

    def grown(self, count: Callable[[Heartbeat], object], window_s: float = 5.0) -> int:
        """Return what a counter has grown by in the window; 0 where it is not known."""
        if len(self.beats) < 2:
            return 0
        newest = self.beats[-1]
        from_s = newest.heard_s - window_s
        oldest = next((beat for beat in self.beats if beat.heard_s >= from_s), newest)
        before, now = count(oldest.said), count(newest.said)
        return max(0, now - before) if isinstance(before, int) and isinstance(now, int) else 0

    def watched_s(self, window_s: float = 5.0) -> float:
        """Return how much of the window its heartbeats cover."""
        return min(window_s, self.beats[-1].heard_s - self.beats[0].heard_s) if self.beats else 0.0

    def times(self) -> Times | None:
        """Return the means of the newest timings of the last ten seconds; None: there are none."""
        if self._times[0] != self.counted:
            self._times = self.counted, self._means()
        return self._times[1]

    def _means(self) -> Times | None:
        if not self.samples:
            return None
        newest_ns = self.samples[-1].arrived_ns
        recent = [s for s in list(self.samples)[-_MEANS:] if 0 <= newest_ns - s.arrived_ns < _RECENT_NS]
        columns = zip(*(s.stages_ms for s in recent), strict=True)
        stages = {
            name: mean for name, column in zip(SHOWN, columns, strict=True) if (mean := _mean(column)) is not None
        }
        return Times(
            stages,
            sum(s.total_ms for s in recent) / len(recent),
            _mean([s.latency_ms for s in recent]),
            _mean([s.late_ms for s in recent]) if self.said.driven_by == TICK else None,
            len(recent),
        )

    @property
    def best_infer_ms(self) -> float | None:
        """The lowest mean that `infer` had with this engine, of a block of timings; None: too few were heard."""
        return self._best_ms.get(self._engine)

    def sparks(self) -> list[float]:
        """Return the mean latency of each of the last seconds that had an inference [ms]."""
        return [mean for _, mean, _ in self._sparks]

    @property
    def throughput_hz(self) -> float | None:
        """Inferences per second, of all that were heard."""
        if self.span_ns is None or self.span_ns[1] <= self.span_ns[0]:
            return None
        return (self.counted - 1) / ((self.span_ns[1] - self.span_ns[0]) / 1e9)

    def drops(self) -> int | None:
        """Return how many messages it has lost on what drives it; None: it does not say."""
        said = self.said
        if said.driven_by is None or said.driven_by not in said.inputs:
            return None
        counters = said.loss_counters(said.driven_by)
        return sum(said.inputs[said.driven_by].count(counter) for counter in counters)


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if is_number else None  # type: ignore[arg-type]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
