"""policy_node on a LeRobot policy that another process runs: it drives, and lives on when that process fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from array import array

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from support.fake_lerobot import fake_policy, fake_python
from support.processes import Process, Ros, wait_until
from trajectory_msgs.msg import JointTrajectory

from perf_inference.nodes.reports.reporter import STATUS_QOS

CONTRACT = """
rate_hz: 20
execution: sync
observations:
- {input: observation.state, topic: joint_states, type: sensor_msgs/msg/JointState, names: [left, right]}
- {input: observation.images.front, topic: image, type: sensor_msgs/msg/Image,
   image: {size: [8, 10], colour: rgb, layout: nhwc, dtype: uint8}}
actions:
- {output: action, kind: position, names: [left, right], limits: {lower: -1, upper: 1, velocity: 2}}
"""


class Robot:
    def __init__(self, ros: Ros) -> None:
        self.ros, self.actions = ros, ros.collect(JointTrajectory, "action")
        self.statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        node = ros.node
        self._joints = node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self._images = node.create_publisher(Image, "image", qos_profile_sensor_data)
        node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        now = self.ros.node.get_clock().now().to_msg()
        joints = JointState(name=["left", "right"], position=[0.2, -0.2])
        image = Image(height=8, width=10, encoding="rgb8", step=30, data=array("B", bytes(240)))
        joints.header.stamp = image.header.stamp = now
        self._joints.publish(joints)
        self._images.publish(image)

    def says(self, text: str) -> bool:
        return any(text in status.message for status in self.statuses if status.name == "policy_node")

    def drives(self) -> Any:
        return self.actions and self.actions[-1].points[-1].positions[0] > 0.25


def test_a_process_that_is_killed_stops_the_robot_and_is_started_again(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    folder, robot = fake_policy(tmp_path / "policy"), Robot(ros)
    (tmp_path / "c.yaml").write_text(CONTRACT)
    node = start_node(
        "policy_node", "-p", f"model:={folder}", "-p", f"contract:={tmp_path}/c.yaml", "-p", "enabled:=true",
        "-p", f"python:={fake_python(tmp_path)}", "-p", "tracking_tolerance:=0.0",
    )  # fmt: skip
    assert ros.spin_until(robot.drives), node.output()
    pid = int((folder / "pids").read_text().split()[-1])
    os.kill(pid, signal.SIGKILL)
    assert ros.spin_until(lambda: robot.says("LeRobot's process was killed")), node.output()
    assert ros.spin_until(lambda: len((folder / "pids").read_text().split()) == 2)
    assert node.alive
    del robot.actions[:]
    assert ros.spin_until(robot.drives), node.output()  # again, without anybody's doing
    assert node.stop() == 0
    last = int((folder / "pids").read_text().split()[-1])
    assert wait_until(lambda: not Path(f"/proc/{last}").exists())


@pytest.mark.long
def test_a_policy_without_an_interpreter_is_wrong_configuration(
    start_node: Callable[..., Process], tmp_path: Path
) -> None:
    folder = fake_policy(tmp_path / "policy")
    (tmp_path / "c.yaml").write_text(CONTRACT)
    node = start_node("policy_node", "-p", f"model:={folder}", "-p", f"contract:={tmp_path}/c.yaml")
    assert node.wait() == 78
    assert "needs the parameter python, the absolute path" in node.output()


@pytest.mark.long
def test_a_swap_keeps_the_interpreter_and_allows_the_folder_beside(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    models, robot = tmp_path / "models", Robot(ros)
    models.mkdir(mode=0o700)
    first, second, elsewhere = (fake_policy(path) for path in (models / "a", models / "b", tmp_path / "other" / "c"))
    (tmp_path / "c.yaml").write_text(CONTRACT)
    node = start_node(
        "policy_node", "-p", f"model:={first}", "-p", f"contract:={tmp_path}/c.yaml", "-p", "enabled:=true",
        "-p", f"python:={fake_python(tmp_path)}", "-p", "tracking_tolerance:=0.0",
    )  # fmt: skip
    assert ros.spin_until(robot.drives), node.output()

    def wish(name: str, value: Path | str) -> Any:
        parameters = [Parameter(name, value=str(value)).to_parameter_msg()]
        request = SetParameters.Request(parameters=parameters)
        return ros.call(SetParameters, "policy_node/set_parameters", request).results[0]

    assert not wish("python", "/bin/sh").successful
    assert not wish("model", elsewhere).successful
    assert wish("model", second).successful
    assert ros.call(Trigger, "policy_node/swap_wait", Trigger.Request(), 60).success, node.output()
    del robot.actions[:]
    assert ros.spin_until(robot.drives), node.output()
