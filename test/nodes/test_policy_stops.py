"""What stops a policy, over DDS: estop, speed_scale, the ramp, another sender; and who says so where."""

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

import psutil
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import WrenchStamped
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray
from std_srvs.srv import SetBool
from support.onnx_models import constant_policy
from support.processes import Process, Ros
from support.trajectory_follower import RULES, Message, refusal
from trajectory_msgs.msg import JointTrajectory

from perf_inference.nodes.policy.gate_process import MODULE
from perf_inference.nodes.reports.messages import from_key_values

BOTH = ["process", pytest.param("inline", marks=pytest.mark.thorough)]
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SILENT = PublisherEventCallbacks(use_default_callbacks=False)  # of the readers of a stop some match, and some do not
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Robot:
    """Publishes what a policy needs, at 50 Hz of the test's own spinning, and hears what it says."""

    def __init__(self, ros: Ros, action_type: Any = Float64MultiArray) -> None:
        self.ros, node = ros, ros.node
        self.image = Image(height=48, width=64, encoding="bgr8", step=192, data=array("B", bytes(48 * 192)))
        self._publishers = [
            node.create_publisher(Image, "image", qos_profile_sensor_data),
            node.create_publisher(JointState, "joint_states", 10),
            node.create_publisher(WrenchStamped, "force", qos_profile_sensor_data),
        ]
        self.messages: list[Any] = ros.collect(action_type, "action")
        self.diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
        node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        stamp = self.ros.node.get_clock().now().to_msg()
        joints = JointState(name=["shoulder", "elbow"], position=[0.0, 0.0], velocity=[0.0, 0.0])
        for publisher, message in zip(self._publishers, (self.image, joints, WrenchStamped()), strict=True):
            message.header.stamp = stamp
            publisher.publish(message)

    def sends(self, *values: float) -> bool:
        return bool(self.messages) and list(self.messages[-1].data) == list(values)

    def enable(self) -> SetBool.Response:
        return self.ros.call(SetBool, "policy_node/enable", SetBool.Request(data=True))

    def told(self, node: str, text: str) -> bool:
        statuses = self.diagnostics[-1].status if self.diagnostics else []
        return any(node in status.name and text in status.message for status in statuses)


@pytest.fixture
def start(start_node: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    def starts(*parameters: str, gate: str = "process", env: dict[str, str] | None = None) -> Process:
        model = constant_policy(tmp_path / "constant.onnx", (0.5, -0.25))
        given = (f"model:={model}", f"gate:={gate}", "tracking_tolerance:=0.0", *parameters)
        return start_node("policy_node", *(part for each in given for part in ("-p", each)), env=env)

    return starts


@pytest.mark.parametrize("gate", BOTH)
def test_estop_stops_whoever_says_it_and_false_alone_never_enables(
    ros: Ros, start: Callable[..., Process], start_node: Callable[..., Process], gate: str
) -> None:
    latched = ros.node.create_publisher(Bool, "estop", LATCHED, event_callbacks=SILENT)
    latched.publish(Bool(data=True))  # before anybody listens
    robot = Robot(ros)
    process = start("enabled:=true", gate=gate)
    start_node("monitor_node")
    who = "policy_node_gate/node" if gate == "process" else "policy_node/engine"
    assert ros.spin_until(lambda: robot.told(who, "estop: true on /estop"), 60), process.output()
    assert robot.sends(0.0, 0.0)
    answer = robot.enable()
    assert not answer.success
    assert answer.message == "not enabled: estop: true on /estop"
    latched.publish(Bool(data=False))
    assert ros.spin_until(lambda: robot.told(who, "disabled: estop: true on /estop; call /policy_node/enable"))
    assert robot.sends(0.0, 0.0)
    assert robot.enable().success
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25))
    button = ros.node.create_publisher(Bool, "estop", BEST_EFFORT, event_callbacks=SILENT)
    assert ros.spin_until(lambda: button.get_subscription_count() >= 1)
    ros.spin_until(lambda: False, 0.5)

    def stopped() -> bool:
        button.publish(Bool(data=True))
        return robot.sends(0.0, 0.0)

    assert ros.spin_until(stopped)


def test_a_required_estop_that_falls_silent_stops_for_good(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Robot(ros)
    button = ros.node.create_publisher(Bool, "estop", 10, event_callbacks=SILENT)
    timer = ros.node.create_timer(0.05, lambda: button.publish(Bool(data=False)))
    process = start("enabled:=true", "estop_required:=true")
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()
    ros.node.destroy_timer(timer)
    # A machine that holds the node up makes it stop too, and for a moment only.
    assert ros.spin_until(lambda: robot.sends(0.0, 0.0) and "estop: nothing on /estop" in robot.enable().message)
    button.publish(Bool(data=False))
    assert not ros.spin_until(lambda: not robot.sends(0.0, 0.0), 0.4)


@pytest.mark.parametrize("tuning", ["off", ""])
def test_the_gate_has_no_shared_memory_and_a_profile_only_where_tuning_is_on(
    ros: Ros, start: Callable[..., Process], tuning: str
) -> None:
    robot = Robot(ros)
    process = start("enabled:=true", env={"PERF_INFERENCE_TUNING": tuning})
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()
    (gate,) = (p for p in psutil.Process(process.pid).children(recursive=True) if MODULE in p.cmdline())
    environment = gate.environ()
    profiles = [Path(value).name for name, value in environment.items() if name.endswith("_PROFILES_FILE")]
    assert environment["FASTDDS_BUILTIN_TRANSPORTS"] == "UDPv4"
    assert profiles == ([] if tuning else ["fastdds_discovery.xml"])
    assert "/dev/shm/fastdds" not in Path(f"/proc/{gate.pid}/maps").read_text()


@pytest.mark.parametrize("gate", ["process", "inline"])
def test_one_that_slows_down_leaves_the_joints_at_rest(ros: Ros, start: Callable[..., Process], gate: str) -> None:
    robot = Robot(ros)
    process = start("enabled:=true", "safe_action:=decelerate", "limits.acceleration:=[0.7, 0.7]", gate=gate)
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()
    process.send(signal.SIGTERM)
    assert ros.spin_until(lambda: robot.sends(0.0, 0.0)), robot.messages[-1]
    assert ros.spin_until(lambda: not process.alive), process.output()
    speeds = [message.data[0] for message in robot.messages]
    speeds = speeds[len(speeds) - speeds[::-1].index(0.5) :]
    assert speeds == sorted(speeds, reverse=True), "it slows down"
    assert len(set(speeds)) > 5


@pytest.mark.parametrize("gate", BOTH)
def test_speed_scale_and_ramp(ros: Ros, start: Callable[..., Process], gate: str) -> None:
    scale = ros.node.create_publisher(Float64, "speed_scale", LATCHED, event_callbacks=SILENT)
    scale.publish(Float64(data=0.5))
    robot = Robot(ros)
    process = start("ramp_s:=1.0", gate=gate)
    assert ros.spin_until(lambda: robot.messages, 60), process.output()
    robot.enable()
    assert ros.spin_until(lambda: robot.sends(0.25, -0.125)), robot.messages[-1]
    speeds = [message.data[0] for message in robot.messages]
    speeds = speeds[-speeds[::-1].index(0.0) - 1 :]  # a node that the machine holds up begins again
    assert speeds == sorted(speeds), "it grows"
    assert len(set(speeds)) > 4
    scale.publish(Float64(data=7.0))
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25))
    assert ros.spin_until(
        lambda: "/speed_scale must be a number from 0 to 1, got 7: it counts as 1" in process.output()
    )
    scale.publish(Float64(data=float("nan")))
    assert ros.spin_until(lambda: robot.sends(0.0, 0.0))


@pytest.mark.parametrize("gate", BOTH)
def test_somebody_else_who_sends_disables(
    ros: Ros, start: Callable[..., Process], start_node: Callable[..., Process], gate: str
) -> None:
    import rclpy

    robot = Robot(ros)
    process = start("enabled:=true", gate=gate)
    start_node("monitor_node")
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()
    context = rclpy.Context()
    rclpy.init(context=context)
    intruder = rclpy.create_node("intruder", context=context)
    publisher = intruder.create_publisher(Float64MultiArray, "action", 10)
    timer = ros.node.create_timer(0.05, lambda: publisher.publish(Float64MultiArray(data=array("d", [0.0, 0.0]))))
    try:
        who = "policy_node_gate/node" if gate == "process" else "policy_node/engine"
        what = "somebody else publishes on /action: /intruder ("
        assert ros.spin_until(lambda: robot.told(who, what)), process.output()
        assert ros.spin_until(lambda: what in robot.enable().message)
        ros.node.destroy_timer(timer)  # it stays matched
        assert ros.spin_until(lambda: robot.told(who, "disabled: somebody else publishes on /action")), process.output()
        assert robot.sends(0.0, 0.0)
        assert robot.enable().success
        assert ros.spin_until(lambda: robot.sends(0.5, -0.25))
    finally:
        intruder.destroy_node()
        context.try_shutdown()


@pytest.mark.parametrize("action", [pytest.param("velocity", marks=pytest.mark.thorough), "position"])
def test_every_trajectory_of_a_run_is_accepted(ros: Ros, start: Callable[..., Process], action: str) -> None:
    robot = Robot(ros, JointTrajectory)
    process = start("enabled:=true", "action_message:=joint_trajectory", f"action:={action}", "rate:=50.0")
    assert ros.spin_until(lambda: len(robot.messages) > 60, 60), process.output()
    process.send(signal.SIGINT)
    assert ros.spin_until(lambda: not process.alive)
    said = [Message.of(message) for message in robot.messages]
    now_s = ros.node.get_clock().now().nanoseconds / 1e9
    assert [refusal(m, ["shoulder", "elbow"], now_s, rules) for m in said for rules in RULES] == [""] * 3 * len(said)
    assert any(point.velocities[0] > 0.1 for message in said for point in message.points)
    assert "velocities stay in force for ever" not in process.output()


def test_velocities_for_a_controller_without_a_time_out_are_warned_about(start: Callable[..., Process]) -> None:
    process = start()
    process.wait_for("velocities stay in force for ever at a controller without a time-out")
    process.wait_for("disabled until /policy_node/enable is called")
    other = start("command_timeout_s:=0.5")
    other.wait_for("disabled until /policy_node/enable is called")
    assert "velocities stay in force" not in other.output()


def _gates(process: Process) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if MODULE in child.cmdline()]


def test_the_process_of_the_gate_is_small_and_gets_nothing_but_its_pipe(
    ros: Ros, start: Callable[..., Process]
) -> None:
    robot = Robot(ros)
    marked, other = os.pipe()
    process = start("enabled:=true")
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()
    [gate] = _gates(process)
    assert os.getsid(gate.pid) == gate.pid, "a session of its own"
    mapped = {Path(region.path).name for region in gate.memory_maps()}
    heavy = [name for name in mapped if any(word in name for word in ("cv2", "onnxruntime", "torch", "libnv"))]
    assert heavy == []
    models = [file.path for file in gate.open_files() if file.path.endswith(".onnx")]
    assert models == []
    os.close(marked)
    os.close(other)
    process.send(signal.SIGTERM)
    assert ros.spin_until(lambda: not process.alive)
    assert ros.spin_until(lambda: not gate.is_running() or gate.status() == psutil.STATUS_ZOMBIE)
    assert process.wait() == 0


@pytest.mark.thorough
def test_a_gate_that_is_ended_again_and_again_ends_the_policy(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Robot(ros)
    process = start("enabled:=true", "enabled_after_restart:=true")
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()
        [gate] = _gates(process)
        gate.send_signal(how)
        assert ros.spin_until(lambda: robot.sends(0.0, 0.0)), process.output()
        robot.messages.clear()
    assert ros.spin_until(lambda: not process.alive), process.output()
    assert process.wait() == 1
    assert (
        "this process ends: its gate was killed by SIGKILL, and was started 3 times within a minute" in process.output()
    )


def test_the_heartbeat_of_the_gate_says_what_it_sends(ros: Ros, start: Callable[..., Process]) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    from perf_inference.nodes.reports.reporter import STATUS_QOS

    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    robot = Robot(ros)
    process = start("enabled:=true")
    assert ros.spin_until(lambda: robot.sends(0.5, -0.25), 60), process.output()

    def values() -> dict[str, Any]:
        own = [beat for beat in beats if beat.name == "policy_node_gate"]
        return from_key_values(own[-1].values) if own else {}

    assert ros.spin_until(lambda: values().get("gate.sends", 0) > 3)
    assert values()["gate.enabled"] is True
    assert values()["gate.speed_scale"] == 1.0
    assert values()["ledger.joint_states.residual"] == 0
