"""perf-inference COMMAND."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from perf_inference import missing
from perf_inference._version import VERSION
from perf_inference.bringup.domain import check_domain
from perf_inference.bringup.search_path import leave_working_directory
from perf_inference.bringup.stop_signal import interrupt_safely
from perf_inference.errors import EX_CONFIG, ConfigError, PerfInferenceError
from perf_inference.printable import guard_this_process, printable

COMMANDS = {
    "analyze": "the figures of a recorded run, also while it is written, and a report as one HTML file",
    "bench": "what this machine can do",
    "build": "a model for another runtime or precision, into the cache or a file, and how the precisions compare",
    "call": "ask a running graph: a caption, enable or disable the policy, pause the recorder",
    "check": "what a policy's contract subscribes to and sends, and whether a model fits it",
    "compare": "whether a change made something slower: two commands in pairs, or two result files",
    "contract": "a policy's contract out of a LeRobot folder, Isaac Lab's IO descriptors or rosetta's YAML",
    "completion": 'what a shell needs to complete commands and flags: eval "$(perf-inference completion bash)"',
    "convert": "convert a recording between JSON lines and rosbag2 (MCAP, SQLite), both ways",
    "demo": "the simulated robot with policy, detector and captioner, a live view and a summary",
    "console": "where the milliseconds go, live, and what fixes it; captions, models and the policy by keys",
    "doctor": "what is slow or broken on this machine and in its running graph, why, and how to fix it",
    "nodes": "which nodes are heard, what they run, and whether they are well",
    "predict": "what a model finds in images, a video or a recording, as JSON and drawn",
    "prune": "take units and weights out of a checkpoint, with its score before and after",
    "run": "start the nodes of a ROS parameters file and keep them running",
    "view": "the running graph as one page in a browser of this machine: images, captions, stages, diagnostics",
    "set": "change a parameter of a running node, wait for a swap, and say what is in force",
    "stats": "how long the inferences of a running graph take: mean, percentiles, throughput, memory",
    "recover": "bring every whole line out of a cut or partly overwritten recording, and say what is missing",
}


_TOO_MANY = "unrecognized arguments: "
_NO_CHOICE = re.compile(r"argument (.+?): invalid choice: '?(.*?)'? \(choose from (.*)\)", re.DOTALL)
_EX_PIPE = 128 + signal.SIGPIPE


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line: a name that a shell's pattern found can hold anything."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(_with_what_was_meant(message)))


def _with_what_was_meant(message: str) -> str:
    """Return argparse's sentence on a choice that there is not with the one that is nearest, where one is near."""
    if message.startswith(_TOO_MANY) and any(os.path.exists(word) for word in message.removeprefix(_TOO_MANY).split()):
        return f"{message}: one file or folder more than it takes; a pattern such as runs/* may have found several"
    said = _NO_CHOICE.fullmatch(message)
    near = get_close_matches(said[2], re.findall(r"[\w.-]+", said[3]), n=1) if said else []
    return f"argument {said[1]}: there is no '{said[2]}'; did you mean '{near[0]}'?" if said and near else message


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return _main(given)
    except ModuleNotFoundError as error:
        if not (said := missing.sentence(error)):
            raise
        command = " ".join(word for word in given[:2] if word[:1].isalpha())
        print(f"perf-inference {printable(command)}: {said}", file=sys.stderr)
        return EX_CONFIG


def _main(given: Sequence[str]) -> int:
    parser = _Parser(
        prog="perf-inference", description="Run learned policies, captioners and detectors on a robot, and time them."
    )
    parser.add_argument("--version", action="version", version=f"perf_inference {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = given[0] if given else ""
    command: Any = None
    for name, text in COMMANDS.items():
        below = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == wanted:  # the others' modules are not imported
            command = importlib.import_module(f"perf_inference.commands.{name}")
            command.add_arguments(below)
    if wanted not in COMMANDS and (near := get_close_matches(wanted, COMMANDS)):
        parser.error(f"there is no command '{wanted}'; did you mean '{near[0]}'?")
    options = parser.parse_args(given)
    try:
        if command.NEEDS_ROS and importlib.util.find_spec("rclpy") is None:
            raise ConfigError(missing.NO_ROS)
        if command.NEEDS_ROS:
            check_domain(os.environ)
        status: int = command.run(options)
    except PerfInferenceError as error:
        print(f"perf-inference {options.command}: {printable(error)}", file=sys.stderr)
        return EX_CONFIG if isinstance(error, ConfigError) else 1
    return status


def entry() -> None:
    """Run one command and exit with its status, without the 0.3 s that the interpreter takes to tear down rclpy."""
    guard_this_process()
    leave_working_directory()
    interrupt_safely()
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        print("perf-inference: stopped: nobody reads what it prints any more", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_EX_PIPE)
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    entry()
