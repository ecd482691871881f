"""A benchmark's report as the HTML page that recordings have too."""

from __future__ import annotations

import re

import numpy as np

from perf_inference.report import svg
from perf_inference.report.document import (
    Document,
    Histograms,
    Part,
    Printed,
    Table,
    TimeLines,
    Words,
    figure,
    percentiles,
)
from perf_inference.report.page import page_of, section
from perf_inference.report.scales import Floats, Scale, TimeAxis, gather, narrow_scale, spread, value_scale
from perf_inference.report.svg import text

_HEIGHT_PX, _ROW_PX, _LABEL_PX = 150, 38, 15
_DOTS, _COLUMNS, _BINS, _COLOURS = 1500, 500, 96, 6
_LEAST_BAR = 0.05  # of a row's height: a single sample among thousands is still seen


def page(document: Document, by: str) -> str:
    """Return the page; `by` is the command that made it."""
    parts = (section(f"part{number}", text(part.title), [_part(part)]) for number, part in enumerate(document.parts))
    return page_of(document.title, by, (f"<p><b>{text(document.verdict)}</b></p>", *parts))


def _part(part: Part) -> str:
    if isinstance(part, Words):
        return "".join(f"<p>{text(line)}</p>" for line in part.lines)
    if isinstance(part, Printed):
        lines = "\n".join(text(line) for line in part.lines)
        return f"<pre>{lines}</pre>"
    if isinstance(part, Table):
        return _table(part)
    return _histograms(part) if isinstance(part, Histograms) else _time_lines(part)


def _table(table: Table) -> str:
    words = [_wordy(column) for column in zip(*table.rows, strict=True)] or [False] * len(table.header)
    kinds = [' class="t wrap"' if wordy and index else "" for index, wordy in enumerate(words)]
    head = "".join(
        f'<th scope="col"{kind and " class=t"}>{text(name)}</th>'
        for name, kind in zip(table.header, kinds, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="key">{text(table.note)}</p>' if table.note else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def _wordy(column: tuple[str, ...]) -> bool:
    return any(re.search("[A-Za-z]{4}", cell) for cell in column)


def _histograms(part: Histograms) -> str:
    rows = {name: np.asarray(values, np.float64) for name, values in part.series.items() if len(values)}
    if not rows:
        return '<p class="dim">Nothing was measured.</p>'
    every = np.concatenate(list(rows.values()))
    positive = every[every > 0]
    low = float(positive.min()) if len(positive) else 1e-3
    scale = Scale(low / 1.05, max(float(every.max()), low) * 1.05, log=True)
    lines = svg.upright([scale.of(tick) for tick in scale.ticks(svg.X_TICKS)], "grid")
    drawn = "".join(_histogram(name, values, scale, lines, part.unit) for name, values in rows.items())
    return (
        f'<div class="histogram"><div class="hist">{drawn}<div class="x">{svg.x_ticks(scale, part.unit)}</div></div>'
        '<p class="key">All rows share one logarithmic axis; a row\'s height is its own fullest bin. '
        '<i class="p50">|</i> p50 <i class="top">¦</i> the highest percentile that n allows</p></div>'
    )


def _histogram(name: str, values: Floats, scale: Scale, lines: str, unit: str) -> str:
    counts = np.bincount(np.minimum((scale.at(values) * _BINS).astype(np.int64), _BINS - 1), minlength=_BINS)
    heights = np.where(counts > 0, np.maximum(counts / counts.max(), _LEAST_BAR), 0.0)
    marks = [svg.steps((np.arange(_BINS + 1) / _BINS).tolist(), heights.tolist(), "k1")]
    words = [f"n&#8239;{len(values)}"]
    known = percentiles(values.tolist())
    for percent in dict.fromkeys([*list(known)[:1], *list(known)[-1:]]):
        marks.append(svg.upright([scale.of(known[percent])], "p50" if percent == "p50" else "top"))
        words.append(f"{percent}&#8239;<b>{figure(known[percent])}</b>")
    words.append(f"max&#8239;<b>{figure(float(values.max()))}</b>")
    return (
        f'<div class="name">{text(name)}</div><div class="v">{" · ".join(words)}</div>'
        f'<div class="area">{svg.drawing(f"histogram of {name} [{unit}]", _ROW_PX, lines, *marks)}</div>'
    )


def _time_lines(part: TimeLines) -> str:
    series = {
        name: (np.asarray(times, np.float64), np.asarray(values, np.float64))
        for name, (times, values) in part.series.items()
        if len(values)
    }
    if not series:
        return '<p class="dim">Nothing is known on this machine.</p>'
    ends = [float(times.max()) for times, _ in series.values()]
    axis = TimeAxis(0, max(1, round(max(ends) * 1e9)))
    every = np.concatenate([values for _, values in series.values()])
    scale = value_scale(every) if part.unit == "ms" else narrow_scale(every)
    marks, labels, words = [svg.grid(scale), svg.time_grid(axis)], [], []
    for index, (name, (times, values)) in enumerate(series.items()):
        colour = f"k{1 + index % _COLOURS}"
        x = axis.at((times * 1e9).astype(np.int64))
        if part.unit == "ms" and len(values) <= _DOTS:
            marks.append(svg.dots(x, scale.at(values), colour))
        else:
            columns = gather(x, values, _COLUMNS)
            marks.append(svg.bars(columns.middle, scale.at(columns.low), scale.at(columns.high), colour))
            marks.append(svg.line(columns.middle, scale.at(columns.median), colour))
        labels.append((_HEIGHT_PX * (1 - scale.of(float(np.median(values)))), colour, name))
        words.append(f"{text(name)} {figure(float(values.min()))} to {figure(float(values.max()))} (n {len(values)})")
    labels.sort()
    tops = spread([top for top, _, _ in labels], _LABEL_PX, _HEIGHT_PX)
    right = "".join(svg.right_label(top, colour, name) for top, (_, colour, name) in zip(tops, labels, strict=True))
    return (
        svg.plot(
            svg.y_ticks(scale, part.unit),
            svg.drawing(f"{part.title} over time", _HEIGHT_PX, *marks),
            right,
            svg.x_ticks(axis.scale, axis.unit[0]),
        )
        + f'<p class="key">{", ".join(words)} {text(part.unit)}</p>'
    )
