"""Says that a model takes long to load, where it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.clock import Clock, ClockType

from perf_inference.nodes.lifecycle.managed_node import ManagedNode

_LONG_S = 3.0  # PyTorch on a GPU takes 8 to 15 s, of which its import is half


@contextmanager
def told_where_long(node: ManagedNode, how: str) -> Iterator[None]:
    """Log once what the node is busy with, and how, if it is so for longer than some seconds (ROS thread)."""

    def tell() -> None:
        timer.cancel()
        node.get_logger().info(f"still {node.busy_with} ({how}) after {_LONG_S:g} s")

    timer = node.create_timer(_LONG_S, tell, clock=Clock(clock_type=ClockType.STEADY_TIME))
    try:
        yield
    finally:
        node.destroy_timer(timer)
