"""The tables of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from perf_inference.recording.analysis.analysis import NodeAnalysis, RunAnalysis, as_mapping
from perf_inference.recording.analysis.figures import Figures, percent_name
from perf_inference.recording.analysis.text import (
    clock_text,
    columns_of,
    engine_text,
    lost_text,
    number,
    recorder_text,
    sentence,
)
from perf_inference.report.charts import shown
from perf_inference.report.svg import text


def overview(run: RunAnalysis) -> str:
    """Return one row per node: the highest percentile that the samples allow, and the maximum."""
    body = []
    for node in run.nodes:
        name, figures = shown(node)
        hz = "-" if node.hz is None else f"{node.hz:.2f}"
        highest = "-" if figures.highest is None else percent_name(figures.highest)
        values = (figures.percentiles_ms.get(50.0), figures.percentiles_ms.get(figures.highest or 0.0), figures.max_ms)
        p50, top, most = (number(value) for value in values)
        lost = "-" if node.lost_before is None else node.lost_before
        cells = (node.inferences, hz, name, figures.n, p50, f"{highest} {top}" if highest != "-" else "-", most)
        rest = "".join(f"<td>{text(cell)}</td>" for cell in (*cells, node.drops, lost))
        body.append(f'<tr><th scope="row">{text(node.name)}</th>{rest}</tr>')
    names = ("node", "inferences", "Hz", "ms", "n", "p50", "highest percentile", "max", "drops", "lost before")
    return _table(names, body)


def node_figures(node: NodeAnalysis) -> str:
    """Return the table of a node: each stage and the whole."""
    rows = {name: figures for name, figures in node.stages.items() if figures.n}
    whole = {"latency": node.latency, "due_latency": node.due_latency, "dropped_age": node.dropped_age}
    rows.update({name: figures for name, figures in whole.items() if figures.n})
    percents = columns_of(rows.values())
    header = ["ms", "n", "mean", *(percent_name(percent) for percent in percents), "min", "max"]
    body = [
        _row(name, figures, percents, "whole" if name in ("total", *whole) else "") for name, figures in rows.items()
    ]
    hz = "-" if node.hz is None else f"{node.hz:.3f} Hz"
    return (
        f"<h3>{text(node.name)}</h3><p>{text(engine_text(node))}: {node.inferences} inferences in "
        f"{node.elapsed_s:.3f} s, {hz}; {node.warmup} marked as warm-up</p>"
        f'<p class="dim">{text(lost_text(node))}; {text(clock_text(node))}</p>'
        + (_table(header, body) if rows else '<p class="dim">No duration but of the warm-up.</p>')
    )


def _row(name: str, figures: Figures, percents: Iterable[float], kind: str) -> str:
    values = (figures.mean_ms, *(figures.percentiles_ms.get(p) for p in percents), figures.min_ms, figures.max_ms)
    cells = "".join(f"<td>{number(value)}</td>" for value in values)
    return f'<tr class="{kind}"><th scope="row">{text(name)}</th><td>{figures.n}</td>{cells}</tr>'


def ledger(run: RunAnalysis) -> str:
    """Return the counts of every input of every node."""
    rows = [(node.name, source, counts) for node in run.nodes for source, counts in node.ledger.items()]
    if not rows:
        return '<p class="lead">No summary file: what became of every message is not known.</p>'
    present = dict.fromkeys(name for _, _, counts in rows for name in counts)
    counters = sorted(present, key=lambda name: name not in ("residual", "lost_before"))  # what to look at first
    body = []
    for node, source, counts in rows:
        cells = "".join(
            f"<td{_bad(name == 'residual' and counts.get(name) != 0)}>{text(_plain(counts.get(name)))}</td>"
            for name in counters
        )
        body.append(f'<tr><th scope="row">{text(node)}</th><td class="t">{text(source)}</td>{cells}</tr>')
    lead = "By each node's last heartbeat. Anything but 0 as residual is a bug in the accounting; - is not known."
    return f'<p class="lead">{lead}</p>' + _table(["node", "input", *counters], body)


def recorder(run: RunAnalysis) -> str:
    """Return the counts of every recorded topic."""
    topics = as_mapping(run.recorder.get("topics"))
    if not topics:
        return f'<p class="lead">{text(sentence(recorder_text(run.recorder)))}.</p>'
    keys = ("records", "dropped", "lost_before")
    body = [
        f'<tr><th scope="row">{text(name)}</th><td class="t">{text(_plain(counts.get("type")))}</td>'
        + "".join(f"<td{_bad(k != 'records' and bool(counts.get(k)))}>{text(_plain(counts.get(k)))}</td>" for k in keys)
        + "</tr>"
        for name, counts in ((name, as_mapping(value)) for name, value in topics.items())
    ]
    return f'<p class="lead">{text(sentence(recorder_text(run.recorder)))}.</p>' + _table(
        ["topic", "type", *keys], body
    )


def about(session: Mapping[str, Any]) -> str:
    """Return what session.json says of the machine and the settings."""
    if not session:
        return '<p class="lead">No session.json: not known.</p>'
    body = []
    for part in ("host", "software", "gpu", "parameters"):
        values = session.get(part)
        for key, value in (values if isinstance(values, dict) else {"": values}).items():
            body.append(
                f'<tr><th scope="row">{text(part)}</th><td class="t">{text(key)}</td>'
                f'<td class="t wrap">{text(_plain(value))}</td></tr>'
            )
    return _table(["", "", "value"], body)


def _table(header: Iterable[str], body: Iterable[str]) -> str:
    left = ("input", "type", "", "value")
    head = "".join(
        f'<th scope="col"{" class=t" if name in left else ""}>{text(name.replace("_", " "))}</th>' for name in header
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _bad(wrong: bool) -> str:
    return ' class="bad"' if wrong else ""


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
