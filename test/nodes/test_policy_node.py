"""The policy node over real topics: what it sends, and what it never sends."""

from __future__ import annotations

import itertools
import math
import signal
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import WrenchStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from support.cases import sampled
from support.onnx_models import constant_policy
from support.processes import Process, Ros
from trajectory_msgs.msg import JointTrajectory

from perf_inference.nodes.reports.messages import from_key_values, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS


class Robot:
    """Publishes what a policy needs, at 50 Hz of the test's own spinning."""

    def __init__(self, ros: Ros, action_type: Any = Float64MultiArray) -> None:
        self.ros = ros
        self.sends = {"image", "joint_states", "force"}
        self.image = Image(height=48, width=64, encoding="bgr8", step=192, data=array("B", bytes(48 * 192)))
        node = ros.node
        self._publishers = {
            "image": node.create_publisher(Image, "image", qos_profile_sensor_data),
            "joint_states": node.create_publisher(JointState, "joint_states", 10),
            "force": node.create_publisher(WrenchStamped, "force", qos_profile_sensor_data),
        }
        self.actions: list[list[float]] = []
        node.create_subscription(action_type, "action", self._on_action, 10)
        self.statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        self.timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
        self.position = [0.0, 0.0]
        node.create_timer(0.02, self._publish)

    def _on_action(self, message: Any) -> None:
        self.actions.append(list(message.data if hasattr(message, "data") else message.points[0].positions))

    def _publish(self) -> None:
        stamp = self.ros.node.get_clock().now().to_msg()
        joints = JointState(name=["elbow", "shoulder"], position=self.position[::-1], velocity=[0.0, 0.0])
        for name, message in (("image", self.image), ("joint_states", joints), ("force", WrenchStamped())):
            if name in self.sends:
                message.header.stamp = stamp
                self._publishers[name].publish(message)

    def publish(self, name: str, message: Any) -> None:
        self._publishers[name].publish(message)

    def moving(self) -> bool:
        return bool(self.actions) and any(self.actions[-1])

    def resting(self) -> bool:
        return bool(self.actions) and not any(self.actions[-1])

    def says(self, text: str) -> bool:
        return any(text in status.message for status in self.statuses)

    def values(self) -> dict[str, Any]:
        own = [status for status in list(self.statuses) if status.name == "policy_node"]  # and not its gate's
        return from_key_values(own[-1].values) if own else {}


@pytest.fixture
def robot(ros: Ros) -> Robot:
    return Robot(ros)


@pytest.fixture
def start_policy(start_node: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    def start(velocity: tuple[float, float], *arguments: str, env: dict[str, str] | None = None) -> Process:
        model = constant_policy(tmp_path / "constant.onnx", velocity)
        return start_node("policy_node", "-p", f"model:={model}", *arguments, env=env)

    return start


def test_disabled_it_sends_zero_enabled_it_drives_and_stopping_it_sends_zero(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    process = start_policy((0.5, -0.25))
    assert ros.spin_until(lambda: len(robot.actions) > 5)
    assert robot.resting()
    assert ros.call(SetBool, "policy_node/enable", SetBool.Request(data=True)).success
    assert ros.spin_until(robot.moving)
    assert robot.actions[-1] == [0.5, -0.25]
    assert ros.call(SetBool, "policy_node/enable", SetBool.Request(data=False)).message == "disabled: safe action"
    assert ros.spin_until(robot.resting)
    ros.call(SetBool, "policy_node/enable", SetBool.Request(data=True))
    assert ros.spin_until(robot.moving)
    process.send(signal.SIGINT)
    assert ros.spin_until(lambda: not process.alive)
    assert process.wait() == 0
    ros.spin_until(lambda: False, 0.2)
    assert robot.resting()
    counted = int(robot.values()["inferences"])
    recorded = [timing_record(status) for message in robot.timings for status in message.status]
    assert [record["seq"] for record in recorded] == list(range(1, counted + 1))
    assert counted == sum(any(action) for action in robot.actions)
    assert recorded[-1]["robot_fill"] > 0
    assert "[ACTION #1] +0.500 -0.250 | Time: " in process.output()
    assert "/65 | Robot: " in process.output()


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param("image", marks=pytest.mark.thorough),
        "joint_states",
        pytest.param("force", marks=pytest.mark.thorough),
    ],
)
def test_a_silent_input_gives_zero_and_a_warning_until_it_is_back(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process], silent: str
) -> None:
    start_policy((0.5, 0.5), "-p", "enabled:=true")
    assert ros.spin_until(robot.moving)
    robot.sends.discard(silent)
    assert ros.spin_until(robot.resting)
    assert ros.spin_until(lambda: robot.says(f"safe action: nothing on /{silent} for"))
    robot.sends.add(silent)
    assert ros.spin_until(robot.moving)


def _fill(robot: Robot) -> int:
    """Return how much of its window of joint samples the newest action rests on."""
    records = [timing_record(status) for message in robot.timings[-1:] for status in message.status]
    return int(records[-1]["robot_fill"]) if records else 0


@pytest.mark.thorough
def test_the_window_of_joints_that_are_sent_one_by_one_in_any_order_is_full(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    robot.sends.discard("joint_states")
    states = ros.node.create_publisher(JointState, "joint_states", 10)

    def publish() -> None:
        now_ns = ros.node.get_clock().now().nanoseconds
        for name, ns in (("shoulder", now_ns), ("elbow", now_ns - 5_000_000)):
            message = JointState(name=[name], position=[0.0])
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 1_000_000_000)
            states.publish(message)

    ros.node.create_timer(0.01, publish)
    start_policy((0.0, 0.1), "-p", "enabled:=true", "-p", "tracking_tolerance:=0.0")
    assert ros.spin_until(lambda: _fill(robot) > 30)


@pytest.mark.thorough
def test_the_window_of_joints_without_stamps_is_that_of_the_simulated_time(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    robot.sends.clear()
    clocks = ros.node.create_publisher(Clock, "/clock", 10)
    began_s = time.monotonic()

    def publish() -> None:
        clock = Clock()
        since_ns = round((time.monotonic() - began_s) * 1e9) + 1
        clock.clock.sec, clock.clock.nanosec = divmod(since_ns, 1_000_000_000)
        clocks.publish(clock)
        robot.image.header.stamp = clock.clock
        robot.publish("image", robot.image)
        robot.publish("joint_states", JointState(name=["shoulder", "elbow"], position=[0.0, 0.0]))
        robot.publish("force", WrenchStamped())

    ros.node.create_timer(0.01, publish)
    start_policy((0.0, 0.1), "-p", "enabled:=true", "-p", "use_sim_time:=true", "-p", "tracking_tolerance:=0.0")
    assert ros.spin_until(lambda: _fill(robot) > 30)


@pytest.mark.thorough
def test_without_a_clock_samples_without_stamps_are_not_used(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    robot.sends.clear()
    robot.image.header.stamp.sec = 0
    robot.image.header.stamp.nanosec = 0

    def publish() -> None:
        robot.publish("image", robot.image)
        robot.publish("joint_states", JointState(name=["shoulder", "elbow"], position=[0.0, 0.0]))
        robot.publish("force", WrenchStamped())

    ros.node.create_timer(0.02, publish)
    process = start_policy((0.0, 0.1), "-p", "enabled:=true", "-p", "use_sim_time:=true")
    assert ros.spin_until(lambda: "/clock has not come (use_sim_time is true)" in process.output()), process.output()
    assert not any(any(action) for action in robot.actions)


@pytest.mark.thorough
def test_a_held_position_does_not_creep_and_comes_back_into_range_slowly(
    ros: Ros, start_policy: Callable[..., Process]
) -> None:
    robot = Robot(ros, JointTrajectory)
    robot.position = [0.5, -9.0]
    start_policy((0.5, 0.5), "-p", "action:=position", "-p", "limits.lower:=[-1, -1]", "-p", "safe_action:=hold")
    assert ros.spin_until(lambda: len(robot.actions) > 3)
    robot.position = [0.3, -9.0]  # it sags
    seen = len(robot.actions)
    assert ros.spin_until(lambda: len(robot.actions) > seen + 10)
    shoulder, elbow = zip(*robot.actions, strict=True)
    assert set(shoulder) == {0.5}
    assert elbow[0] == pytest.approx(-9.0, abs=0.2)
    assert elbow[-1] > elbow[0]
    assert max(after - before for before, after in itertools.pairwise(elbow)) < 1.0, "1 rad/s, sent every 0.05 s"


def test_what_is_in_the_engine_when_it_is_disabled_does_not_leave(
    ros: Ros, robot: Robot, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    model = constant_policy(tmp_path / "slow.onnx", (0.5, 0.5), matmuls=6)  # tenths of a second each
    slow = ("-p", "rate:=20.0", "-p", "threads:=1", "-p", "max_observation_age_s:=5.0")
    start_node("policy_node", "-p", f"model:={model}", "-p", "enabled:=true", *slow)
    assert ros.spin_until(robot.moving, 30)
    for _ in range(3):
        assert ros.spin_until(lambda: robot.values().get("ledger.tick.in_work") == 1)
        ros.call(SetBool, "policy_node/enable", SetBool.Request(data=False))
        robot.actions.clear()
        assert ros.spin_until(lambda: len(robot.actions) > 15)
        assert not any(any(action) for action in robot.actions)
        ros.call(SetBool, "policy_node/enable", SetBool.Request(data=True))
        assert ros.spin_until(robot.moving, 30)


def test_after_a_crash_it_waits_to_be_enabled_again(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    start_policy((0.5, 0.5), "-p", "enabled:=true", env={"PERF_INFERENCE_RESTARTED": "1"})
    assert ros.spin_until(lambda: len(robot.actions) > 10)
    assert not any(any(action) for action in robot.actions)
    ros.call(SetBool, "policy_node/enable", SetBool.Request(data=True))
    assert ros.spin_until(robot.moving)


def test_not_a_number_is_never_published(ros: Ros, robot: Robot, start_policy: Callable[..., Process]) -> None:
    process = start_policy((math.nan, 0.5), "-p", "enabled:=true")
    assert ros.spin_until(lambda: robot.values().get("ledger.tick.rejected", 0) > 5)
    assert ros.spin_until(lambda: robot.actions), "the safe action must come instead"
    assert not any(any(action) for action in robot.actions)
    assert "the policy's action must be 2 finite values, got [nan, 0.5]: not sent" in process.output()
    assert robot.values()["ledger.tick.residual"] == 0


def test_commands_are_clamped_to_speed_and_range(ros: Ros, robot: Robot, start_policy: Callable[..., Process]) -> None:
    robot.position = [0.95, 0.0]
    start_policy(
        (9.0, -9.0),
        "-p",
        "enabled:=true",
        "-p",
        "limits.upper:=[1.0, 1.0]",
        "-p",
        "limits.velocity:=[2, 3]",
        "-p",
        "limits.lower:=[-1.0, -1.0]",
    )
    assert ros.spin_until(robot.moving)
    # 0.05 and 1 rad are left until the sample is 0.3 s old, a look 0.1 s late, and the command 0.15 s out of force
    shoulder, elbow = robot.actions[-1]
    assert 0.05 / 0.55 - 1e-4 <= shoulder <= 0.05 / 0.3
    assert -1 / 0.3 <= elbow <= -1 / 0.55 + 1e-4


def test_bad_messages_are_counted_and_skipped(ros: Ros, robot: Robot, start_policy: Callable[..., Process]) -> None:
    process = start_policy((0.5, 0.5), "-p", "enabled:=true")
    assert ros.spin_until(robot.moving)
    robot.image.step = 100
    assert ros.spin_until(lambda: robot.values().get("ledger.image.rejected", 0) > 0)
    assert ros.spin_until(robot.resting)
    said = "image step must be at least 192 bytes for 64 px of bgr8, got 100"
    assert ros.spin_until(lambda: said in process.output()), process.output()
    robot.image.step = 192
    assert ros.spin_until(robot.moving)
    robot.position = [math.nan, 0.0]
    assert ros.spin_until(lambda: robot.values().get("ledger.joint_states.rejected", 0) > 0)
    said = "joint_states must have a possible position of shoulder, got nan rad"
    assert ros.spin_until(lambda: said in process.output()), process.output()
    assert robot.values()["ledger.image.residual"] == robot.values()["ledger.joint_states.residual"] == 0


@pytest.mark.thorough
def test_an_image_that_cannot_be_decoded_does_not_keep_the_policy_driving(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    start_policy((0.5, 0.5), "-p", "enabled:=true")
    assert ros.spin_until(robot.moving)
    robot.image.encoding = "no such encoding"
    assert ros.spin_until(robot.resting)
    assert ros.spin_until(lambda: robot.says("safe action: no accepted sample on") and robot.says("no such encoding"))
    robot.image.encoding = "bgr8"
    assert ros.spin_until(robot.moving)


@pytest.mark.parametrize(
    ("arguments", "said"),
    sampled(
        [
            (
                ("joint_names:=[hip, knee]",),
                "limits.lower, limits.upper, limits.velocity must be given for the joints hip",
            ),
            (
                ("joint_names:=[hip, knee]", "limits.lower:=[-1, -1]", "limits.upper:=[1, 1]"),
                "limits.velocity must be given",
            ),
            (("limits.acceleration:=[1.0]",), "limits.acceleration must have 2 values"),
        ]
    ),
)
def test_limits_are_not_guessed(start_policy: Callable[..., Process], arguments: tuple[str, ...], said: str) -> None:
    process = start_policy((0.5, 0.5), *(part for argument in arguments for part in ("-p", argument)))
    assert process.wait(60) == 78
    assert said in process.output()


def test_what_decides_about_safety_cannot_be_set_while_it_runs(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process]
) -> None:
    start_policy((0.5, 0.5))
    assert ros.spin_until(robot.resting)
    wanted = [
        Parameter("use_sim_time", value=True), Parameter("limits.upper", value=[9.0, 9.0]),
        Parameter("rate", value=1.0),
        Parameter("max_observation_age_s", value=60.0), Parameter("actuator_latency_s", value=0.0),
        Parameter("tracking_tolerance", value=0.0), Parameter("enabled", value=True),
        Parameter("joint_names", value=["elbow", "shoulder"]), Parameter("safe_action", value="stop"),
    ]  # fmt: skip
    request = SetParameters.Request(parameters=[parameter.to_parameter_msg() for parameter in wanted])
    answers = ros.call(SetParameters, "policy_node/set_parameters", request).results
    assert [answer.successful for answer in answers] == [False] * len(wanted)
    assert "read-only parameter: use_sim_time" in answers[0].reason


OTHER_MEANINGS: list[tuple[dict[str, str], str]] = [
    ({"joint_names": "elbow,shoulder"}, "this node drives shoulder, elbow in this order, 'other' was made for"),
    ({"action": "position"}, "this node sends velocity actions, 'other' gives position ones"),
    ({"units": "deg/s"}, "'other' must give rad/s, its metadata say 'deg/s'"),
    ({"limits.lower": "2.0,2.0"}, "limits must be lower <= upper"),
]


def test_a_swap_that_changes_what_an_action_means_is_refused(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process], tmp_path: Path
) -> None:
    start_policy((0.5, 0.5), "-p", "enabled:=true", "-p", "limits.upper:=[1.5, 1.5]")
    assert ros.spin_until(robot.moving, 30)
    for number, (metadata, said) in enumerate(OTHER_MEANINGS):
        other = constant_policy(tmp_path / f"other{number}.onnx", (0.25, 0.25), metadata=metadata)
        request = SetParameters.Request(parameters=[Parameter("model", value=str(other)).to_parameter_msg()])
        assert ros.call(SetParameters, "policy_node/set_parameters", request).results[0].successful
        answer = ros.call(Trigger, "policy_node/swap_wait", Trigger.Request(), 60)
        assert not answer.success
        assert said.replace("'other'", f"'other{number}'") in answer.message
        assert ros.spin_until(lambda: robot.actions[-1] == [0.5, 0.5])


@pytest.mark.thorough
def test_a_swapped_model_may_tighten_the_limits(
    ros: Ros, robot: Robot, start_policy: Callable[..., Process], tmp_path: Path
) -> None:
    start_policy((0.5, 0.5), "-p", "enabled:=true")
    assert ros.spin_until(robot.moving, 30)
    other = constant_policy(
        tmp_path / "other.onnx", (9.0, 9.0), metadata={"limits.velocity": "0.125,5.0", "joint_names": "shoulder,elbow"}
    )
    request = SetParameters.Request(parameters=[Parameter("model", value=str(other)).to_parameter_msg()])
    assert ros.call(SetParameters, "policy_node/set_parameters", request).results[0].successful
    assert ros.spin_until(lambda: robot.actions[-1] == [0.125, 1.0], 60)  # the robot's own limit is 1 rad/s
