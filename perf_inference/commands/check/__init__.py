"""perf-inference check: what a policy's contract would subscribe to and send, and whether a model fits it."""

from __future__ import annotations

import argparse
from pathlib import Path

NEEDS_ROS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "contract", metavar="CONTRACT", nargs="?", help="a YAML file (default: what the model's metadata have)"
    )
    parser.add_argument("--model", metavar="M", help="an embedded model's name, a file, or an address")
    parser.add_argument("--runtime", default="auto", help="of the model (default: what its file is for)")
    parser.add_argument("--python", default="", help="runtime lerobot: the interpreter that has LeRobot")
    parser.add_argument("--architecture", default="", help="of a checkpoint that does not name its own")
    parser.add_argument("--allow-pickle", action="store_true", help="the checkpoint may run code while it is read")


def run(arguments: argparse.Namespace) -> int:
    """Say what it would do; status 0 where it fits, 78 where it does not."""
    from perf_inference.commands.check import fit
    from perf_inference.engines import Options
    from perf_inference.printable import columns, folded, printable

    path = None if arguments.contract is None else Path(arguments.contract)
    options = Options(
        architecture=arguments.architecture, allow_pickle=arguments.allow_pickle, threads=1, python=arguments.python
    )
    width = columns()
    for line in fit.report(path, arguments.model, arguments.runtime, options):
        print("\n".join(folded(printable(line), width)))
    return 0
