"""The figures of a run or a segment as text of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from perf_inference.printable import columns, folded, printable
from perf_inference.recording.analysis.analysis import NodeAnalysis, RunAnalysis
from perf_inference.recording.analysis.figures import Figures, percent_name
from perf_inference.recording.analysis.text import (
    clock_text,
    columns_of,
    engine_text,
    line_text,
    lost_text,
    number,
    recorder_text,
    rule_text,
)
from perf_inference.recording.analysis.topics import SegmentAnalysis


def run_text(run: RunAnalysis) -> str:
    """Return the whole summary of a run."""
    hz = "-" if run.average_hz is None or not run.total_actions else f"{run.average_hz:.2f} Hz"
    lines = [
        f"{run.source}: {_count(len(run.nodes), 'node')}",
        f"total actions {run.total_actions}, elapsed {run.elapsed_s:.3f} s, average {hz}",
        f"lines: {line_text(run.lines)}",
        recorder_text(run.recorder),
    ]
    if not run.summarised:
        lines.append("no summary file: what was lost before the nodes, and at what clock they ran, is not known")
    for node in run.nodes:
        lines += ["", *_node_text(node)]
    lines += ["", rule_text()]
    width = columns()
    return "\n".join(row for line in lines for row in folded(printable(line), width))


def segment_text(segment: SegmentAnalysis) -> str:
    """Return the whole summary of a segment of topics."""
    closed = {None: "", True: ", closed in order", False: ", not closed: still being written, or cut off"}
    missing = f"{segment.missing} missing by seq"
    if segment.backwards:
        missing += f", {segment.backwards} times backwards"
    lines = [
        f"{segment.source}: {segment.records} messages of {_count(len(segment.topics), 'topic')} in "
        f"{segment.span_s:.3f} s, {missing}{closed[segment.closed]}",
        f"lines: {line_text(segment.lines)}",
        "latency: log time - header stamp [ms]",
    ]
    for topic in segment.topics:
        hz = "-" if topic.hz is None else f"{topic.hz:.2f} Hz"
        lines += ["", f"{topic.name} ({topic.type or 'type not known'}): {topic.records} messages, {hz}"]
        lines.append(
            f"  span {topic.span_s:.3f} s, drops {topic.dropped}, "
            f"{topic.unstamped} without stamp, {topic.implausible} implausible stamps"
        )
        if topic.latency.n:
            lines += _table({"latency": topic.latency})
    lines += ["", rule_text()]
    width = columns()
    return "\n".join(row for line in lines for row in folded(printable(line), width))


def live_table(run: RunAnalysis) -> Table:
    """Return one row per node."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("node", "n", "Hz", "p50 ms", "p90 ms", "p99 ms", "max ms", "drops"):
        table.add_column(column, justify="left" if column == "node" else "right", no_wrap=column != "node")
    for node in run.nodes:
        table.add_row(Text(printable(node.name)), *_row(node))
    return table


def live_line(run: RunAnalysis) -> str:
    """Return the state of now in one line."""
    parts = [f"{run.elapsed_s:.0f} s"]
    for node in run.nodes:
        n, hz, p50, _, _, most, drops = _row(node)
        parts.append(f"{printable(node.name)} n {n} {hz} Hz p50 {p50} max {most} ms drops {drops}")
    return " | ".join(parts)


def _node_text(node: NodeAnalysis) -> Iterable[str]:
    hz = "-" if node.hz is None else f"{node.hz:.3f} Hz"
    yield f"{node.name} ({engine_text(node)}): {node.inferences} inferences in {node.elapsed_s:.3f} s, {hz}"
    yield f"  {lost_text(node)}"
    yield f"  {node.warmup} marked as warm-up, not below; {clock_text(node)}"
    whole = {"latency": node.latency, "due_latency": node.due_latency, "dropped_age": node.dropped_age}
    yield from _table({**node.stages, **{name: figures for name, figures in whole.items() if figures.n}})


def _table(rows: Mapping[str, Figures]) -> Iterable[str]:
    if not rows:
        return
    percents = columns_of(rows.values())
    names = ("mean", *(percent_name(percent) for percent in percents), "min", "max")
    width = max(11, *(len(name) for name in rows))
    yield f"  {'ms':<{width}}{'n':>7}" + "".join(f"{name:>8}" for name in names)
    for name, f in rows.items():
        values = (f.mean_ms, *(f.percentiles_ms.get(percent) for percent in percents), f.min_ms, f.max_ms)
        yield f"  {name:<{width}}{f.n:>7}" + "".join(f"{number(value):>8}" for value in values)


def _row(node: NodeAnalysis) -> tuple[str, ...]:
    shown = node.latency if node.latency.n else node.stages.get("total", node.latency)
    percentiles = (shown.percentiles_ms.get(percent) for percent in (50.0, 90.0, 99.0))
    hz = "-" if node.hz is None else f"{node.hz:.2f}"
    return str(node.inferences), hz, *(number(p) for p in percentiles), number(shown.max_ms), str(node.drops)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
