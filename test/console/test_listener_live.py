"""What the console hears of a real graph: a frozen stamp, two nodes of one name, and what was said before it came."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import rclpy
from sensor_msgs.msg import JointState
from support.processes import Ros, wait_until

from perf_inference.console.causes.cause import Cause
from perf_inference.measure.heartbeat import Heartbeat
from perf_inference.measure.ledger import Ledger
from perf_inference.nodes.console.listener import Listener
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import HeartbeatPublisher, Report
from perf_inference.nodes.ros.subscription import Input


@pytest.fixture
def listener(ros: Ros) -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def _causes(listener: Listener, node: str) -> list[Cause]:
    row = listener.look().row(node)
    return [] if row is None else [row.cause, *row.others]


def test_joint_states_that_go_on_with_the_same_stamp_are_named(ros: Ros, listener: Listener) -> None:
    joints = Input(ros.node, JointState, "joint_states", lambda arrival: None, Ledger())
    beats = HeartbeatPublisher(
        ros.node, lambda: Report(OK, "running", Heartbeat(inputs={"joint_states": joints.state()}).as_values())
    )
    publisher = ros.node.create_publisher(JointState, "joint_states", 10)
    stamped = JointState(name=["elbow"], position=[0.5])
    stamped.header.stamp = ros.node.get_clock().now().to_msg()

    def is_told(kind: str, new: bool) -> bool:
        if new:
            stamped.header.stamp = ros.node.get_clock().now().to_msg()
        publisher.publish(stamped)
        found = [cause for cause in _causes(listener, beats.name) if cause.kind == kind]
        return bool(found) and "/joint_states" in found[0].text

    assert ros.spin_until(lambda: is_told("frozen", new=False))
    assert ros.spin_until(lambda: not is_told("frozen", new=True))
    ros.node.destroy_publisher(publisher)
    assert ros.spin_until(
        lambda: any("nobody publishes on it any more" in cause.text for cause in _causes(listener, beats.name))
    )
    beats.cancel()


def test_two_nodes_of_one_name_in_the_graph_are_named(ros: Ros, listener: Listener) -> None:
    twins = [rclpy.create_node("twin", context=ros.node.context) for _ in range(2)]
    assert wait_until(lambda: any("2 nodes of the graph are named /twin" in c.text for c in listener.look().machine))
    twins[0].destroy_node()
    assert wait_until(lambda: not listener.look().machine)
    twins[1].destroy_node()


def test_what_was_said_before_it_came_is_heard_with_its_age(ros: Ros) -> None:
    said = HeartbeatPublisher(ros.node, lambda: Report(OK, "running", {}))
    said.cancel()
    for _ in range(4):
        said.beat()
    time.sleep(0.5)  # of silence, that a console which comes later is to know of
    began_s, late = time.monotonic(), Listener()
    try:
        assert wait_until(lambda: bool(late.look().rows))
        beats = late.with_watch(lambda watch: list(watch.nodes[said.name].beats))
        assert all(beat.heard_s <= began_s for beat in beats)  # it was silent already
        assert wait_until(lambda: late.with_watch(lambda watch: len(watch.nodes[said.name].beats)) == 4)
        said.beat()
        assert wait_until(lambda: late.with_watch(lambda watch: len(watch.nodes[said.name].beats)) == 5)

        def is_whole() -> bool:
            said.beat()
            return late.is_whole()

        assert wait_until(is_whole)
    finally:
        late.close()
