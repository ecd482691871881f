"""The first screen as lines of styled text, for any size of a terminal from 80x24 on."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from perf_inference.console.node import SHOWN
from perf_inference.console.picture import Banner, Picture, Row
from perf_inference.printable import printable

LEAST_WIDTH, LEAST_HEIGHT = 80, 24
_SPARKS = "▁▂▃▄▅▆▇█"
_LETTERS = {
    "transport": "T",
    "queue": "q",
    "decode": "d",
    "preprocess": "p",
    "infer": "I",
    "postprocess": "o",
    "publish": "u",
}
_STAGE_STYLES = {
    "transport": "blue",
    "queue": "yellow",
    "decode": "cyan",
    "preprocess": "magenta",
    "infer": "green",
    "postprocess": "magenta",
    "publish": "blue",
}
LEGEND = "T transport  q queue  d decode  p preprocess  I infer  o postprocess  u publish"
_BANNERS = {"DRIVING": "bold white on dark_green", "SAFE": "bold black on yellow", "UNKNOWN": "bold white on red",
            "NO POLICY": "bold white on grey37"}  # fmt: skip
_MARKS = {"ok": ("+", "green"), "warning": ("!", "yellow"), "error": ("X", "bold red")}
_BAR, _SPARK = 16, 10
_EVENTS = 4
KEYS = "S caption R say P stats M model T task Space STOP E enable B record ? help Q"


class Span(NamedTuple):
    """A piece of a line, and its style as Rich has them."""

    text: str
    style: str = ""


Line = tuple[Span, ...]

_OFTEN = re.compile(r" \([0-9]+ times\)$")


def plain(lines: Sequence[Line]) -> str:
    """Return lines without their styles."""
    return "\n".join("".join(span.text for span in line).rstrip() for line in lines)


def first_screen(picture: Picture, width: int, height: int, chosen: str = "", hint: str = "") -> list[Line]:
    """Return the lines of the first screen.

    Args:
        chosen: the node whose model the head tells of; empty: the captioner, or the first with an engine.
        hint: what was just done or what a key has answered, for the last line but one.
    """
    width, height = max(width, LEAST_WIDTH), max(height, LEAST_HEIGHT)
    head = [_banner(picture.banner, picture.wall_s, width), _model_line(picture, chosen, width)]
    foot = [*_events(picture, width), _caption(picture, width), _hint(picture, hint, width), (Span(_cut(KEYS, width)),)]
    room = height - len(head) - len(foot)
    lines = [*head, *_padded(_table(picture, chosen, width, room), room), *foot]
    return [tuple(map(_harmless, line)) for line in lines]


def bar(stages_ms: Mapping[str, float], width: int = _BAR) -> list[Span]:
    """Return the stages as a bar of letters, a share of the width each; a stage below half a letter is left out."""
    known = [(name, stages_ms[name]) for name in SHOWN if stages_ms.get(name, 0.0) > 0]
    whole = sum(ms for _, ms in known)
    if whole <= 0:
        return [Span("-".ljust(width), "dim")]
    exact = [(name, ms * width / whole) for name, ms in known]
    cells = {name: int(share) for name, share in exact}
    by_rest = sorted(exact, key=lambda item: int(item[1]) - item[1])
    for name, _ in by_rest[: width - sum(cells.values())]:
        cells[name] += 1
    return [Span(_LETTERS[name] * cells[name], _STAGE_STYLES[name]) for name, _ in known if cells[name]]


def spark(values: Sequence[float], width: int = _SPARK) -> str:
    """Return the newest values as a line of blocks, from 0 to their largest."""
    newest = list(values)[-width:]
    most = max(newest, default=0.0)
    if most <= 0:
        return "-".ljust(width)
    return "".join(_SPARKS[min(7, int(7.999 * value / most))] for value in newest).rjust(width)


def number(value: float | None, digits: int = 1) -> str:
    """Return a figure; `-`: it is not known."""
    return "-" if value is None else f"{value:.{digits}f}"


def clock(wall_s: float) -> str:
    """Return a time of day, of this terminal."""
    return time.strftime("%H:%M:%S", time.localtime(wall_s))


def _harmless(span: Span) -> Span:
    """Return a span without what a terminal obeys: names and messages come from anybody."""
    return span if span.text.isprintable() else Span(_cut(printable(span.text), len(span.text)), span.style)


def _banner(banner: Banner, wall_s: float, width: int) -> Line:
    text = f" {banner.state}{f': {banner.cause}' if banner.cause else ''}{f'  ({banner.node})' if banner.node else ''}"
    when = f"{clock(wall_s)} "
    return (Span(f"{_cut(text, width - len(when)).ljust(width - len(when))}{when}", _BANNERS[banner.state]),)


def _model_line(picture: Picture, chosen: str, width: int) -> Line:
    row = (picture.row(chosen) if chosen else None) or picture.header
    if row is None:
        return (Span(_cut("Model: -  (no node with an engine is heard)", width), "bold"),)
    model = f"{row.model or '-'} + {(row.precision or '-').upper()} | FPS {number(row.rate_hz)}"
    p50, p99, cpu, gpu = number(row.p50_ms), number(row.p99_ms), number(row.cpu_mb, 0), number(row.gpu_mb, 0)
    text = f"Model: {model} | latency {p50} ms p50 / {p99} p99 (n {row.n}) | CPU {cpu} MB | GPU {gpu} MB"
    if len(text) > width:
        text = f"{model} | {p50}/{p99} ms p50/p99 n {row.n} | CPU {cpu} | GPU {gpu} MB"
    return (Span(_cut(text, width), "bold"),)


def _table(picture: Picture, chosen: str, width: int, room: int) -> list[Line]:
    """Return the rows; where there is little room sentences of nodes that are well go first, then the last rows."""
    head: list[Line] = [(Span(_cut(LEGEND, width), "dim"),)]
    title = f"  {'node':<18}{'Hz':>10} {'p50 ms':>7} {'max':>6} {'drops':>6} {'latency':>{_SPARK}} where the ms go"
    head.append((Span(_cut(title, width), "dim"),))
    if picture.waiting:
        return [*head, (), *((Span(f"  {part}"),) for part in _wrapped(picture.waiting, width - 2))]
    blocks = [_block(row, width, row.name == chosen) for row in picture.rows]
    machine: list[Line] = []
    for cause in picture.machine:
        machine += [
            (Span(_cut(f"! {cause.text}", width), "yellow"),),
            (Span(_cut(f"    $ {cause.fix}", width), "dim"),),
        ]
    wanted = room - len(head) - len(machine)
    for place in range(len(blocks) - 1, -1, -1):
        if sum(map(len, blocks)) > wanted and picture.rows[place].level == "ok":
            blocks[place] = blocks[place][:1]
    for place in range(len(blocks) - 1, 0, -1):
        if sum(map(len, blocks)) > wanted:
            blocks[place] = blocks[place][:2] if len(blocks[place]) > 2 else blocks[place][:1]
    lines = [line for block in blocks for line in block]
    if len(lines) > wanted:
        hidden = sum(len(lines[:wanted]) <= place for place in _starts(blocks))
        lines = [*lines[: wanted - 1], (Span(f"  ... {hidden + 1} more nodes: make the window higher", "dim"),)]
    return [*head, *machine, *lines]


def _starts(blocks: Sequence[Sequence[Line]]) -> list[int]:
    starts, at = [], 0
    for block in blocks:
        starts.append(at)
        at += len(block)
    return starts


def _block(row: Row, width: int, is_chosen: bool) -> list[Line]:
    mark, style = _MARKS[row.level]
    rate = f"{number(row.rate_hz)}{f'/{row.expected_hz:g}' if row.expected_hz else ''}"
    drops = "-" if row.drops is None else str(row.drops)
    name = f"{_cut(row.name, 17):<18}"
    first: Line = (
        Span(f"{mark} ", style),
        Span(name, f"reverse {style}" if is_chosen else style),
        Span(f"{rate:>10} {number(row.p50_ms):>7} {_short(row.max_ms):>6} {drops:>6} "),
        Span(spark(row.sparks_ms), "cyan"),
        Span(" "),
        *bar(row.stages_ms, max(_BAR, min(40, width - 64))),
    )
    lines: list[Line] = [first, (Span(_cut(f"    {row.cause.text}", width), "" if row.level == "ok" else style),)]
    if row.cause.fix and row.level != "ok":
        lines.append((Span(_cut(f"    $ {row.cause.fix}", width), "dim"),))
    return lines


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def _events(picture: Picture, width: int) -> list[Line]:
    newest = picture.events[-_EVENTS:]
    lines: list[Line] = [(Span(_cut(f"{clock(e.wall_s)} {e.line}", width)),) for e in newest]
    return [(Span("-" * width, "dim"),), *lines, *([()] * (_EVENTS - len(lines)))]


def _caption(picture: Picture, width: int) -> Line:
    newest = picture.captions[-1] if picture.captions else ""
    return (Span(_cut(f'caption: "{newest}"' if newest else "caption: -", width), "italic"),)


def _hint(picture: Picture, hint: str, width: int) -> Line:
    text = hint or (f"log: {picture.log[-1]}" if picture.log else "log: -")
    return (Span(_cut(text, width), "bold" if hint else "dim"),)


def _padded(lines: list[Line], room: int) -> list[Line]:
    return [*lines[:room], *([()] * (room - len(lines)))]


def _cut(text: str, width: int) -> str:
    """Return what fits: whole words, so that no figure is shown in part, and how often it came."""
    if len(text) <= width:
        return text
    often = found[0] if (found := _OFTEN.search(text)) and len(found[0]) < width // 2 else ""
    room = width - 1 - len(often)
    at = text.rfind(" ", 0, room + 1)
    return f"{text[: at if at > room // 2 else room]}…{often}"


def _wrapped(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for part in text.split():
        if line and len(line) + 1 + len(part) > width:
            lines.append(line)
            line = part
        else:
            line = f"{line} {part}".strip()
    return [*lines, line]
