"""The newest camera image, for nodes that look when they need to and not at every image."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.mailbox import Mailbox
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.converter import Converter
from perf_inference.nodes.images.encodings import SIXTEEN
from perf_inference.nodes.images.image_input import image_input
from perf_inference.nodes.images.reliability import AUTO


class SeenImage(NamedTuple):
    """A decoded image with its arrival."""

    bgr: NDArray[np.uint8]
    arrival: Arrival

    def seen_ns(self, now_ns: int) -> int:
        """Return when it was taken, in the clock of `now_ns`; where it carries no stamp, when it came [ns]."""
        return self.arrival.stamp_ns or now_ns - (CLOCKS.monotonic_ns() - self.arrival.arrived_ns)


class LatestImage:
    """A subscription to `image` of which only the newest image is kept; each look counts in its ledger."""

    def __init__(
        self,
        node: Node,
        transport: str,
        unreadable: Callable[[InputError], None],
        arrived: Callable[[Arrival], None] = lambda arrival: None,
        bits: int = SIXTEEN,
        reliability: str = AUTO,
        own_thread: bool = False,
    ) -> None:
        """Subscribe; `arrived` is called for each message, not decoded yet, or else `unreadable` (ROS thread, or with
        `own_thread` the input's own)."""
        self.ledger, self._arrived = Ledger(), arrived
        self._mailbox: Mailbox[Arrival] = Mailbox(self.ledger)
        self._last: SeenImage | None = None
        self._converter = Converter(bits, node.get_logger().warning)  # it leaves the last image as it is
        self.input = image_input(
            node, transport, self._put, unreadable, self.ledger, reliability=reliability, own_thread=own_thread
        )

    def _put(self, arrival: Arrival) -> None:
        self._mailbox.put(arrival)
        self._arrived(arrival)

    def forget(self) -> None:
        """Show none that has come so far."""
        if self._mailbox.take(timeout_s=0) is not None:
            self._mailbox.done("ignored")
        self._last = None

    def look(self) -> SeenImage:
        """Return the newest image, the same as last time if none has come since (worker thread).

        Raises:
            InputError: none has come yet, or the newest one is malformed.
        """
        taken = self._mailbox.take(timeout_s=0)
        if taken is not None:
            arrival = taken[0]
            try:
                self._last = SeenImage(self._converter.bgr(arrival.message), arrival)
            except Exception:
                self._mailbox.done("rejected")
                raise
            self._mailbox.done("processed")
        if self._last is None:
            raise InputError(f"no image has come on {self.input.topic} yet; remap `image` to the camera's topic")
        return self._last
