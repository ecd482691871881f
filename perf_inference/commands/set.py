"""perf-inference set: change a parameter of a running node, wait until it is in force, and say what is."""

from __future__ import annotations

import argparse

from perf_inference.commands.call import INTERRUPTED, add_peer_arguments
from perf_inference.console import values
from perf_inference.printable import OUTSIDE, printable

NEEDS_ROS = True
_SWAP_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("node", metavar="NODE", help="name of the node, with or without its namespace")
    parser.add_argument("parameter", metavar="PARAMETER", help="name of the parameter")
    parser.add_argument("value", nargs="+", metavar="VALUE",
                        help="what it is to be; of a list its elements, a word each, or [a, b]")  # fmt: skip
    add_peer_arguments(parser, _SWAP_S)


def run(options: argparse.Namespace) -> int:
    """Set it; return 0, or 1 where it was refused or could not be brought into force."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from perf_inference.nodes.console.peer import Peer

    peer = Peer(options.namespace)
    try:
        node = peer.node_named(options.node, options.timeout)
        peer.set_words(node, options.parameter, options.value, options.timeout)
        done, said = True, ""
        if peer.swaps(node, [options.parameter]):
            done, said = peer.swapped(node, options.timeout)
        in_force = peer.values_of(node, [options.parameter], options.timeout)[options.parameter]
    finally:
        peer.close()
    name = f"{printable(node.strip('/'), OUTSIDE)}: {printable(options.parameter, OUTSIDE)}"
    print(f"{name} is {values.text(in_force)}{f'; {said}' if said else ''}", flush=True)
    return 0 if done else 1
