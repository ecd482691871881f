"""perf-inference analyze: the figures of a recorded run."""

from __future__ import annotations

import argparse
from pathlib import Path

NEEDS_ROS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="DIR|FILE",
                        help="a run's directory, a performance_timings_*.jsonl or a topics_*.jsonl")  # fmt: skip
    parser.add_argument("--follow", action="store_true", help="go on with a run that is being written; Ctrl-C ends it")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report into one file: charts and tables")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the figures; status 0, also after Ctrl-C of --follow; 1 if there is nothing to analyse."""
    from perf_inference.commands.analyze.show import show  # it takes a while to load

    return show(options)
