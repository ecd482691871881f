"""Observations of `source: tf`: where one frame is in another, where tf2_ros is installed."""

from __future__ import annotations

import importlib
import importlib.util
import threading

from rclpy.node import Node
from rclpy.time import Time

from perf_inference.errors import ConfigError, InputError
from perf_inference.nodes.reports.messages import stamp_ns
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.observing.observer import Observer


class Transforms:
    """Looks the frames up at the contract's rate, and adds each newer transform to the observer."""

    def __init__(
        self, node: Node, contract: Contract, observer: Observer, lock: threading.Lock, rate_hz: float
    ) -> None:
        """Listen, if the contract has such observations.

        Raises:
            ConfigError: it has, and tf2_ros is not installed.
        """
        self._terms = [(i, term) for i, term in enumerate(contract.observations) if term.source == "tf"]
        if not self._terms:
            return
        if importlib.util.find_spec("tf2_ros") is None:
            raise ConfigError(
                f"{contract.where}: observations of source tf need tf2_ros, which is not installed here; install or "
                "source geometry2, or publish the pose on a topic"
            )
        tf2 = importlib.import_module("tf2_ros")
        self._observer, self._lock, self._newest_ns = observer, lock, dict.fromkeys((i for i, _ in self._terms), 0)
        self._buffer, self._error = tf2.Buffer(), tf2.TransformException
        self._listener = tf2.TransformListener(self._buffer, node)
        self._node = node
        self._timer = node.create_timer(1 / rate_hz, self._look)

    def _look(self) -> None:
        for place, term in self._terms:
            target, source = term.frames
            try:
                found = self._buffer.lookup_transform(target, source, Time())
                ns = stamp_ns(found.header.stamp) or self._node.get_clock().now().nanoseconds  # a fixed one has none
                if ns > self._newest_ns[place]:
                    self._newest_ns[place] = ns
                    with self._lock:
                        self._observer.add(place, ns, found.transform)
            except (self._error, InputError) as error:
                self._node.get_logger().warning(f"{source} in {target}: {error}", throttle_duration_sec=5.0)
