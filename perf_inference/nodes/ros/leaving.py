"""Leave the graph; a middleware that hangs meanwhile does not keep the process.

Fast DDS 3.2 waits for ever in `DomainParticipant::set_listener` if another participant leaves at that moment. rclpy
holds the interpreter meanwhile, so neither a thread nor the handler of a signal would run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
from collections.abc import Iterator

import rclpy
import rclpy.utilities
from rclpy.context import Context
from rclpy.node import Node

LEAVE_LIMIT_S = 10.0  # a hundred times what it takes
_STDERR = 2  # of the process: `sys.stderr` may be a notebook's, which is no file


@contextlib.contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """End the process if the middleware takes longer for what is done here [s], and say where it was.

    Nothing else can: rclpy holds the interpreter meanwhile.
    """
    faulthandler.dump_traceback_later(limit_s, exit=True, file=_STDERR)  # from a thread of C
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def leave_with(node: Node, context: Context | None = None) -> None:
    """Destroy a node and its context: only then do others hear that this participant is gone.

    Args:
        context: what the node was made in; None: the process's own.
    """
    with limited(LEAVE_LIMIT_S):
        node.destroy_node()
    leave_the_graph(context)


def leave_the_graph(context: Context | None = None) -> None:
    """Destroy a context: only then do others hear that this participant is gone, and is its shared memory freed."""
    left = context or rclpy.utilities.get_default_context()
    with limited(LEAVE_LIMIT_S):
        rclpy.try_shutdown(context=context)
        gc.collect()  # what holds it in a circle
        left.destroy()
