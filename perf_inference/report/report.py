"""A run's report: its latencies, stages, figures, ledger and machine on one page."""

from __future__ import annotations

import re
from pathlib import Path

from perf_inference.recording.analysis.analysis import NodeAnalysis, RunAnalysis, as_mapping
from perf_inference.recording.analysis.text import clock_text, line_text, recorder_text, rule_text, sentence
from perf_inference.recording.analysis.tracks import Tracks, read_tracks
from perf_inference.report.charts import KINDS, histograms, latency_chart, shown, track_chart
from perf_inference.report.image import kept_image
from perf_inference.report.page import page_of, section, write_page
from perf_inference.report.scales import TimeAxis
from perf_inference.report.svg import text
from perf_inference.report.tables import about, ledger, node_figures, overview, recorder


def write_report(path: Path, run: RunAnalysis) -> None:
    """Write the report; a reader sees the old one or the new one.

    Raises:
        RecordingError: the file cannot be written.
    """
    write_page(path, report(run))


def report(run: RunAnalysis) -> str:
    """Return the page."""
    times = [(int(node.table.received_ns.min()), int(node.table.received_ns.max())) for node in run.nodes]
    axis = TimeAxis(min((begin for begin, _ in times), default=0), max((end for _, end in times), default=1))
    directory = run.source if run.source.is_dir() else run.source.parent
    name = run.source.resolve().name
    image = kept_image(directory)
    return page_of(
        name,
        "perf-inference analyze",
        (
            _head(run),
            *((section("image", "What the camera saw", [image]),) if image else ()),
            section("latency", "Latency over time", (_latency(node, axis) for node in run.nodes)),
            section("machine", "Clocks and temperature over time", [_machine(read_tracks(directory), axis)]),
            section("stages", "Where the time goes: a histogram per stage", map(_stages, run.nodes), _HISTOGRAM),
            section("figures", "Figures", map(node_figures, run.nodes), f"{_RULE} Without the marked warm-up."),
            section("ledger", "The ledger: what became of every message", [ledger(run)]),
            section("recorder", "What was recorded", [recorder(run)]),
            section("about", "Host, software, parameters", [about(run.session)]),
        ),
    )


_RULE = f"{sentence(rule_text())}."
_HISTOGRAM = (
    "All rows of a node share one logarithmic axis [ms]. A row's height is its own fullest of 96 bins; a bin with any "
    "inference at all is drawn at least 2 px high. "
    '<span class="key"><i class="p50">|</i> p50 <i class="top">¦</i> the highest percentile that n allows</span>'
)


def _head(run: RunAnalysis) -> str:
    host = as_mapping(run.session.get("host"))
    where = ", ".join(text(host[key]) for key in ("hostname", "processor", "machine") if host.get(key))
    cores = f", {text(host['cores'])} cores" if host.get("cores") else ""
    lost = [node.lost_before for node in run.nodes if node.lost_before is not None]
    missing = [node.missing for node in run.nodes if node.missing is not None]
    hz = "-" if run.average_hz is None else f"{run.average_hz:.2f} Hz"
    tiles = (
        (run.total_actions, "total actions"),
        (f"{run.elapsed_s:.1f} s", "elapsed"),
        (hz, "average of the policy" if run.total_actions else "average of all nodes"),
        (run.drops, "drops: replaced by newer ones"),
        (sum(lost) if lost else "-", "lost before the nodes" if lost else "lost before: not known"),
        (sum(missing) if missing else "-", "timings missing" if missing else "missing timings: not known"),
    )
    started = re.sub(
        r"^([0-9]{4})([0-9]{2})([0-9]{2})_([0-9]{2})([0-9]{2})([0-9]{2})$",
        r"\1-\2-\3 \4:\5:\6",
        str(run.session.get("start_time", "-")),
    )
    clocks = sorted({clock_text(node) for node in run.nodes})
    return (
        f'<p class="dim">{where or "host not known"}{cores}; started {text(started)}; '
        f"{text('; '.join(clocks))}</p>"
        f'<div class="tiles">{"".join(f"<div><b>{text(a)}</b><span>{text(b)}</span></div>" for a, b in tiles)}</div>'
        f"{overview(run)}"
        f'<p class="dim">Lines: {text(line_text(run.lines))}. {text(sentence(recorder_text(run.recorder)))}.</p>'
    )


def _latency(node: NodeAnalysis, axis: TimeAxis) -> str:
    name, figures = shown(node)
    what = {"latency": "from the header's stamp to the end of the last stage"}.get(
        name, "from the reception to the end of the last stage (there are no stamps)"
    )
    return (
        f"<h3>{text(node.name)}</h3><p class='dim'>{what}; n {figures.n}, "
        f"{text(clock_text(node))}; drops {node.drops}</p>" + latency_chart(node, axis)
    )


def _stages(node: NodeAnalysis) -> str:
    return f'<div class="histogram"><h3>{text(node.name)}</h3>{histograms(node)}</div>'


def _machine(found: Tracks, axis: TimeAxis) -> str:
    charts = [track_chart(kind, [track for track in found.tracks if track.kind == kind], axis) for kind in KINDS]
    words = [f"From {found.messages} messages of /diagnostics, as recorded; the time axis is that of the latencies."]
    absent = [kind for kind, chart in zip(KINDS, charts, strict=True) if not chart and kind != "load"]
    if {"clock", "temperature"} <= set(absent):
        words = ["No clock or temperature was recorded."]
    elif absent:
        words.append(f"No {' and no '.join(absent)} was recorded.")
    if found.unread:
        words.append(f"{found.unread} messages could not be read.")
    return f'<p class="lead">{" ".join(words)}</p>' + "".join(
        [*charts, *(f'<p class="bad">{text(problem)}</p>' for problem in found.problems)]
    )
