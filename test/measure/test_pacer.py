"""Ticks on the steady clock, and inputs, that know when they were due."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from std_msgs.msg import String
from support.processes import Ros

from perf_inference.measure.clocks import Clocks
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.ros import pacer
from perf_inference.nodes.ros.pacer import Pacer
from perf_inference.nodes.ros.subscription import HAS_MESSAGE_INFO, Input

MS = 1_000_000
SYSTEM_OFFSET_NS = 1_700_000_000_000_000_000


@pytest.fixture
def late_ms(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Say by how much each tick of a 100 Hz pacer is late [ms], when its timer comes at these times."""

    def late(*ticks_ms: float) -> list[float]:
        now_ns = 0
        monkeypatch.setattr(pacer, "CLOCKS", Clocks(lambda: now_ns, lambda: now_ns + SYSTEM_OFFSET_NS))
        arrivals: list[Arrival] = []
        paced = Pacer(ros.node, 100.0, arrivals.append)
        paced.cancel()  # the timer's callback is called by hand
        for tick_ms in ticks_ms:
            now_ns = round(tick_ms * MS)
            paced._on_time()
        return [(a.received_ns - (a.due_ns or 0)) / MS for a in arrivals]

    return late


def test_a_late_tick_is_late_however_much_and_the_next_one_is_not(late_ms: Callable[..., list[float]]) -> None:
    #                due   0  10  20    30  40
    assert late_ms(0, 10, 27, 30, 40) == [0, 0, 7, 0, 0]
    # the tick due at 20 comes at 55, once for those of 20, 30, 40 and 50
    assert late_ms(0, 10, 55, 60, 70) == [0, 0, 35, 0, 0]
    # so late that the next one is due at once: both come
    assert late_ms(0, 10, 29.9, 30, 40) == [0, 0, 9.9, 0, 0]


def test_the_grid_moves_to_the_earliest_tick(late_ms: Callable[..., list[float]]) -> None:
    # The first callback itself was held up by 0.3 ms; those after it are not early for that.
    assert late_ms(0.3, 10, 20, 30.5) == [0, 0, 0, 0.5]


def test_ticks_of_a_real_timer_are_hardly_late(ros: Ros) -> None:
    arrivals: list[Arrival] = []
    paced = Pacer(ros.node, 100.0, arrivals.append)
    assert ros.spin_until(lambda: len(arrivals) >= 30)
    paced.cancel()
    late = sorted(a.received_ns - (a.due_ns or 0) for a in arrivals)
    assert late[0] >= 0
    assert late[15] < 5 * MS


@pytest.mark.skipif(not HAS_MESSAGE_INFO, reason="this ROS 2 gives no sequence numbers")
def test_a_restarted_publisher_is_not_late_by_its_silence(ros: Ros) -> None:
    arrivals: list[Arrival] = []
    source = Input(ros.node, String, "text", arrivals.append, Ledger(), 10, expected_hz=100.0)
    for _ in range(2):
        publisher = ros.node.create_publisher(String, "text", 10)
        assert ros.spin_until(lambda: ros.node.count_publishers("text") == 1)
        assert ros.spin_until(lambda p=publisher: p.get_subscription_count() == 1)
        first = len(arrivals)
        publisher.publish(String(data="a"))
        assert ros.spin_until(lambda n=first: len(arrivals) > n)
        ros.node.destroy_publisher(publisher)
        assert ros.spin_until(lambda: ros.node.count_publishers("text") == 0)
        ros.spin_until(lambda: (source.age_s() or 0) > 0.2)
    assert [a.received_ns - (a.due_ns or 0) for a in arrivals] == [0, 0]
    assert source.ledger.snapshot().lost_before == 0
