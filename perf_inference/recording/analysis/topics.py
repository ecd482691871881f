"""A segment of topics (docs/format.md) in figures: how many messages, how fast, how late, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.recording.analysis.analysis import LineCounts, path_text
from perf_inference.recording.analysis.figures import Figures


@dataclass(frozen=True)
class TopicAnalysis:
    """One topic of a segment."""

    name: str
    type: str
    records: int
    dropped: int  # records that did not get into the file
    hz: float | None  # by log time
    span_s: float
    latency: Figures  # log time - header stamp
    unstamped: int
    implausible: int  # stamped over an hour before they were received, or after

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "type": self.type,
            "records": self.records,
            "dropped": self.dropped,
            "hz": None if self.hz is None else round(self.hz, 4),
            "span_s": round(self.span_s, 3),
            "latency_ms": self.latency.as_dict(),
            "unstamped": self.unstamped,
            "implausible_stamps": self.implausible,
        }


@dataclass(frozen=True)
class SegmentAnalysis:
    """What a segment comes to."""

    source: Path
    version: int  # of the format; 1: the recordings without checksums
    lines: LineCounts
    topics: tuple[TopicAnalysis, ...]
    records: int
    first_seq: int | None
    last_seq: int | None
    missing: int  # numbers between them that no message has
    backwards: int  # messages that have a smaller number than the one before
    span_s: float
    closed: bool | None  # whether its footer is there; None: this version has none

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "source": path_text(self.source),
            "version": self.version,
            "lines": {name: getattr(self.lines, name) for name in LineCounts.__dataclass_fields__},
            "records": self.records,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "missing": self.missing,
            "backwards": self.backwards,
            "span_s": round(self.span_s, 3),
            "closed": self.closed,
            "topics": {topic.name: topic.as_dict() for topic in self.topics},
        }
