"""Managed nodes under `ros2 lifecycle`, `ros2 param` and launch's LifecycleNode, where these are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import Process, Ros, inherited

pytest.importorskip("ros2lifecycle", reason="needs ros2cli, of a ROS 2 installation")
pytest.importorskip("launch_ros", reason="needs launch_ros, of a ROS 2 installation")
pytest.importorskip("rclpy")

from lifecycle_msgs.srv import GetState


def ros2(*arguments: str) -> str:
    """Return what `ros2` prints, with its status; no daemon is started.

    It is asked again where it has not found the node within its spin time: a busy machine takes longer.
    """
    command = [sys.executable, str(shutil.which("ros2")), *arguments]
    for _ in range(5):
        ended = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
        said = f"{ended.stdout}{ended.stderr}status {ended.returncode}"
        if "Node not found" not in said:
            break
    return said


def test_ros2_lifecycle_tells_the_truth(domain: int, start_node: Callable[..., Process], ros: Ros) -> None:
    node = start_node("yolo_node", "-p", "autostart:=false")
    ros.call(GetState, "yolo_node/get_state", GetState.Request(), 60)
    direct = ("--no-daemon", "--spin-time", "3")

    def set_to(transition: str) -> str:
        return ros2("lifecycle", "set", *direct, "/yolo_node", transition)

    assert "/yolo_node" in ros2("lifecycle", "nodes", *direct)
    assert "unconfigured [1]" in ros2("lifecycle", "get", *direct, "/yolo_node")
    assert "Unknown transition requested" in set_to("activate")
    for transition, state in (("configure", "inactive [2]"), ("activate", "active [3]"), ("deactivate", "inactive [2]"),
                              ("cleanup", "unconfigured [1]"), ("shutdown", "finalized [4]")):  # fmt: skip
        assert "Transitioning successful" in set_to(transition), node.output()
        assert state in ros2("lifecycle", "get", *direct, "/yolo_node")


def test_ros2_lifecycle_says_that_a_model_is_refused(
    domain: int, start_node: Callable[..., Process], ros: Ros, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    start_node("yolo_node", "-p", "autostart:=false", "-p", f"model:={tmp_path}/broken.onnx")
    ros.call(GetState, "yolo_node/get_state", GetState.Request(), 60)
    said = ros2("lifecycle", "set", "--no-daemon", "--spin-time", "3", "/yolo_node", "configure")
    assert "Transitioning failed" in said


LAUNCH = """
from launch import LaunchDescription
from launch.actions import EmitEvent, RegisterEventHandler
from launch.events import matches_action
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition
import sys

def generate_launch_description():
    node = LifecycleNode(package="perf_inference", executable="yolo_node", name="yolo_node", namespace="",
                         parameters=[{"autostart": False}], output="screen")
    def ask(number):
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=number))
    activate = OnStateTransition(target_lifecycle_node=node, goal_state="inactive",
                                 entities=[ask(Transition.TRANSITION_ACTIVATE)])
    return LaunchDescription([node, RegisterEventHandler(activate), ask(Transition.TRANSITION_CONFIGURE)])
"""


def test_launch_configures_and_activates(domain: int, ros: Ros, tmp_path: Path) -> None:
    file = tmp_path / "managed.launch.py"
    file.write_text(LAUNCH)
    ros2_ = str(shutil.which("ros2"))
    launched = Process([sys.executable, ros2_, "launch", str(file)], {**inherited(), "PYTHONUNBUFFERED": "1"})
    try:
        assert ros.spin_until(lambda: ros.node.count_subscribers("image") == 1, 60), launched.output()
        assert ros.call(GetState, "yolo_node/get_state", GetState.Request()).current_state.label == "active"
    finally:
        launched.stop()
