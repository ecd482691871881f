"""What the demo shows: a table that lives on a terminal, a line every 5 s elsewhere, and the summary."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perf_inference.commands.whole_table import console_of, print_whole, significant
from perf_inference.measure.heartbeat import Beat
from perf_inference.printable import OUTSIDE, printable
from perf_inference.recording.run_directory import summaries_in
from perf_inference.telemetry.window import window_text

if TYPE_CHECKING:
    from perf_inference.nodes.monitor.observer import Observer

_LINE_EVERY_S = 5.0
_REFRESH_S = 0.2
_SEEN = 20  # detections that are shown
_STAMP = re.compile(r"^\[(\w+)\] \[[\d.]+\] \[([^\]]+)\]: ")


class View(Protocol):
    """Shows the run while it goes on."""

    def note(self, line: str) -> None:
        """Show one line for good."""

    def show(self, seen: Observer, elapsed_s: float | None, duration_s: float, episodes: int) -> None:
        """Show the state of now; `elapsed_s` counts from the first action, None before it."""


class PlainView:
    """One line every 5 s, for logs and pipes."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def note(self, line: str) -> None:
        print(printable(_short(line)), flush=True)

    def show(self, seen: Observer, elapsed_s: float | None, duration_s: float, episodes: int) -> None:
        if time.monotonic() < self._next_s:
            return
        self._next_s += _LINE_EVERY_S
        parts = [_progress(seen, elapsed_s, duration_s, episodes)]
        for name, beat in sorted(seen.heartbeats.items()):
            if name in seen.timings:
                rate, p50 = _number(beat.said.rate_hz), _number(beat.said.latency_p50_ms)
                parts.append(f"{printable(name, OUTSIDE)} {rate} Hz p50 {p50} ms drops {seen.dropped[name]}")
            elif beat.message.startswith("loading "):
                parts.append(printable(f"{name} is {beat.message}", OUTSIDE))
        print(" | ".join([*parts, _looks(seen)]), flush=True)


class LiveView:
    """A table that is redrawn in place; notes scroll above it."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._drawn_s = 0.0

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        self._console.print(Text(printable(_short(line))))

    def show(self, seen: Observer, elapsed_s: float | None, duration_s: float, episodes: int) -> None:
        if time.monotonic() - self._drawn_s < _REFRESH_S:
            return
        self._drawn_s = time.monotonic()
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in ("node", "Hz", "p50 ms", "p90 ms", "drops", "state"):
            is_text = column in ("node", "state")
            table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text)
        for name, beat in sorted(seen.heartbeats.items()):
            table.add_row(*map(_text, _row(name, beat, seen)), style=None if beat.ok else "yellow")
        done, total = _done(seen, elapsed_s, duration_s, episodes)
        bar = ProgressBar(total=total, completed=done, width=50)
        looks = Text(_looks(seen))
        self._live.update(
            Group(table, looks, Text(printable(_progress(seen, elapsed_s, duration_s, episodes))), bar), refresh=True
        )


def show_summary(directory: Path | None, seen: Observer) -> None:
    """Print the table of the run, from the recorder's summary and the nodes' last words."""
    console = console_of(120)
    summary = _read_summary(directory)
    title = Text("summary; latency in ms, from the image's stamp to the published result")
    table = Table(title=title, title_justify="left")
    for column in (
        "node",
        "inferences",
        "recorded",
        "Hz",
        "mean",
        "p50",
        "p90",
        "p99",
        "max",
        "drops",
        "lost before",
        "residual",
    ):
        table.add_column(column, justify="left" if column == "node" else "right")
    for name, timing in sorted(seen.timings.items()):
        recorded = summary.get("nodes", {}).get(name, {})
        figures = recorded or timing.as_dict()
        latency = figures["latency_ms"]
        beat = seen.heartbeats.get(name)
        table.add_row(
            _text(name),
            _text(_count(beat.said.inferences if beat else None)),
            _text(_count(recorded.get("inferences"))),
            _number(figures["hz"], digits=2),
            *(significant(latency[key]) for key in ("mean", "p50", "p90", "p99", "max")),
            str(seen.dropped[name]),
            _lost_before(beat),
            _count(beat.said.residual if beat else None),
        )
    print_whole(console, table)
    if clocks := _clocks(summary):
        console.print(Text(printable(clocks)))
    if seen.episode is not None:
        console.print(_text(f"targets reached: {_targets(seen)}"))
    if directory is not None:
        console.print(Text(printable(f"recorded in {directory}")))


def _lost_before(beat: Beat | None) -> str:
    """Return how many messages the transport or the readers' queues lost before the node; a dash: not known."""
    counts = [state.ledger.get("lost_before") for state in beat.said.inputs.values()] if beat else []
    known = [count for count in counts if isinstance(count, int)]
    return str(sum(known)) if known else "-"


def _row(name: str, beat: Beat, seen: Observer) -> tuple[str, ...]:
    said = beat.said
    silent_s = time.monotonic() - beat.heard_s
    state = beat.message if silent_s < 2 else f"silent for {silent_s:.0f} s"
    drops = str(seen.dropped[name]) if name in seen.dropped else _count(said.others.get("dropped"))
    figures = _number(said.rate_hz), significant(said.latency_p50_ms), significant(said.latency_p90_ms)
    return (name, *figures, drops, state)


def _text(value: str) -> Text:
    """Return what somebody on the network wrote: no markup, and nothing that a terminal obeys."""
    return Text(printable(value, OUTSIDE))


def _done(seen: Observer, elapsed_s: float | None, duration_s: float, episodes: int) -> tuple[float, float]:
    if episodes:
        return (seen.episode.finished if seen.episode else 0), episodes
    return min(elapsed_s or 0.0, duration_s), duration_s


def _progress(seen: Observer, elapsed_s: float | None, duration_s: float, episodes: int) -> str:
    if elapsed_s is None:
        return "waiting for the first action"
    done, total = _done(seen, elapsed_s, duration_s, episodes)
    return f"{done:.0f} of {total:.0f} {'episodes' if episodes else 's'}, targets reached {_targets(seen)}"


def _looks(seen: Observer) -> str:
    sees = printable(", ".join(seen.detections[:_SEEN]) or "nothing", OUTSIDE)
    says = f'; says "{printable(seen.caption, OUTSIDE)}"' if seen.caption else ""
    return f"sees {sees}{says}"


def _targets(seen: Observer) -> str:
    episode = seen.episode
    if episode is None or not episode.finished:
        return "0 of 0"
    return f"{episode.reached} of {episode.finished} ({100 * episode.reached / episode.finished:.0f} %)"


def _read_summary(directory: Path | None) -> dict[str, Any]:
    for path in summaries_in(directory) if directory is not None else ():
        try:
            summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            print(f"the summary is not shown: {path} cannot be read: {error}", flush=True)
            break
        return summary
    return {}


def _clocks(summary: dict[str, Any]) -> str:
    """Return the clocks, power and temperature of the time in which the timings were taken, where known."""
    windows = [node["machine"] for node in summary.get("nodes", {}).values() if node.get("machine")]
    if not windows:
        return ""
    window = max(windows, key=lambda w: w["window_s"])
    text = window_text(window)
    return f"measured with {text}" if text else ""


def _number(value: Any, unit: str = "", digits: int = 1) -> str:
    return "-" if not isinstance(value, int | float) else f"{value:.{digits}f}{' ' + unit if unit else ''}"


def _count(value: Any) -> str:
    return str(value) if isinstance(value, int) else "-"


def _short(line: str) -> str:
    """Return a node's log line without its time stamp: `[WARN] yolo_node: ...`."""
    return _STAMP.sub(lambda m: f"{m.group(2)}: " if m.group(1) == "INFO" else f"[{m.group(1)}] {m.group(2)}: ", line)
