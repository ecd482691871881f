"""What was seen of a running graph, as values; `nodes.graph_check` looks, and other modules judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perf_inference.measure.stamps import Scalar

_TELLING = 5  # messages that a rate may rest on


@dataclass(frozen=True)
class Endpoint:
    """A publisher or a subscription."""

    node: str  # with its namespace
    pid_low: int | None = None  # lower 16 bits of its process' id; None: this RMW does not tell
    here: bool | None = None  # on this machine; None: this RMW does not tell


@dataclass(frozen=True)
class Source:
    """The messages of one publisher, as they arrived here."""

    node: str
    here: bool | None
    received: int
    lost: int | None  # gaps in its sequence; None: this ROS 2 does not tell
    sent_hz: float | None
    received_hz: float | None
    least_delay_ms: float | None  # from the publisher's clock to this machine's
    stamp_ahead_ms: float | None  # how far the header's stamp lay in the future, at most; None: never
    longest_pause_s: float = 0.0  # between two that arrived
    silent_s: float = 0.0  # since the last


@dataclass(frozen=True)
class Flow:
    """A topic that somebody listens to."""

    topic: str
    type: str
    publishers: tuple[Endpoint, ...]
    subscribers: tuple[Endpoint, ...]
    best_effort: bool = False  # a publisher offers no more
    sources: tuple[Source, ...] = ()
    received: int = 0
    bytes: int = 0
    largest_bytes: int = 0
    not_heard: str = ""  # why it was not listened to

    def sent_bytes(self, seconds: float) -> float:
        """Return what was sent within the time, as far as can be told from what arrived."""
        counts = (
            one.sent_hz * seconds
            if one.sent_hz is not None and one.received >= _TELLING
            else one.received + (one.lost or 0)
            for one in self.sources
        )
        return sum(counts) * self.bytes / self.received if self.received else 0.0


@dataclass(frozen=True)
class Mismatch:
    """A publisher and a subscription of one topic that cannot hear each other."""

    topic: str
    publisher: str
    subscriber: str
    offered: str
    asked: str
    reasons: tuple[str, ...]
    fix: str
    certain: bool = True


@dataclass(frozen=True)
class Beat:
    """What a node of this package said of itself."""

    heard_s: float  # monotonic
    host: str
    ok: bool
    message: str
    values: Mapping[str, Scalar]


@dataclass(frozen=True)
class Beats:
    """The first and the last heartbeat of a node within the time; the same one where there was one only."""

    first: Beat
    last: Beat

    @property
    def span_s(self) -> float:
        return self.last.heard_s - self.first.heard_s

    def grown(self, key: str) -> int:
        """Return by how much a counter has grown."""
        before, after = self.first.values.get(key), self.last.values.get(key)
        return after - before if isinstance(before, int) and isinstance(after, int) else 0


@dataclass(frozen=True)
class GraphFacts:
    """All that was seen."""

    seconds: float
    flows: tuple[Flow, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    pairs: int = 0  # of publishers and subscriptions that were compared
    pids_low: frozenset[int] = frozenset()  # lower halves of the process ids of this machine that were heard
    beats: Mapping[str, Beats] = field(default_factory=dict)
