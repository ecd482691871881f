"""The charts of a report: latency over time, a histogram per stage, the machine's tracks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from perf_inference.recording.analysis.analysis import NodeAnalysis
from perf_inference.recording.analysis.figures import Figures, percent_name
from perf_inference.recording.analysis.text import number
from perf_inference.recording.analysis.timing_columns import NULL
from perf_inference.recording.analysis.tracks import Track
from perf_inference.report import svg
from perf_inference.report.scales import Floats, Scale, TimeAxis, gather, narrow_scale, spread, value_scale

_LATENCY_PX, _TRACK_PX, _ROW_PX = 190, 110, 38
_LABEL_PX = 15  # from one label to the next
_COLUMNS = 500
_DOTS = 1500  # inferences that are drawn one by one
_BINS = 96
_LEAST_BAR = 0.05  # of a row's height: a single inference among thousands is still seen
_COLOURS = 6
KINDS = {"clock": "MHz", "temperature": "°C", "power": "W", "load": "%"}


def shown(node: NodeAnalysis) -> tuple[str, Figures]:
    """Return what stands for a node's latency: from the stamp, or where there is none from the reception on."""
    if node.latency.n:
        return "latency", node.latency
    return "total", node.stages.get("total", node.latency)


def latency_chart(node: NodeAnalysis, axis: TimeAxis) -> str:
    """Return latency over time; nothing is left out, whatever the number of inferences."""
    name, figures = shown(node)
    column = node.table.durations_ns.get(name)
    if column is None or figures.max_ms is None:
        return f'<p class="dim">No latency was recorded{"" if column is None else " but of the warm-up"}.</p>'
    there = column != NULL
    values = column[there] / 1e6
    x, warm = axis.at(node.table.received_ns[there]), node.table.warmup[there]
    scale = value_scale(values)
    marks, key = _latency_marks(x[~warm], values[~warm], scale, axis)
    if warm.any():
        marks.append(svg.dots(x[warm], scale.at(values[warm]), "warm"))
        key.append('<i class="warm">●</i> warm-up, in no figure')
    dropped = node.table.dropped_before > 0
    if dropped.any():
        rug = np.unique(np.round(axis.at(node.table.received_ns[dropped]), 4))
        marks.append(svg.upright(rug.tolist(), "drop", 0.0, 0.05))
        key.append(f'<i class="drop">|</i> at the bottom: a newer message replaced {node.drops} before their turn')
    labels = [("p50", figures.percentiles_ms.get(50.0))]
    if figures.highest not in (None, 50.0):
        labels.append((percent_name(figures.highest or 0.0), figures.percentiles_ms[figures.highest or 0.0]))
    known = [(label, value) for label, value in labels if value is not None]
    marks += [svg.level(scale.of(value), "ref") for _, value in known]
    most = int(np.argmax(np.where(warm, -np.inf, values)))
    words = f"max {number(float(values[most]))}"
    note = svg.note(float(x[most]), scale.of(float(values[most])), words)
    area = svg.drawing(f"{name} of {node.name} over time, {len(values)} inferences, {words} ms", _LATENCY_PX,
                       svg.grid(scale), svg.time_grid(axis), *marks)  # fmt: skip
    return (
        svg.plot(svg.y_ticks(scale, "ms"), area + note, _right(known, scale), svg.x_ticks(axis.scale, axis.unit[0]))
        + f'<p class="key">{"; ".join(key)}.</p>'
    )


def _latency_marks(x: Floats, values: Floats, scale: Scale, axis: TimeAxis) -> tuple[list[str], list[str]]:
    if len(values) <= _DOTS:
        return [svg.dots(x, scale.at(values), "k1")], ['<i class="k1">●</i> one inference each']
    columns = gather(x, values, _COLUMNS)
    width_s = (axis.end_ns - axis.begin_ns) / 1e9 / _COLUMNS
    return [
        svg.bars(columns.middle, scale.at(columns.low), scale.at(columns.high), "k1"),
        svg.line(columns.middle, scale.at(columns.median), "k1", gap=2.5 / _COLUMNS),
    ], [
        f'<i class="k1">|</i> from the smallest to the largest of each {width_s:.3g} s, so that no peak is lost, '
        '<i class="k1">—</i> their median'
    ]


def _right(known: list[tuple[str, float]], scale: Scale) -> str:
    placed = sorted((_LATENCY_PX * (1 - scale.of(value)), f"{label} {number(value)}") for label, value in known)
    tops = spread([top for top, _ in placed], _LABEL_PX, _LATENCY_PX)
    return "".join(svg.right_label(top, "", words) for top, (_, words) in zip(tops, placed, strict=True))


def histograms(node: NodeAnalysis) -> str:
    """Return one row per stage above one logarithmic axis, so that they can be compared."""
    rows = {name: figures for name, figures in node.stages.items() if figures.n}
    if node.latency.n:
        rows["latency"] = node.latency
    if not rows:
        return '<p class="dim">No stage was timed.</p>'
    low = max(1e-3, min(figures.min_ms or 0.0 for figures in rows.values()))
    high = max(max(figures.max_ms or 0.0 for figures in rows.values()), 2 * low)
    scale = Scale(low / 1.1, high * 1.1, log=True)
    lines = [svg.upright([scale.of(tick) for tick in scale.ticks(svg.X_TICKS)], "grid")]
    parts = [_histogram(node, name, figures, scale, lines) for name, figures in rows.items()]
    return f'<div class="hist">{"".join(parts)}<div class="x">{svg.x_ticks(scale, "ms")}</div></div>'


def _histogram(node: NodeAnalysis, name: str, figures: Figures, scale: Scale, lines: list[str]) -> str:
    shares = scale.at(node.table.samples_ns(name) / 1e6)
    counts = np.bincount(np.minimum((shares * _BINS).astype(np.int64), _BINS - 1), minlength=_BINS)
    heights = np.where(counts > 0, np.maximum(counts / counts.max(), _LEAST_BAR), 0.0)
    marks = [svg.steps((np.arange(_BINS + 1) / _BINS).tolist(), heights.tolist(), "k1")]
    words = [f"n&#8239;{figures.n}"]
    for percent in dict.fromkeys((50.0, figures.highest or 50.0)):
        value = figures.percentiles_ms.get(percent)
        if value is not None:
            marks.append(svg.upright([scale.of(value)], "p50" if percent == 50.0 else "top"))
            words.append(f"{percent_name(percent)}&#8239;<b>{number(value)}</b>")
    words.append(f"max&#8239;<b>{number(figures.max_ms)}</b>")
    label = f"histogram of {name} of {node.name}, {figures.n} inferences"
    return (
        f'<div class="name">{svg.text(name)}</div>'
        f'<div class="v">{" · ".join(words)}</div>'
        f'<div class="area">{svg.drawing(label, _ROW_PX, *lines, *marks)}</div>'
    )


def track_chart(kind: str, tracks: Iterable[Track], axis: TimeAxis) -> str:
    """Return the tracks of one kind over the run's time."""
    inside = []
    for track in tracks:
        keep = (track.times_ns >= axis.begin_ns) & (track.times_ns <= axis.end_ns)
        if keep.any():
            inside.append((track.label, axis.at(track.times_ns[keep]), track.values[keep]))
    if not inside:
        return ""
    every = np.concatenate([values for _, _, values in inside])
    scale = Scale(0.0, max(100.0, float(every.max()))) if kind == "load" else narrow_scale(every)
    marks, labels = [svg.grid(scale, 4), svg.time_grid(axis)], []
    for index, (label, x, values) in enumerate(inside):
        colour = f"k{1 + index % _COLOURS}"
        columns = gather(x, values, _COLUMNS)
        gap = 4 * float(np.median(np.diff(columns.middle))) if len(columns.middle) > 1 else 1.0
        marks.append(svg.line(columns.middle, scale.at(columns.median), colour, gap))
        marks.append(svg.bars(columns.middle, scale.at(columns.low), scale.at(columns.high), colour))
        labels.append((_TRACK_PX * (1 - scale.of(float(columns.median[-1]))), colour, f"{label} {values[-1]:.0f}"))
    labels.sort()
    tops = spread([top for top, _, _ in labels], _LABEL_PX, _TRACK_PX)
    right = "".join(svg.right_label(top, colour, words) for top, (_, colour, words) in zip(tops, labels, strict=True))
    area = svg.drawing(f"{kind} over time", _TRACK_PX, *marks)
    counts = ", ".join(
        f"{svg.text(label)} {values.min():.0f} to {values.max():.0f} (n&#8239;{len(values)})"
        for label, _, values in inside
    )
    return (
        f"<h3>{svg.text(kind.capitalize())}</h3>"
        + svg.plot(svg.y_ticks(scale, KINDS[kind], 4), area, right, svg.x_ticks(axis.scale, axis.unit[0]))
        + f'<p class="key">{counts} {KINDS[kind]}</p>'
    )
