"""Somebody else commands the robot, or says where its joints are: the policy says so, as long as messages come."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from support.processes import Process, Ros

from perf_inference.nodes.reports.messages import WARN, level
from perf_inference.nodes.reports.reporter import STATUS_QOS
from perf_inference.nodes.ros.endpoint import UNKNOWN

Start = Callable[..., Process]
ELSEWHERE = "somebody else publishes on /action: /intruder ("
TWICE = "2 publishers send the same joints on /joint_states: "


class Intruder:
    """A node of its own, in a participant of its own, that sends what it is given 50 times a second."""

    def __init__(self, ros: Ros, kind: Any, topic: str, message: Any) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("intruder", context=self._context)
        self._publisher = self._node.create_publisher(kind, topic, 10)
        self._message, self.sends = message, True
        self._timer = ros.node.create_timer(0.02, self._send)
        self._ros = ros

    def _send(self) -> None:
        if self.sends:
            self._publisher.publish(self._message)

    def close(self) -> None:
        self._ros.node.destroy_timer(self._timer)
        self._node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def intrude(ros: Ros) -> Any:
    made: list[Intruder] = []

    def make(kind: Any, topic: str, message: Any) -> Intruder:
        made.append(Intruder(ros, kind, topic, message))
        return made[-1]

    yield make
    for intruder in made:
        intruder.close()


@pytest.fixture
def beats(ros: Ros) -> list[DiagnosticStatus]:
    return ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)


def said(beats: list[DiagnosticStatus], text: str) -> bool:
    return bool(beats) and text in beats[-1].message and level(beats[-1]) == WARN


def test_another_sender_of_actions_is_a_warning_while_it_sends(
    ros: Ros, beats: list[DiagnosticStatus], start_node: Start, intrude: Any
) -> None:
    policy = start_node("policy_node")
    assert ros.spin_until(lambda: len(beats) > 3, 20), policy.output()
    assert not any("somebody else" in beat.message for beat in beats), "its own actions are its own"
    other = intrude(Float64MultiArray, "action", Float64MultiArray(data=array("d", [1.0, 1.0])))
    assert ros.spin_until(lambda: said(beats, ELSEWHERE), 20), policy.output()
    policy.wait_for("somebody else publishes on /action")  # its name may come after its first messages
    other.sends = False  # it stays matched, as one that was killed does for 20 s
    assert ros.spin_until(lambda: "nobody else sends" in policy.output(), 30), policy.output()
    assert ros.spin_until(lambda: "somebody else" not in beats[-1].message, 20)
    assert policy.output().count("somebody else publishes on /action") == 1, "said once"


def test_a_second_policy_of_the_same_name_is_noticed(
    ros: Ros, beats: list[DiagnosticStatus], start_node: Start
) -> None:
    policies = [start_node("policy_node"), start_node("policy_node")]
    # Its name may come after its messages. And the one that notices first sends no more: the other may hear nothing.
    lines = [f"somebody else publishes on /action: {who} (" for who in ("/policy_node_gate", UNKNOWN)]
    assert ros.spin_until(lambda: any(line in policy.output() for line in lines for policy in policies), 30), policies[
        0
    ].output()


def test_two_who_send_the_same_joints(ros: Ros, beats: list[DiagnosticStatus], start_node: Start, intrude: Any) -> None:
    policy = start_node("policy_node")
    here = JointState(name=["elbow", "shoulder"], position=[0.0, 0.0], velocity=[0.0, 0.0])
    intrude(JointState, "joint_states", here)
    intrude(JointState, "joint_states", JointState(name=["gripper"], position=[0.0], velocity=[0.0]))
    assert ros.spin_until(lambda: len(beats) > 6, 20), policy.output()
    assert not any("same joints" in beat.message for beat in beats)
    intrude(JointState, "joint_states", JointState(name=["shoulder"], position=[3.0]))
    assert ros.spin_until(lambda: said(beats, TWICE), 20), policy.output()


def test_a_malformed_message_does_not_blind_it(
    ros: Ros, beats: list[DiagnosticStatus], start_node: Start, intrude: Any
) -> None:
    policy = start_node("policy_node")
    good = JointState(name=["elbow", "shoulder"], position=[0.0, 0.0], velocity=[0.0, 0.0])
    intrude(JointState, "joint_states", serialize_message(good)[:-9])
    for _ in range(2):
        intrude(JointState, "joint_states", good)
    assert ros.spin_until(lambda: said(beats, TWICE), 30), policy.output()
