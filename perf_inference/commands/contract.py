"""perf-inference contract: a policy's contract out of what other projects write beside a policy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NEEDS_ROS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("verb", choices=("from",), help="from SOURCE: write the contract of it")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="a folder of a LeRobot policy or its config.json, Isaac Lab's IO_descriptors.yaml, or rosetta's YAML",
    )
    parser.add_argument(
        "--dataset", metavar="DIR", type=Path,
        help="of LeRobot: the data set that it was trained on, or its meta/info.json: names and frames per second",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it there (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Write the contract; what it leaves open is said on standard error."""
    from perf_inference.files.bounded_yaml import read_yaml
    from perf_inference.files.draft import left_open
    from perf_inference.files.whole import write_whole
    from perf_inference.printable import printable
    from perf_inference.tasks.policy.importing.read import contract_text

    text = contract_text(arguments.source, arguments.dataset)
    if arguments.out is None:
        sys.stdout.write("".join(printable(line) + "\n" for line in text.splitlines()))
    else:
        write_whole(arguments.out, text.encode())
    found = list(left_open(read_yaml(text)))
    for path, sentence in found:
        print(printable(f"{path} is REQUIRED: {sentence}"), file=sys.stderr)
    where = arguments.out or "it"
    hint = f"fill {len(found)} values in, then: perf-inference check {where}" if found else f"{where} is complete"
    print(printable(hint if arguments.out or found else "complete"), file=sys.stderr)
    return 0
