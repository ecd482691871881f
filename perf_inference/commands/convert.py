"""perf-inference convert: a recording from JSON lines to rosbag2, and back."""

from __future__ import annotations

import argparse
import glob
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.errors import RecordingError
from perf_inference.files.private import share_no_more_than
from perf_inference.printable import printable
from perf_inference.recording.bags.target import PARQUET, STORAGES, target_of
from perf_inference.recording.convert import Conversion, convert

NEEDS_ROS = False
EX_PARTLY = 3
"""Exit status: done, but some of the source could not be read, or DST cannot hold it."""

_EX_SIGNAL = {"SIGINT": 130, "SIGTERM": 143}
_MOST_NAMED = 50
_SHOW_EVERY_S = 0.1
_LINE_EVERY_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", metavar="SRC", type=Path, help="a recording: a file or a folder; never written to")
    parser.add_argument(
        "target", metavar="DST", type=Path, help=".jsonl, .mcap or .db3: one file; anything else: a rosbag2 folder"
    )
    parser.add_argument(
        "--to", choices=[PARQUET], help="parquet: DST is a folder of tables, one a topic and one for a run's timings"
    )
    parser.add_argument("--storage", choices=sorted(STORAGES), help="of a rosbag2 folder (default: mcap)")


def run(options: argparse.Namespace) -> int:
    """Convert; return 0, or 3 when some of the source is not in the target. Ctrl-C leaves nothing behind."""
    stop = StopFlag()
    stop.at_once = True
    target = target_of(options.target, options.storage, options.to)
    if not os.path.lexists(options.source) and not glob.has_magic(str(options.source)):
        raise RecordingError(f"source must be a recording or a part of one; there is nothing at '{options.source}'")
    share_no_more_than(options.source)
    try:
        with _Bar() as bar:
            done = convert(options.source, target, bar.show)
    except Stopped:
        say(f"{stop.name}: stopped; nothing is left of '{target.path}'")
        return _EX_SIGNAL[stop.name]
    for text in (*done.remarks, *done.unreadable):
        say(text)
    for text in done.lost[:_MOST_NAMED]:
        say(f"not in '{target.path.name}': {text}")
    if len(done.lost) > _MOST_NAMED:
        say(f"not in '{target.path.name}': {len(done.lost) - _MOST_NAMED} more")
    say(summary(done, target.path))
    return EX_PARTLY if done.unreadable or done.lost else 0


def summary(done: Conversion, path: Path) -> str:
    """Return the closing line."""
    rate = f"{done.messages / done.seconds:.0f} messages/s" if done.seconds else "at once"
    parts = [
        f"{path}: {done.messages} messages of {done.topics} topics, {done.bytes} bytes, {done.seconds:.1f} s ({rate})"
    ]
    undecoded, refused, inexact = done.kept
    if undecoded:
        parts.append(f"{undecoded} as CDR only (type not known)")
    if refused:
        parts.append(f"{refused} as CDR only (not what their type says)")
    if inexact:
        parts.append(f"{inexact} with their CDR beside the fields (padding, spare bytes)")
    if done.unreadable:
        parts.append("not all of the source could be read")
    if done.lost:
        parts.append(f"{len(done.lost)} things that this form cannot hold")
    return "; ".join(parts)


class _Bar:
    """A progress bar on a terminal; a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._next_s = time.monotonic() + (_SHOW_EVERY_S if self._console.is_terminal else _LINE_EVERY_S)
        columns = (TextColumn("convert"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, auto_refresh=False)
        self._task = self._progress.add_task("convert", total=None)

    def __enter__(self) -> _Bar:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def show(self, done: int, expected: int) -> None:
        """Show how far it is."""
        if done & 63 or time.monotonic() < self._next_s:
            return
        if self._console.is_terminal:
            self._next_s = time.monotonic() + _SHOW_EVERY_S
            self._progress.update(self._task, completed=done, total=max(done, expected) or None, refresh=True)
        else:
            self._next_s = time.monotonic() + _LINE_EVERY_S
            say(f"{done} of {expected or 'unknown'} messages")


def say(line: str) -> None:
    """Print one line for people."""
    print(f"perf-inference convert: {printable(line)}", file=sys.stderr, flush=True)
