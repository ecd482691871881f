"""Marks as inline SVG, and the text around them as HTML.

The drawing is stretched to the width that there is (`preserveAspectRatio="none"`), strokes and text are not: so a chart
is as readable on a phone as on paper.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from perf_inference.printable import printable
from perf_inference.report.scales import Floats, Scale, TimeAxis

SIZE = 1000  # units of a drawing, both ways
X_TICKS = 8  # at most


def text(value: object) -> str:
    """Return the value as HTML text: names come from files, and are never markup."""
    return html.escape(printable(str(value)))


def dots(x: Floats, y: Floats, kind: str) -> str:
    """Return a dot for each point; shares of the drawing, y upwards."""
    return _path((f"M{_n(a)} {_n(1 - b)}h0" for a, b in zip(x, y, strict=True)), f"dot {kind}")


def bars(x: Floats, low: Floats, high: Floats, kind: str) -> str:
    """Return an upright line from `low` to `high` at each x."""
    return _path((f"M{_n(a)} {_n(1 - b)}V{_n(1 - c)}" for a, b, c in zip(x, low, high, strict=True)), f"range {kind}")


def line(x: Floats, y: Floats, kind: str, gap: float = math.inf) -> str:
    """Return a line through the points, broken where they are further apart than `gap`."""
    parts = []
    before = -math.inf
    for a, b in zip(x, y, strict=True):
        parts.append(f"{'L' if a - before <= gap else 'M'}{_n(a)} {_n(1 - b)}")
        before = a
    return _path(parts, f"line {kind}")


def steps(edges: Sequence[float], heights: Sequence[float], kind: str) -> str:
    """Return filled boxes between the edges; those of no height are left out."""
    return _path(
        (
            f"M{_n(left)} {SIZE}V{_n(1 - height)}H{_n(right)}V{SIZE}z"
            for left, right, height in zip(edges, edges[1:], heights, strict=False)
            if height > 0
        ),
        f"box {kind}",
    )


def level(y: float, kind: str) -> str:
    """Return a line from edge to edge."""
    return _path([f"M0 {_n(1 - y)}H{SIZE}"], kind)


def upright(x: Iterable[float], kind: str, low: float = 0.0, high: float = 1.0) -> str:
    """Return lines from `low` to `high`."""
    return _path((f"M{_n(a)} {_n(1 - low)}V{_n(1 - high)}" for a in x), kind)


def drawing(label: str, height_px: int, *marks: str) -> str:
    """Return the drawing; `label` is what a screen reader says of it."""
    return (
        f'<svg role="img" aria-label="{text(label)}" viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" '
        f'style="height:{height_px}px">{"".join(marks)}</svg>'
    )


def plot(y_axis: str, area: str, right: str, x_axis: str) -> str:
    """Return the drawing between its axes."""
    return (
        f'<div class="plot"><div class="y">{y_axis}</div><div class="area">{area}</div>'
        f'<div class="r">{right}</div><div class="x">{x_axis}</div></div>'
    )


def x_ticks(scale: Scale, unit: str, most: int = X_TICKS) -> str:
    """Return the labels below a drawing, the unit at the last one."""
    ticks = scale.ticks(most)
    return "".join(
        f'<span style="left:{100 * scale.of(tick):.2f}%">{tick_text(tick)}'
        f"{'&#8239;' + text(unit) if tick == ticks[-1] else ''}</span>"
        for tick in ticks
    )


def y_ticks(scale: Scale, unit: str, most: int = 5) -> str:
    """Return the labels beside a drawing, the unit at the top."""
    ticks = "".join(
        f'<span style="top:{100 * (1 - scale.of(tick)):.2f}%">{tick_text(tick)}</span>' for tick in scale.ticks(most)
    )
    return f"{ticks}<b>{text(unit)}{', log' if scale.log else ''}</b>"


def grid(scale: Scale, most: int = 5) -> str:
    """Return the horizontal lines of a scale's ticks."""
    return "".join(level(scale.of(tick), "grid") for tick in scale.ticks(most))


def time_grid(axis: TimeAxis) -> str:
    """Return the upright lines of a time axis."""
    return upright([axis.scale.of(tick) for tick in axis.scale.ticks(X_TICKS)], "grid")


def note(x: float, y: float, words: str) -> str:
    """Return a label at a point of the drawing, on the side where there is room."""
    side = f"right:{100 * (1 - x):.2f}%" if x > 0.6 else f"left:{100 * x:.2f}%"
    return f'<span class="note" style="{side};top:{100 * (1 - y):.2f}%">{text(words)}</span>'


def right_label(top_px: float, kind: str, words: str) -> str:
    """Return a label right of the drawing."""
    return f'<span class="{kind}" style="top:{top_px:.1f}px">{text(words)}</span>'


def tick_text(value: float) -> str:
    """Return a round number without an exponent or needless zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if value < 1000 else f"{value:.0f}"


def _path(parts: Iterable[str], kind: str) -> str:
    shape = "".join(parts)
    return f'<path class="{kind}" d="{shape}"/>' if shape else ""


def _n(share: float) -> str:
    return f"{SIZE * share:.1f}".removesuffix(".0")
