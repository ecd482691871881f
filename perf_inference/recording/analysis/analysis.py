"""What the files of a run come to; every figure is exact."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf_inference.recording.analysis.figures import Figures
from perf_inference.recording.analysis.timing_columns import TimingTable


@dataclass(frozen=True)
class LineCounts:
    """What the lines of the files were."""

    lines: int = 0  # ended by a newline
    records: int = 0  # that are used
    damaged: int = 0  # no JSON object
    foreign: int = 0  # JSON, but no record of this kind
    torn: int = 0  # the beginning of a line at a file's end


@dataclass(frozen=True)
class NodeAnalysis:
    """What one node's timings come to; warm-up is in counts and rates, and in no duration."""

    name: str
    engines: tuple[tuple[str, str, str], ...]  # (engine, precision, device)
    inferences: int
    warmup: int
    hz: float | None
    elapsed_s: float
    drops: int  # messages that a newer one replaced before an inference
    missing: int | None  # inferences by the node's own count that are not in the files; None: it has not told
    gaps: int  # of them, those that a gap in seq shows
    starts: int
    duplicates: int
    stages: Mapping[str, Figures]
    latency: Figures
    due_latency: Figures
    dropped_age: Figures
    ledger: Mapping[str, Mapping[str, Any]]  # by input; of the node's last heartbeat
    machine: Mapping[str, Any] | None  # clocks, power and temperature meanwhile; None: not known
    policy: bool
    real_time_factor: float | None  # all synthesis over all sound; None: the node makes none
    table: TimingTable = field(repr=False)

    @property
    def lost_before(self) -> int | None:
        """Messages of all inputs that were lost before the node had them; None: nobody knows of any input."""
        known = [counts.get("lost_before") for counts in self.ledger.values()]
        counted = [lost for lost in known if isinstance(lost, int)]
        return sum(counted) if counted else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, named as in the summary file where it has them."""
        return {
            "engines": [" ".join(engine) for engine in self.engines],
            "inferences": self.inferences,
            "hz": None if self.hz is None else round(self.hz, 4),
            "elapsed_s": round(self.elapsed_s, 3),
            "warmup": self.warmup,
            "drops": self.drops,
            "lost_before": self.lost_before,
            "missing": self.missing,
            "gaps": self.gaps,
            "starts": self.starts,
            "duplicates": self.duplicates,
            "latency_ms": self.latency.as_dict(),
            "due_latency_ms": self.due_latency.as_dict(),
            "dropped_age_ms": self.dropped_age.as_dict(),
            "stages_ms": {stage: figures.as_dict() for stage, figures in self.stages.items()},
            "ledger": self.ledger,
            "machine": self.machine,
            **({} if self.real_time_factor is None else {"real_time_factor": round(self.real_time_factor, 4)}),
        }


@dataclass(frozen=True)
class RunAnalysis:
    """What a run comes to."""

    source: Path
    files: tuple[Path, ...]
    lines: LineCounts
    nodes: tuple[NodeAnalysis, ...]
    session: Mapping[str, Any]  # session.json; empty: not there
    summarised: bool  # whether there is a summary file: ledgers and machine come from it

    @property
    def total_actions(self) -> int:
        return sum(node.inferences for node in self.nodes if node.policy)

    @property
    def elapsed_s(self) -> float:
        return max((node.elapsed_s for node in self._chosen), default=0.0)

    @property
    def average_hz(self) -> float | None:
        """Actions per second; of a run without a policy, inferences of all nodes."""
        if self.elapsed_s <= 0:
            return None
        return (sum(node.inferences for node in self._chosen) - len(self._chosen)) / self.elapsed_s

    @property
    def drops(self) -> int:
        return sum(node.drops for node in self.nodes)

    @property
    def inferences(self) -> int:
        return sum(node.inferences for node in self.nodes)

    @property
    def recorder(self) -> Mapping[str, Any]:
        """The recorder's own counts; empty: not known."""
        return as_mapping(self.session.get("counts"))

    @property
    def _chosen(self) -> tuple[NodeAnalysis, ...]:
        return tuple(node for node in self.nodes if node.policy) or self.nodes

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "source": path_text(self.source),
            "files": [path_text(file) for file in self.files],
            "lines": {name: getattr(self.lines, name) for name in LineCounts.__dataclass_fields__},
            "total_actions": self.total_actions,
            "elapsed_s": round(self.elapsed_s, 3),
            "average_hz": None if self.average_hz is None else round(self.average_hz, 4),
            "drops": self.drops,
            "nodes": {node.name: node.as_dict() for node in self.nodes},
            "recorder": self.recorder,
        }


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, else an empty one: what lies beside a recording can be anything."""
    return value if isinstance(value, dict) else {}


def path_text(path: Path) -> str:
    """Return the path as text that JSON can have, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "replace")
