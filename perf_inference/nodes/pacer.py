"""A timer on the steady clock whose ticks know when they were due."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival


class Pacer:
    """Calls back at a rate with an empty `Arrival`; its due time is the timer's own."""

    def __init__(self, node: Node, rate_hz: float, tick: Callable[[Arrival], None]) -> None:
        self._tick = tick
        self._period_ns = round(1e9 / rate_hz)
        self._timer = node.create_timer(1 / rate_hz, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def cancel(self) -> None:
        """Tick no more."""
        self._timer.cancel()

    def _on_time(self) -> None:
        monotonic_ns, system_ns = CLOCKS.pair()
        until_next_ns = self._timer.time_until_next_call()  # None: cancelled meanwhile
        late_ns = 0 if until_next_ns is None else max(0, self._period_ns - until_next_ns)
        self._tick(Arrival(None, monotonic_ns, system_ns, due_ns=system_ns - late_ns))
