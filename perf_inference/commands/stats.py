"""perf-inference stats: how long the inferences of a running graph take."""

from __future__ import annotations

import argparse
import os
import sys
import time

import orjson

from perf_inference.commands.call import INTERRUPTED
from perf_inference.commands.nodes import add_listening_arguments
from perf_inference.console import calls
from perf_inference.console.figures import statistics_lines, statistics_of

NEEDS_ROS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_listening_arguments(parser, 5.0, "listen so long [s]; what the nodes still keep of before is heard too")


def run(options: argparse.Namespace) -> int:
    """Print the statistics; return 0, or 1 where no inference was heard."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from perf_inference.nodes.console.listener import Listener

    listener = Listener(options.namespace)
    try:
        time.sleep(options.seconds)
        heard = bool(listener.look().rows)
        found, lines = listener.with_watch(
            lambda watch: (
                [statistics_of(node) for _, node in sorted(watch.nodes.items()) if node.counted],
                statistics_lines(node for _, node in sorted(watch.nodes.items())),
            )
        )
    finally:
        listener.close()
    if not found:
        why = calls.no_graph(os.environ.get("ROS_DOMAIN_ID", "0"), options.seconds)
        said = "nodes are heard, and no inference of theirs" if heard else why
        print(f"perf-inference stats: {said}", file=sys.stderr)
        return 1
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() if options.json else "\n".join(lines), flush=True)
    return 0
