"""perf-inference nodes: which nodes are heard, what they run, and whether they are well."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import orjson

from perf_inference.commands.call import INTERRUPTED, waiting_s
from perf_inference.console import calls
from perf_inference.console.figures import nodes_lines
from perf_inference.console.picture import Picture
from perf_inference.printable import printable

NEEDS_ROS = True
_HEARD_S, _LOOK_S = 2.5, 0.1  # since the last new node; what is shown has grown by then


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_listening_arguments(parser, 5.0, "wait for a first heartbeat at most so long [s]")


def add_listening_arguments(parser: argparse.ArgumentParser, seconds: float, said: str) -> None:
    """Add where to listen, for how long, and how to print."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--namespace", default="", help="only nodes of this namespace")
    parser.add_argument("--seconds", type=waiting_s, default=seconds, metavar="S",
                        help=f"{said} (default: {seconds:g})")  # fmt: skip


def heard(look: Callable[[], Picture], seconds: float, is_whole: Callable[[], bool]) -> Picture:
    """Return the picture when everybody is heard, or somebody, for so long at most, and for a while nobody new."""
    deadline = time.monotonic() + seconds
    known, changed_s, picture = 0, time.monotonic(), look()
    while (now_s := time.monotonic()) < (changed_s + _HEARD_S if known else deadline):
        if len(picture.rows) != known:
            known, changed_s = len(picture.rows), now_s
        if known and is_whole():
            break
        time.sleep(_LOOK_S)
        picture = look()
    return look()


def run(options: argparse.Namespace) -> int:
    """Print the nodes, the worst first; return 0, or 1 where none is heard."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from perf_inference.nodes.console.listener import Listener

    listener = Listener(options.namespace)
    try:
        picture = heard(listener.look, options.seconds, listener.is_whole)
    finally:
        listener.close()
    if not picture.rows:
        why = calls.no_graph(os.environ.get("ROS_DOMAIN_ID", "0"), options.seconds)
        print(f"perf-inference nodes: {why}", file=sys.stderr)
        return 1
    if options.json:
        print(orjson.dumps(picture.as_dict()["rows"], option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(printable(line) for line in nodes_lines(picture.rows)), flush=True)
    return 0
