"""Managed nodes over real DDS: the calls of `ros2 lifecycle` and of nav2's manager, through all states."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

import cv2
import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import WrenchStamped
from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from support.onnx_models import constant_policy
from support.processes import Process, Ros, inherited

from perf_inference.nodes.policy.gate_process import MODULE
from perf_inference.nodes.reports.messages import from_key_values

WAITS = ("-p", "autostart:=false")
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
Start = Callable[..., Process]


class Managed:
    """A managed node as its manager sees it, and its heartbeats."""

    def __init__(self, ros: Ros, name: str) -> None:
        self.ros, self.name = ros, name
        self.beats: list[DiagnosticStatus] = []
        ros.node.create_subscription(DiagnosticStatus, "inference/status", self._on_beat, 10)

    def _on_beat(self, status: DiagnosticStatus) -> None:
        if status.name == self.name:
            self.beats.append(status)

    def change(self, transition: int, label: str = "") -> bool:
        request = ChangeState.Request(transition=Transition(id=transition, label=label))
        return bool(self.ros.call(ChangeState, f"{self.name}/change_state", request, 60).success)

    def state(self) -> str:
        return str(self.ros.call(GetState, f"{self.name}/get_state", GetState.Request()).current_state.label)

    def says(self, text: str) -> bool:
        """Return whether it says so in a heartbeat that comes from now on."""
        first = len(self.beats)
        return self.ros.spin_until(lambda: any(text in beat.message for beat in self.beats[first:]))


class Robot:
    """Publishes what nodes need, at 50 Hz of the test's own spinning, and hears the actions."""

    def __init__(self, ros: Ros) -> None:
        self.ros, node = ros, ros.node
        self.image = Image(height=48, width=64, encoding="bgr8", step=192, data=array("B", bytes(48 * 192)))
        self._publishers = [
            node.create_publisher(Image, "image", qos_profile_sensor_data),
            node.create_publisher(JointState, "joint_states", 10),
            node.create_publisher(WrenchStamped, "force", qos_profile_sensor_data),
        ]
        self.actions: list[Float64MultiArray] = ros.collect(Float64MultiArray, "action")
        node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        stamp = self.ros.node.get_clock().now().to_msg()
        joints = JointState(name=["shoulder", "elbow"], position=[0.0, 0.0], velocity=[0.0, 0.0])
        for publisher, message in zip(self._publishers, (self.image, joints, WrenchStamped()), strict=True):
            message.header.stamp = stamp
            publisher.publish(message)

    def sends(self, *values: float) -> bool:
        """Return whether such an action comes from now on."""
        first = len(self.actions)
        return self.ros.spin_until(lambda: any(list(action.data) == list(values) for action in self.actions[first:]))

    def enable(self) -> SetBool.Response:
        return self.ros.call(SetBool, "policy_node/enable", SetBool.Request(data=True))

    def gets_enabled(self) -> bool:
        """Ask until it is: a gate that a busy machine kept from hearing of the policy says so, and refuses."""
        return self.ros.spin_until(lambda: self.enable().success)


def gates_of(process: Process) -> list[int]:
    """Return the processes of the gates of this policy_node."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        words = each.info["cmdline"] or []
        if MODULE in words and any(word.startswith(f"{process.pid}:") for word in words):
            found.append(each.pid)
    return found


def test_a_manager_takes_yolo_node_through_all_states(ros: Ros, start_node: Start) -> None:
    node, detections = Managed(ros, "yolo_node"), ros.collect(String, "detections_json")
    events = ros.collect(TransitionEvent, "yolo_node/transition_event")
    Robot(ros)
    process = start_node("yolo_node", *WAITS)
    assert node.state() == "unconfigured"
    assert node.says("unconfigured")
    assert not node.change(ACTIVATE)
    assert not node.change(200)
    assert not node.change(Transition.TRANSITION_ON_CONFIGURE_SUCCESS)
    assert not node.change(0, "no such thing")
    assert node.state() == "unconfigured"
    assert node.change(CONFIGURE)
    assert node.state() == "inactive"
    assert "waits for /image" in process.output()
    assert ros.node.count_subscribers("image") == 0
    assert node.change(0, "activate")
    assert ros.spin_until(lambda: detections), process.output()
    assert node.says("running")
    assert not node.change(CONFIGURE)
    assert node.change(DEACTIVATE)
    assert ros.spin_until(lambda: ros.node.count_subscribers("image") == 0)
    before = len(detections)
    assert node.says("inactive")
    assert node.says("inactive")
    assert len(detections) == before
    assert node.change(CLEANUP)
    assert ros.spin_until(lambda: "yolo_node/swap_wait" not in str(ros.node.get_service_names_and_types()))
    assert node.change(CONFIGURE)
    assert node.change(ACTIVATE)
    assert ros.spin_until(lambda: len(detections) > before), process.output()
    assert node.change(DEACTIVATE)
    assert node.change(CLEANUP)
    assert node.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert node.state() == "finalized"
    assert node.says("finalized")
    assert [event.goal_state.label for event in events if event.goal_state.label in ("active", "finalized")] == [
        "active", "active", "finalized"
    ]  # fmt: skip
    assert process.stop() == 0


def test_a_node_starts_by_itself_and_can_be_managed_then(ros: Ros, start_node: Start) -> None:
    node, captions = Managed(ros, "caption_node"), ros.collect(String, "caption")
    Robot(ros)
    process = start_node("caption_node", "-p", "rate:=20.0")
    assert ros.spin_until(lambda: captions), process.output()
    assert node.state() == "active"
    offered = ros.call(
        GetAvailableTransitions, "caption_node/get_available_transitions", GetAvailableTransitions.Request()
    )
    assert {each.transition.label for each in offered.available_transitions} == {"deactivate", "shutdown"}
    assert node.change(DEACTIVATE)
    answer = ros.call(Trigger, "caption_node/caption", Trigger.Request())
    assert (answer.success, answer.message) == (False, "caption_node is inactive; activate it first")
    assert node.change(CLEANUP)
    assert node.says("unconfigured")
    assert node.state() == "unconfigured"
    assert process.stop() == 0


def test_configure_says_that_the_model_is_refused(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    node, broken = Managed(ros, "yolo_node"), tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    process = start_node("yolo_node", *WAITS, "-p", f"model:={broken}")
    for _ in range(2):
        assert not node.change(CONFIGURE)
        assert node.state() == "unconfigured"
    assert "configure failed" in process.output()
    assert node.says("unconfigured: configure failed")
    assert node.beats[-1].level == DiagnosticStatus.ERROR
    assert process.stop() == 0


def test_a_model_that_takes_too_long_is_refused_while_heartbeats_go_on(
    ros: Ros, tmp_path: Path, start_command: Start
) -> None:
    node, go = Managed(ros, "yolo_node"), tmp_path / "go"
    script = tmp_path / "slow.py"
    script.write_text(f"""
import pathlib, time
from perf_inference import model_build
from perf_inference.nodes.engine import long_load
from perf_inference.nodes.ros import runner
from perf_inference.nodes.yolo_node import YoloNode

long_load._LONG_S = 0.5
load = model_build.load

def slow(*arguments):
    while not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.01)
    return load(*arguments)

model_build.load = slow
runner.main(YoloNode)
""")
    process = Process(
        [sys.executable, str(script), "--ros-args", *WAITS, "-p", "load_timeout_s:=2.0"],
        {**inherited(), "PYTHONUNBUFFERED": "1"},
    )
    try:
        client = ros.node.create_client(ChangeState, "yolo_node/change_state")
        assert ros.spin_until(client.service_is_ready), process.output()
        asked = client.call_async(ChangeState.Request(transition=Transition(id=CONFIGURE)))
        assert node.says("loading detector")
        assert node.state() == "configuring" or asked.done()
        process.wait_for("still loading detector (runtime auto, precision auto, device auto) after 0.5 s")
        assert ros.spin_until(asked.done)
        assert not asked.result().success
        assert "it has not ended within 2 s" in process.output()
        assert not node.change(CONFIGURE)  # the thread before is busy
        go.touch()
        assert ros.spin_until(lambda: node.change(CONFIGURE)), process.output()
        assert node.state() == "inactive"
    finally:
        assert process.stop() == 0


FAILS = """
from perf_inference.nodes.ros import runner
from perf_inference.nodes.yolo_node import YoloNode

class Fails(YoloNode):
    broken = True

    def activate(self):
        if self.broken:
            self.broken = False
            raise LookupError("no such thing")

runner.main(Fails)
"""


def test_an_error_in_a_transition_is_logged_and_leaves_nothing(ros: Ros, tmp_path: Path) -> None:
    node, script = Managed(ros, "yolo_node"), tmp_path / "fails.py"
    script.write_text(FAILS)
    process = Process([sys.executable, str(script), "--ros-args", *WAITS], {**inherited(), "PYTHONUNBUFFERED": "1"})
    try:
        assert node.change(CONFIGURE), process.output()
        assert not node.change(ACTIVATE)
        assert node.state() == "unconfigured"
        assert ros.spin_until(lambda: ros.node.count_subscribers("image") == 0)
        assert "LookupError in on_activate" in process.output()
        assert node.says("activate failed: no such thing")
        assert node.change(CONFIGURE)
        assert node.change(ACTIVATE)
    finally:
        assert process.stop() == 0


@pytest.mark.parametrize("gate", ["process", pytest.param("inline", marks=pytest.mark.thorough)])
def test_a_policy_is_safe_before_it_is_inactive_and_active_is_not_enabled(
    ros: Ros, start_node: Start, tmp_path: Path, gate: str
) -> None:
    model = constant_policy(tmp_path / "constant.onnx", (0.5, -0.25))
    node, robot = Managed(ros, "policy_node"), Robot(ros)
    given = (f"model:={model}", f"gate:={gate}", "tracking_tolerance:=0.0", "enabled:=true")
    process = start_node("policy_node", *WAITS, *(part for each in given for part in ("-p", each)))
    assert node.state() == "unconfigured"
    assert robot.enable().message == "not enabled: the policy's node is not active"
    assert not gates_of(process)
    assert node.change(CONFIGURE), process.output()
    assert len(gates_of(process)) == (gate == "process")
    refused = robot.enable()
    assert (refused.success, refused.message) == (False, "not enabled: the policy's node is not active")
    assert node.change(ACTIVATE)
    assert robot.sends(0.0, 0.0)
    assert node.says("disabled")
    assert robot.gets_enabled()
    assert robot.sends(0.5, -0.25), process.output()
    assert node.change(DEACTIVATE)
    assert robot.sends(0.0, 0.0)
    first = len(robot.actions)
    assert node.says("inactive")
    assert not robot.enable().success
    assert all(list(action.data) == [0.0, 0.0] for action in robot.actions[first:])
    assert node.change(ACTIVATE)
    first = len(robot.actions)
    assert node.says("disabled")
    assert all(list(action.data) == [0.0, 0.0] for action in robot.actions[first:])
    assert robot.gets_enabled()
    assert robot.sends(0.5, -0.25)
    assert node.change(DEACTIVATE)
    assert node.change(CLEANUP)
    assert not gates_of(process)
    assert not robot.enable().success
    assert node.change(CONFIGURE), process.output()
    assert node.change(ACTIVATE)
    assert robot.gets_enabled()
    assert robot.sends(0.5, -0.25)
    assert node.change(0, "shutdown")
    assert node.state() == "finalized"
    assert not gates_of(process)
    assert process.stop() == 0


def test_a_recorder_records_while_it_is_active(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    node, said = Managed(ros, "recorder_node"), ros.node.create_publisher(String, "said", 10)
    process = start_node("recorder_node", *WAITS, "-p", f"output_dir:={tmp_path}", "-p", "topics:=['/said']")
    assert node.state() == "unconfigured"
    assert not list(tmp_path.iterdir())

    def say(text: str) -> None:
        said.publish(String(data=text))

    def recorded() -> str:
        return "".join(file.read_text() for file in sorted(tmp_path.glob("*/topics_*.jsonl")))

    assert node.change(CONFIGURE), process.output()
    assert node.change(ACTIVATE)
    assert ros.spin_until(lambda: said.get_subscription_count() == 1)
    say("one")
    assert ros.spin_until(lambda: "one" in recorded())
    assert node.change(DEACTIVATE)
    assert ros.spin_until(lambda: said.get_subscription_count() == 0)
    say("two")
    assert node.says("inactive")
    assert node.change(ACTIVATE)
    assert ros.spin_until(lambda: said.get_subscription_count() == 1)
    say("three")
    assert ros.spin_until(lambda: "three" in recorded())
    assert node.change(DEACTIVATE)
    assert node.change(CLEANUP)
    assert list(tmp_path.glob("*/performance_summary_*.json"))
    assert "two" not in recorded()
    assert node.change(CONFIGURE), process.output()
    assert node.change(ACTIVATE)
    assert ros.spin_until(lambda: said.get_subscription_count() == 1)
    say("four")
    assert ros.spin_until(lambda: "four" in recorded())
    assert process.stop() == 0


def test_a_camera_is_open_while_it_is_active(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    images = ros.collect(Image, "image", qos_profile_sensor_data)
    node = Managed(ros, "camera_node")
    process = start_node("camera_node", *WAITS, "-p", f"source:={tmp_path}", "-p", "rate:=20.0")
    assert node.state() == "unconfigured"
    for _ in range(2):
        assert node.change(CONFIGURE), process.output()
        for _ in range(2):
            had = len(images)
            assert node.change(ACTIVATE)
            assert ros.spin_until(lambda had=had: len(images) > had), process.output()  # type: ignore[misc]
            assert node.change(DEACTIVATE)
            assert node.says("inactive")
        assert node.change(CLEANUP)
    assert not node.change(ACTIVATE)
    assert process.stop() == 0


def test_counts_begin_anew_and_each_inference_is_recorded_once(ros: Ros, start_node: Start) -> None:
    """A second `configure` counts from 1 again: who drops repeated timings must see another start."""
    node, timings = Managed(ros, "yolo_node"), ros.collect(DiagnosticArray, "inference/timing")
    Robot(ros)
    process = start_node("yolo_node")
    assert ros.spin_until(lambda: timings), process.output()
    for transition in (DEACTIVATE, CLEANUP, CONFIGURE):
        assert node.change(transition)
    first = len(timings)
    assert node.change(ACTIVATE)
    assert ros.spin_until(lambda: len(timings) > first)
    seen = [(s.hardware_id, from_key_values(s.values)["seq"]) for message in timings for s in message.status]
    assert len(seen) == len(set(seen))
    assert len({start for start, _ in seen}) == 2
    assert process.stop() == 0
