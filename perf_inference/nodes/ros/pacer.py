"""A timer on the steady clock whose ticks know when they were due."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival

_EARLY = 10  # a tick within a tenth of its period before its due time is that tick


class Pacer:
    """Calls back at a rate with an empty `Arrival`; its due time lies on the grid that the first tick began.

    A timer that is held up comes once for all the ticks that it missed: it is late by the first of them.
    """

    def __init__(self, node: Node, rate_hz: float, tick: Callable[[Arrival], None]) -> None:
        self._node, self._tick = node, tick
        self._period_ns = round(1e9 / rate_hz)
        self._due_ns: int | None = None  # monotonic, of the next tick
        self._timer = node.create_timer(1 / rate_hz, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def cancel(self) -> None:
        """Tick no more."""
        self._timer.cancel()

    def close(self) -> None:
        """Tick no more, and give the timer back; for a node that goes on."""
        self._timer.cancel()
        self._node.destroy_timer(self._timer)

    def _on_time(self) -> None:
        monotonic_ns, system_ns = CLOCKS.pair()
        late_ns = self._late_ns(monotonic_ns)
        self._tick(Arrival(None, monotonic_ns, system_ns, due_ns=system_ns - late_ns))

    def _late_ns(self, now_ns: int) -> int:
        due_ns, period_ns = self._due_ns, self._period_ns
        if due_ns is None:
            due_ns = now_ns
        elif now_ns < due_ns - period_ns // 2:
            due_ns -= period_ns  # the timer has not skipped this tick after all
        due_ns = min(due_ns, now_ns)  # the first tick was late itself: the grid moves to the earliest
        ahead = (now_ns - due_ns + period_ns // _EARLY) // period_ns
        self._due_ns = due_ns + (1 + ahead) * period_ns
        return now_ns - due_ns
