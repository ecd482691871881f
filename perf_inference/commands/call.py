"""perf-inference call: ask a running graph for one thing, without any ROS tools."""

from __future__ import annotations

import argparse
import math

from perf_inference.console.calls import CALLS
from perf_inference.errors import CallError
from perf_inference.printable import printable

NEEDS_ROS = True
_ANSWER_S = 30.0
INTERRUPTED = 130  # by Ctrl-C, as a shell counts it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    said = "; ".join(f"{name}: {call.does}" for name, call in CALLS.items())
    parser.add_argument("what", choices=tuple(CALLS), metavar="WHAT", help=said)
    parser.add_argument("text", nargs="*", metavar="TEXT", help="what is to be said, with say")
    add_peer_arguments(parser)
    parser.add_argument("--node", default="", help="which one, where several nodes offer it")


def add_peer_arguments(parser: argparse.ArgumentParser, answer_s: float = _ANSWER_S) -> None:
    """Add where to look, and for how long to wait."""
    parser.add_argument("--namespace", default="", help="look only in this namespace")
    parser.add_argument("--timeout", type=waiting_s, default=answer_s, metavar="S",
                        help=f"wait for an answer at most so long [s] (default: {answer_s:g})")  # fmt: skip


def waiting_s(text: str) -> float:
    """Return a time to wait [s]; raise ArgumentTypeError unless it is one."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, a day at most, got '{text}'")
    return value


def run(options: argparse.Namespace) -> int:
    """Ask; print what the service says; return 0, or 1 where it was not done."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    if options.text and options.what != "say":
        raise CallError(f"call {options.what} takes no text, got '{printable(' '.join(options.text), 80)}'; leave it "
                        "out")  # fmt: skip
    from perf_inference.nodes.console.peer import Peer

    peer = Peer(options.namespace)
    try:
        if options.text:
            print(peer.say(" ".join(options.text), options.timeout), flush=True)
            return 0
        answers = peer.call(CALLS[options.what], options.node, options.timeout)
    finally:
        peer.close()
    for node, _, message in answers:
        print(message if len(answers) == 1 else f"{printable(node)}: {message}", flush=True)
    return 0 if all(done for _, done, _ in answers) else 1
