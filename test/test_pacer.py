"""When a tick was due, by a real timer."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from conftest import Ros

from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.pacer import Pacer


def test_a_late_first_tick_does_not_make_the_others_late(ros: Ros) -> None:
    # t [ms]  0    200   300  400   600   800
    # due          1          2     3     4
    # called             1    2     3     4       the thread was busy until 300
    ticks: list[Arrival] = []
    pacer = Pacer(ros.node, 5.0, ticks.append)
    threading.Event().wait(0.3)
    assert ros.spin_until(lambda: len(ticks) >= 4, 5)
    pacer.cancel()
    late_ms = [(tick.received_ns - (tick.due_ns or 0)) / 1e6 for tick in ticks]
    assert 95 < late_ms[0] < 200
    dues_ms = [((tick.due_ns or 0) - (ticks[0].due_ns or 0)) / 1e6 for tick in ticks]
    assert dues_ms == pytest.approx([200 * round(due_ms / 200) for due_ms in dues_ms], abs=5)
    assert dues_ms[1] > 100
