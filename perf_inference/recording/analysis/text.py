"""What an analysis says in words, the same on a terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perf_inference.measure.statistics import MIN_SAMPLES
from perf_inference.recording.analysis.analysis import LineCounts, NodeAnalysis
from perf_inference.recording.analysis.figures import Figures, percent_name
from perf_inference.telemetry.window import window_text


def engine_text(node: NodeAnalysis) -> str:
    """Return what a node ran, and where; of one that speaks, also its synthesis over its sound."""
    engines = "; ".join(f"{engine} {precision} on {device}" for engine, precision, device in node.engines)
    return engines if node.real_time_factor is None else f"{engines}; real-time factor {node.real_time_factor:.3f}"


def line_text(lines: LineCounts) -> str:
    """Return what the lines of the files were."""
    torn = f"{lines.torn} torn at the end" if lines.torn else "none torn"
    return f"{lines.lines} read, {lines.records} used, {lines.damaged} damaged, {lines.foreign} foreign, {torn}"


def recorder_text(counts: Mapping[str, object]) -> str:
    """Return what the recorder itself lost."""
    if not counts:
        return "recorder: its counts are not known (no session.json)"
    known = ", ".join(f"{counts.get(key, '-')} {key}" for key in ("records", "dropped", "failed"))
    error = f"; {counts['last_error']}" if counts.get("last_error") else ""
    return f"recorder: {known}, {counts.get('duplicate_timings', '-')} duplicate timings{error}"


def lost_text(node: NodeAnalysis) -> str:
    """Return what is not in a node's figures."""
    inputs = [f"{name} {counts.get('lost_before')}" for name, counts in node.ledger.items()
              if counts.get("lost_before") is not None]  # fmt: skip
    residual = sum(abs(r) for c in node.ledger.values() if isinstance(r := c.get("residual"), int))
    parts = [
        f"drops {node.drops}",
        f"lost before the node: {', '.join(inputs) or 'not known'}",
        f"timings missing: {'not known' if node.missing is None else node.missing}",
    ]
    if node.gaps:
        parts.append(f"gaps in seq: {node.gaps}")
    if node.duplicates:
        parts.append(f"duplicates left out: {node.duplicates}")
    if node.starts > 1:
        parts.append(f"starts: {node.starts}")
    if node.ledger:
        parts.append(f"ledger's residual {residual}")
    return "; ".join(parts)


def clock_text(node: NodeAnalysis) -> str:
    """Return the clocks that a node's figures were measured at."""
    text = window_text(node.machine or {})
    return f"measured with {text}" if text else "at what clock is not known"


def columns_of(figures: Iterable[Figures]) -> tuple[float, ...]:
    """Return the percentiles worth a column: 50, 90, 99, and the highest that the most samples allow."""
    most = max((f.n for f in figures), default=0)
    highest = max((p for p, least in MIN_SAMPLES.items() if most >= least), default=50.0)
    return tuple(sorted({50.0, 90.0, 99.0, highest}))


def number(value_ms: float | None) -> str:
    """Return a duration with microseconds where there is room for them."""
    if value_ms is None:
        return "-"
    return f"{value_ms:.3f}" if abs(value_ms) < 1000 else f"{value_ms:.1f}"


def rule_text() -> str:
    """Return the rule that percentiles are printed by."""
    needed = ", ".join(f"{percent_name(percent)} {least}" for percent, least in MIN_SAMPLES.items())
    return f"a percentile (nearest rank, exact) needs samples: {needed}; - with fewer"


def sentence(words: str) -> str:
    """Return the words with a capital at the beginning."""
    return words[:1].upper() + words[1:]
