"""One message's way through the pipeline: when it came, and when each stage had finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

STAGES = ("queue", "decode", "preprocess", "infer", "postprocess", "publish")
MAX_LATENCY_NS = 3_600_000_000_000  # an older source stamp is a replayed or unsynchronised clock, not a latency
Scalar = str | int | float | None
_NOTHING: Mapping[str, Scalar] = MappingProxyType({})

# Named tuples where one is made for every frame: a frozen dataclass sets its fields one by one, which takes four times
# as long.


class Arrival(NamedTuple):
    """A message as it reached the node."""

    message: Any
    arrived_ns: int  # monotonic, in the callback
    received_ns: int  # system time at the reader
    stamp_ns: int | None = None  # the header's, in the header's own clock
    due_ns: int | None = None  # system time at which it should have come; None: no rate was promised
    sequence: int | None = None  # in its publisher's own count; None: not known here
    published_ns: int | None = None  # system time at the publisher; None: not known here
    publisher: bytes = b""  # its gid; empty: not known here
    source: str = ""  # which of the pipeline's sources it came from


class Stamps:
    """Monotonic readings of one message's stages [ns]; durations are computed when read.

    A stage that is marked again goes on: a message of a batch waits in its queue, and again for the others' stages.
    """

    __slots__ = ("_clock", "_readings", "_start")

    def __init__(self, start_ns: int, monotonic_ns: Callable[[], int]) -> None:
        self._clock = monotonic_ns
        self._start = start_ns
        self._readings: list[tuple[str, int]] = []

    def mark(self, stage: str) -> None:
        """Note that `stage` has just finished."""
        self._readings.append((stage, self._clock()))

    def durations_ns(self) -> dict[str, int]:
        """Return the duration of each finished stage [ns], in the order in which they finished."""
        previous = self._start
        durations: dict[str, int] = {}
        for stage, reading in self._readings:
            durations[stage] = durations.get(stage, 0) + reading - previous
            previous = reading
        return durations

    @property
    def total_ns(self) -> int:
        """From the callback to the end of the last finished stage [ns]."""
        return self._readings[-1][1] - self._start if self._readings else 0


class Timing(NamedTuple):
    """One inference: a line of the timings file, a status on `inference/timing`."""

    node: str
    engine: str
    precision: str
    device: str
    seq: int
    stamp_ns: int | None
    due_ns: int | None
    received_ns: int
    arrived_ns: int  # monotonic
    stages_ns: Mapping[str, int]
    total_ns: int
    latency_ns: int | None
    dropped_before: int
    due_latency_ns: int | None = None  # from when it was due to the end
    dropped_age_ns: int | None = None  # of the oldest that was replaced before it, when it was replaced
    warmup: bool = False
    extra: Mapping[str, Scalar] = _NOTHING

    def as_dict(self) -> dict[str, Scalar]:
        """Return the flat record, durations in ms; a stage that did not run is null."""
        record: dict[str, Scalar] = {
            "node": self.node,
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "seq": self.seq,
            "stamp_ns": self.stamp_ns,
            "due_ns": self.due_ns,
            "received_ns": self.received_ns,
            "arrived_ns": self.arrived_ns,
        }
        for stage in STAGES:
            duration = self.stages_ns.get(stage)
            record[f"{stage}_ms"] = None if duration is None else duration / 1e6
        record["total_ms"] = self.total_ns / 1e6
        record["latency_ms"] = None if self.latency_ns is None else self.latency_ns / 1e6
        record["due_latency_ms"] = None if self.due_latency_ns is None else self.due_latency_ns / 1e6
        record["dropped_before"] = self.dropped_before
        record["dropped_age_ms"] = None if self.dropped_age_ns is None else self.dropped_age_ns / 1e6
        record["warmup"] = self.warmup
        record.update(self.extra)
        return record


def source_latency_ns(stamp_ns: int | None, now_ns: int) -> int | None:
    """Return now - stamp [ns], both of the header's clock; None where it is negative, over an hour or unstamped."""
    if not stamp_ns:
        return None
    latency = now_ns - stamp_ns
    return latency if 0 <= latency <= MAX_LATENCY_NS else None


def rate_hz(times_ns: Sequence[int]) -> float | None:
    """Return events per second [Hz]: N - 1 intervals over the time from the first to the last; None: no such time."""
    span_ns = times_ns[-1] - times_ns[0] if len(times_ns) > 1 else 0
    return round((len(times_ns) - 1) / (span_ns / 1e9), 3) if span_ns > 0 else None
