"""What is shown at one moment, as values: the same for a screen, for one printed screen and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from perf_inference.console.causes.cause import Cause


@dataclass(frozen=True)
class Row:
    """A node."""

    name: str
    level: str  # ok, warning, error
    state: str  # in its own words
    cause: Cause  # the worst
    others: tuple[Cause, ...]
    engine: str | None
    model: str  # as people call it: Original, Pruned, or the engine's name
    precision: str | None
    device: str | None
    runtime: str | None
    engine_state: str
    rate_hz: float | None
    expected_hz: float | None
    p50_ms: float | None  # of the latency, or of the time from the reader on where there is no latency
    p99_ms: float | None
    max_ms: float | None
    n: int  # that they rest on
    stages_ms: Mapping[str, float]  # means
    total_ms: float | None
    stages_n: int  # that those rest on
    sparks_ms: tuple[float, ...]
    drops: int | None
    cpu_mb: float | None
    gpu_mb: float | None
    size_mb: float | None
    score: float | None
    silent_s: float


@dataclass(frozen=True)
class Banner:
    """Whether a policy drives."""

    state: str  # DRIVING, SAFE, UNKNOWN, NO POLICY
    cause: str
    node: str


@dataclass(frozen=True)
class Event:
    """Something that has happened."""

    wall_s: float  # system time
    text: str
    count: int = 1

    @property
    def line(self) -> str:
        """The event with how often it was."""
        return f"{self.text}{f' ({self.count} times)' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Picture:
    """All of it."""

    wall_s: float
    banner: Banner
    rows: tuple[Row, ...]  # the worst first
    machine: tuple[Cause, ...]
    events: tuple[Event, ...]  # the newest last
    captions: tuple[str, ...]
    log: tuple[str, ...]
    bell: int  # grows with each change that is worth one
    waiting: str  # for what, where nothing was heard yet; else empty

    def row(self, name: str) -> Row | None:
        """Return a node's."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def header(self) -> Row | None:
        """The node whose model the head of the screen tells of, where none was chosen."""
        engines = [row for row in self.rows if row.engine is not None]
        captioners = [row for row in engines if "caption" in row.name]
        return min(captioners or engines, key=lambda row: row.name, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)
