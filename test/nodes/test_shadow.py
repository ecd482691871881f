"""Shadow mode over DDS: commands go to `action_shadow`, nothing goes to `action`, and a timing has the difference."""

from __future__ import annotations

import os
import signal
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from support.policy_models import network
from support.processes import Process, Ros
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from perf_inference.nodes.reports.messages import from_key_values, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS

VELOCITIES = """
rate_hz: 20
observations:
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [left, right]}
actions:
- {output: velocity, kind: velocity, names: [left, right], limits: {lower: -3, upper: 3, velocity: 1.5}}
- {output: grip, kind: position, names: [grip], message: Float64MultiArray, topic: gripper,
   limits: {lower: -9, upper: 9}}
"""
CHUNKS = """
rate_hz: 20
observations:
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [left, right]}
actions:
- {output: plan, kind: position, names: [left, right], limits: {lower: -1, upper: 1, velocity: 2}}
"""
HERE = ("left", "right")


class Robot:
    """A robot that somebody else drives: joint states, and commands on `action` while `teleoperator` has a message."""

    def __init__(self, ros: Ros, kind: Any) -> None:
        self.ros, self.kind, self.position = ros, kind, [0.5, 0.25]
        self.teleoperator: Callable[[], Any] | None = None
        self.actions = ros.collect(kind, "action", qos_profile_sensor_data)
        self.shadows = ros.collect(kind, "action_shadow", qos_profile_sensor_data)
        self.grips = ros.collect(Float64MultiArray, "gripper", qos_profile_sensor_data)
        self.shadow_grips = ros.collect(Float64MultiArray, "gripper_shadow", qos_profile_sensor_data)
        self.statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        self.timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
        self._joints = ros.node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self._others: Any = None
        ros.node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        message = JointState(name=list(HERE), position=self.position)
        message.header.stamp = self.ros.node.get_clock().now().to_msg()
        self._joints.publish(message)
        if self.teleoperator is not None:
            self._others = self._others or self.ros.node.create_publisher(self.kind, "action", 10)
            self._others.publish(self.teleoperator())

    def records(self) -> list[dict[str, Any]]:
        return [timing_record(status) for message in list(self.timings) for status in message.status]

    def compared(self) -> list[dict[str, Any]]:
        return [record for record in self.records() if record.get("shadow_compared")]

    def publishers(self, topic: str) -> set[str]:
        """The nodes but the test's own that publish it."""
        return {info.node_name for info in self.ros.node.get_publishers_info_by_topic(f"/{topic}")} - {"test"}

    def says(self, text: str) -> bool:
        own = [status for status in list(self.statuses) if status.name == "policy_node"]
        return bool(own) and text in own[-1].message

    def values(self) -> dict[str, Any]:
        own = [status for status in list(self.statuses) if status.name == "policy_node"]
        return from_key_values(own[-1].values) if own else {}

    def shadow(self, on: bool) -> Any:
        return self.ros.call(SetBool, "policy_node/shadow", SetBool.Request(data=on))


@pytest.fixture
def start(start_node: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    def starter(text: str, outputs: dict, *arguments: str, gain: float) -> Process:
        model = network(tmp_path / "m.onnx", {"joints": (1, 2)}, outputs, gain)
        (tmp_path / "c.yaml").write_text(text)
        return start_node("policy_node", "-p", f"model:={model}", "-p", f"contract:={tmp_path}/c.yaml", *arguments)

    return starter


OUTPUTS = {"velocity": (1, 2), "grip": (1, 1)}


@pytest.mark.parametrize("gate", ["process", pytest.param("inline", marks=pytest.mark.long)])
def test_a_shadow_sends_nothing_and_says_how_far_it_is_from_the_teleoperator(
    ros: Ros, start: Callable[..., Process], gate: str
) -> None:
    robot = Robot(ros, Float64MultiArray)
    node = start(VELOCITIES, OUTPUTS, "-p", "shadow:=true", "-p", f"gate:={gate}", gain=2.0)
    assert ros.spin_until(lambda: bool(robot.shadows) and any(robot.shadows[-1].data)), node.output()  # not enabled
    assert list(robot.shadows[-1].data) == pytest.approx([0.75, 0.75])  # twice the mean of both joints
    assert all(record["shadow_difference"] is None for record in robot.records())  # nobody else sends
    robot.teleoperator = lambda: Float64MultiArray(data=array("d", [0.5, -1.0]))
    assert ros.spin_until(lambda: len(robot.compared()) > 5), node.output()
    record = robot.compared()[-1]
    assert record["shadow_difference.left"] == pytest.approx(0.75 - 0.5, abs=1e-6)
    assert record["shadow_difference.right"] == pytest.approx(0.75 + 1.0, abs=1e-6)
    assert record["shadow_difference"] == pytest.approx(1.75, abs=1e-6)
    assert record["shadow_sent"] == record["shadow_compared"] == 1
    assert 0 <= record["shadow_other_age_ms"] <= 300
    # the teleoperator's commands, all of them and nothing else
    assert {tuple(message.data) for message in robot.actions} == {(0.5, -1.0)}
    assert robot.publishers("action") == robot.publishers("gripper") == set()
    assert ros.spin_until(lambda: bool(robot.shadow_grips))
    assert robot.grips == []
    assert ros.spin_until(lambda: robot.says("shadow: driving")), robot.statuses[-1]  # nobody else bars it

    robot.teleoperator = None
    assert ros.spin_until(lambda: robot.records()[-1]["shadow_difference"] is None)  # too old to be compared with
    answer = robot.shadow(False)
    assert answer.success
    assert "disabled until" in answer.message
    del robot.actions[:]
    assert ros.spin_until(lambda: len(robot.actions) > 5), node.output()
    assert not any(any(message.data) for message in robot.actions)  # disabled: the safe action
    owners = {"policy_node", "policy_node_gate"} if gate == "process" else {"policy_node"}
    assert ros.spin_until(lambda: robot.publishers("action") == owners)
    assert robot.publishers("action_shadow") == set()
    enable = SetBool.Request(data=True)  # refused for a second after somebody else's last command
    assert ros.spin_until(lambda: ros.call(SetBool, "policy_node/enable", enable).success), node.output()
    assert ros.spin_until(lambda: any(robot.actions[-1].data)), node.output()
    assert ros.spin_until(lambda: bool(robot.grips))
    assert ros.spin_until(lambda: "shadow_difference" not in robot.records()[-1])

    assert robot.shadow(True).success  # while it drives: it is stopped first
    del robot.shadows[:]
    assert ros.spin_until(lambda: len(robot.shadows) > 3 and robot.publishers("action") == set()), node.output()
    assert not any(robot.actions[-1].data)  # the last that it sent there
    seen = len(robot.actions)
    assert ros.spin_until(lambda: len(robot.shadows) > 10)
    assert len(robot.actions) == seen


@pytest.mark.long
def test_chunks_in_shadow_differ_by_what_their_steps_do(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Robot(ros, JointTrajectory)
    node = start(CHUNKS, {"plan": (1, 16, 2)}, "-p", "enabled:=true", gain=1.0)
    assert ros.spin_until(lambda: bool(robot.actions)), node.output()
    assert robot.shadow(True).success
    point = JointTrajectoryPoint(positions=[0.125, -0.25])
    robot.teleoperator = lambda: JointTrajectory(joint_names=["right", "left"], points=[point])
    assert ros.spin_until(lambda: robot.publishers("action") == set())
    del robot.actions[:]
    assert ros.spin_until(lambda: len(robot.compared()) > 3), node.output()
    shadows = {tuple(message.points[0].positions) for message in robot.shadows}
    for record in robot.compared():
        if record["shadow_difference.left"] is not None:
            ours = (record["shadow_difference.left"] - 0.25, record["shadow_difference.right"] + 0.125)
            assert min(max(abs(a - b) for a, b in zip(ours, one, strict=True)) for one in shadows) < 1e-6
    assert max(record["shadow_sent"] for record in robot.compared()) > 1  # steps of one answer
    assert all(tuple(message.points[0].positions) == (0.125, -0.25) for message in robot.actions)


@pytest.mark.long
def test_the_gate_that_is_started_again_is_in_shadow(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Robot(ros, Float64MultiArray)
    node = start(VELOCITIES, OUTPUTS, gain=2.0)
    assert ros.spin_until(lambda: robot.says("disabled: safe action")), node.output()
    assert ros.spin_until(lambda: robot.publishers("action") == {"policy_node", "policy_node_gate"})
    assert robot.shadow(True).success
    assert ros.spin_until(lambda: robot.publishers("action") == set())
    del robot.actions[:]
    pids = [int(p) for p in os.listdir("/proc") if p.isdecimal() and _is_gate_of(int(p), node.pid)]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    node.wait_for("another one is started")
    del robot.shadows[:]
    assert ros.spin_until(lambda: len(robot.shadows) > 20 and any(robot.shadows[-1].data), 60), node.output()
    assert robot.actions == []


def _is_gate_of(pid: int, policy: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return f"--policy\0{policy}:".encode() in file.read()
    except OSError:
        return False
