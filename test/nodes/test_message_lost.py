"""What the middleware says of lost messages is counted as far as it can be true."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from std_msgs.msg import String
from support.processes import Ros

from perf_inference.measure.ledger import Ledger
from perf_inference.nodes.ros.subscription import Input


@pytest.mark.parametrize(("changes", "counted"), [((3, 2), 5), ((3, 2**31), 3), ((-1, 4), 4), ((2**31 - 1, 1), 1)])
def test_a_count_that_has_run_over_is_not_counted(ros: Ros, changes: tuple[int, ...], counted: int) -> None:
    ledger = Ledger()
    source = Input(ros.node, String, "words", lambda arrival: None, ledger)
    for change in changes:
        source._message_lost(SimpleNamespace(total_count_change=change))
    assert ledger.snapshot().message_lost == counted
