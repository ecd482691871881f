"""What every benchmark that listens has: a node of its own in a ROS domain, spun by whoever waits for something."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from perf_inference.nodes.ros.leaving import leave_with


class Collector:
    """A node that subclasses subscribe with."""

    def __init__(self, name: str, domain: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO, domain_id=domain)
        self._node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def spin_until(self, predicate: Callable[[], Any], timeout_s: float) -> bool:
        """Take what comes until the predicate is true; return whether it became so in time."""
        deadline = time.monotonic() + timeout_s
        while not (true := bool(predicate())) and (left_s := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.05))
        return true

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        leave_with(self._node, self._context)
