"""perf-inference console: where the milliseconds go, live, and what fixes it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

from perf_inference import missing
from perf_inference.commands.call import INTERRUPTED, waiting_s
from perf_inference.commands.console.stack import Stack
from perf_inference.commands.nodes import heard
from perf_inference.console import calls
from perf_inference.console.picture import Picture
from perf_inference.console.screen import first_screen, plain
from perf_inference.errors import ConfigError

NEEDS_ROS = True
_HEARD_S = 5.0  # until somebody is heard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--once", action="store_true", help="print one screen as text and end")
    parser.add_argument("--json", action="store_true", help="print what is known as JSON and end")
    parser.add_argument(
        "--up",
        type=Path,
        metavar="CONFIG",
        help="first start the nodes of this file; they go on when the console is left",
    )
    parser.add_argument("--namespace", default="", help="only nodes of this namespace")
    parser.add_argument(
        "--seconds",
        type=waiting_s,
        default=_HEARD_S,
        metavar="S",
        help=f"of --once and --json: wait so long for a first heartbeat (default: {_HEARD_S:g})",
    )


def run(options: argparse.Namespace) -> int:
    """Show it; return 0, or 1 where nothing was heard for --once or --json."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    shown_once = options.once or options.json
    if not shown_once:
        if importlib.util.find_spec("textual") is None:
            raise ConfigError(
                f"the console needs textual: {missing.extra('console')}; without it: perf-inference console --once, "
                "nodes, stats"
            )
        if not sys.stdout.isatty():
            raise ConfigError(
                "the console needs a terminal; for a pipe or a file: perf-inference console --once, or --json"
            )
    stack = Stack(options.up) if options.up is not None else None
    # After it: the import sets this process' transport, which is not what publishers of images get.
    gc.disable()  # a seventh of the start is a search for garbage among modules that stay
    from perf_inference.nodes.console.live import LiveGraph

    graph = LiveGraph(options.namespace, stack.end if stack is not None else lambda: "")
    try:
        if shown_once:
            gc.enable()
            status = _print(heard(graph.look, options.seconds, graph.is_whole), options)
            if stack is not None:
                print(stack.news() or stack.left(), file=sys.stderr)
            return status
        from perf_inference.commands.console.app import ConsoleApp

        gc.freeze()
        gc.enable()
        with _terminal_alone():
            ConsoleApp(graph, stack).run()
    finally:
        graph.close()
    if stack is not None and (told := stack.left()):
        print(told)
    return 0


@contextlib.contextmanager
def _terminal_alone() -> Iterator[None]:
    """Keep what libraries print on standard error off the screen, which Textual draws there."""
    screen, kept = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace"), sys.__stderr__
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    sys.__stderr__ = screen  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stderr__ = kept  # type: ignore[misc]
        os.dup2(screen.fileno(), 2)


def _print(picture: Picture, options: argparse.Namespace) -> int:
    if options.json:
        print(orjson.dumps(picture.as_dict(), option=orjson.OPT_INDENT_2).decode(), flush=True)
    else:
        size = shutil.get_terminal_size((100, 30))
        print(plain(first_screen(picture, size.columns, size.lines - 1)), flush=True)
    if not picture.rows:
        why = calls.no_graph(os.environ.get("ROS_DOMAIN_ID", "0"), options.seconds)
        print(f"perf-inference console: {why}", file=sys.stderr)
    return 0 if picture.rows else 1
