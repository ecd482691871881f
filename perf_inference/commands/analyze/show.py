"""The figures of a recorded run: printed once, or again and again while it is written."""

from __future__ import annotations

import argparse
import os
import sys
import time

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from perf_inference.bringup.stop_signal import StopFlag
from perf_inference.commands.analyze.text import live_line, live_table, run_text, segment_text
from perf_inference.errors import RecordingError
from perf_inference.printable import printable
from perf_inference.recording.analysis.analysis import RunAnalysis
from perf_inference.recording.analysis.open import open_recording
from perf_inference.recording.analysis.run_reader import RunReader
from perf_inference.recording.analysis.segment_reader import SegmentReader
from perf_inference.report.page import check_page
from perf_inference.report.report import write_report

_REFRESH_S, _POLL_S = 1.0, 0.05
_SHARE = 4  # working out the figures may take one part in so many of the time


def show(options: argparse.Namespace) -> int:
    """Print the figures; status 0, also after Ctrl-C of --follow; 1 if there is nothing to analyse."""
    stop = StopFlag() if options.follow else None
    reader = open_recording(options.source, options.follow)
    if options.html is not None:
        if isinstance(reader, SegmentReader):
            raise RecordingError(f"--html is made of a run's timings, but {options.source} is a segment of topics")
        check_page(options.html)
    try:
        return _analyse(reader, options, stop)
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _analyse(reader: RunReader | SegmentReader, options: argparse.Namespace, stop: StopFlag | None) -> int:
    if stop is not None:
        _follow(reader, stop, quiet=options.json)
    else:
        while reader.poll():
            pass
    reader.finish()
    result = reader.result()
    if isinstance(result, RunAnalysis) and not result.nodes and stop is None:
        raise RecordingError(
            f"{options.source} has no inference: of its {result.lines.lines} lines {result.lines.damaged} are damaged "
            f"and {result.lines.foreign} are no timings; --follow waits for the first one"
        )
    if options.html is not None and isinstance(result, RunAnalysis):
        write_report(options.html, result)
    if options.json:
        print(orjson.dumps(result.as_dict(), option=orjson.OPT_INDENT_2).decode(), flush=True)
    else:
        print(run_text(result) if isinstance(result, RunAnalysis) else segment_text(result), flush=True)
        if options.html is not None:
            print(f"\nreport: {printable(options.html)}", flush=True)
    return 0


def _follow(reader: RunReader | SegmentReader, stop: StopFlag, quiet: bool) -> None:
    """Read on and show the state about once a second until a signal comes."""
    console = Console()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal and not quiet else None
    shown_s, pause_s, news = time.monotonic(), 0.0, True
    if live is not None:
        live.start()
    elif not quiet:
        print(f"perf-inference analyze: following {printable(reader.source)}; Ctrl-C ends it", flush=True)
    try:
        while not stop:
            came = reader.poll()
            news = news or came > 0
            begun_s = time.monotonic()
            if news and not quiet and begun_s - shown_s >= pause_s:
                _show(reader, live)
                shown_s, news = time.monotonic(), False
                pause_s = max(_REFRESH_S, _SHARE * (shown_s - begun_s))
            if not came:
                time.sleep(_POLL_S)
        reader.poll()  # what came with the signal
    finally:
        if live is not None:
            live.stop()


def _show(reader: RunReader | SegmentReader, live: Live | None) -> None:
    result = reader.result()
    if not isinstance(result, RunAnalysis):
        text = f"{result.records} messages of {len(result.topics)} topics, {result.missing} missing by seq"
        _say(live, text)
    elif not result.nodes:
        _say(live, f"waiting for the first inference in {printable(reader.source)}")
    elif live is None:
        print(live_line(result), flush=True)
    else:
        hz = "-" if result.average_hz is None else f"{result.average_hz:.2f} Hz"
        state = f"{result.elapsed_s:.1f} s, {result.total_actions} actions, {hz}; Ctrl-C ends and prints all figures"
        live.update(Group(live_table(result), Text(state, style="dim")), refresh=True)


def _say(live: Live | None, text: str) -> None:
    if live is None:
        print(text, flush=True)
    else:
        live.update(Text(text), refresh=True)
