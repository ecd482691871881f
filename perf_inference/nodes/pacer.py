"""A timer on the steady clock whose ticks know when they were due."""

from __future__ import annotations

import math
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival


class Pacer:
    """Calls back at a rate with an empty `Arrival`; its due time lies on the grid that the first tick began."""

    def __init__(self, node: Node, rate_hz: float, tick: Callable[[Arrival], None]) -> None:
        self._tick = tick
        self._period_ns = round(1e9 / rate_hz)
        self._first_ns: int | None = None
        self._timer = node.create_timer(1 / rate_hz, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def cancel(self) -> None:
        """Tick no more."""
        self._timer.cancel()

    def _on_time(self) -> None:
        monotonic_ns, system_ns = CLOCKS.pair()
        if self._first_ns is None:
            self._first_ns = monotonic_ns
        # A timer may come a little early, but a late tick is late, however much.
        ticks = math.floor((monotonic_ns - self._first_ns) / self._period_ns + 0.1)
        late_ns = monotonic_ns - (self._first_ns + ticks * self._period_ns)
        self._tick(Arrival(None, monotonic_ns, system_ns, due_ns=system_ns - late_ns))
