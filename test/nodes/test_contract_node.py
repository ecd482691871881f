"""policy_node with a contract, over real topics: any message type, chunks, and what is never sent."""

from __future__ import annotations

import math
import os
import signal
import sys
from array import array
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState, LaserScan
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from support.cases import sampled
from support.policy_models import network
from support.processes import Process, Ros
from trajectory_msgs.msg import JointTrajectory

from perf_inference.nodes.reports.messages import from_key_values, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS

MLP = """
rate_hz: 20
observations:
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [left, right]}
actions:
- {output: velocity, kind: velocity, names: [left, right], limits: {lower: -3, upper: 3, velocity: 1.5}}
"""
CHUNKS = """
rate_hz: 20
observations:
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [left, right]}
actions:
- {output: plan, kind: position, names: [left, right], limits: {lower: -1, upper: 1, velocity: 2}}
"""


class Watcher:
    """Publishes messages at 50 Hz of the test's own spinning, and collects what the node says."""

    def __init__(self, ros: Ros, kind: Any = Float64MultiArray, topic: str = "action") -> None:
        self.ros, self.actions, self.follow = ros, [], False
        self.position = [0.5, -0.5]
        self.messages: dict[str, Callable[[], Any]] = {"joint_states": self._joints}
        self._publishers: dict[str, Any] = {}
        ros.node.create_subscription(kind, topic, self._on_action, 10)
        self.statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        self.timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
        ros.node.create_timer(0.02, self._publish)

    def _joints(self) -> JointState:
        return JointState(name=["right", "other", "left"], position=[self.position[1], 9.0, self.position[0]])

    def _on_action(self, message: Any) -> None:
        self.actions.append(message)
        if self.follow and isinstance(message, JointTrajectory):
            self.position = list(message.points[0].positions)

    def _publish(self) -> None:
        for topic, make in self.messages.items():
            message = make()
            if hasattr(message, "header"):
                message.header.stamp = self.ros.node.get_clock().now().to_msg()
            if topic not in self._publishers:
                self._publishers[topic] = self.ros.node.create_publisher(type(message), topic, qos_profile_sensor_data)
            self._publishers[topic].publish(message)

    def values(self) -> dict[str, Any]:
        own = [status for status in list(self.statuses) if status.name == "policy_node"]
        return from_key_values(own[-1].values) if own else {}

    def records(self) -> list[dict[str, Any]]:
        return [timing_record(status) for message in list(self.timings) for status in message.status]


@pytest.fixture
def start(start_node: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    def starter(text: str, inputs: dict, outputs: dict, *arguments: str, gain: float = 0.01) -> Process:
        model = network(tmp_path / "m.onnx", inputs, outputs, gain)
        (tmp_path / "c.yaml").write_text(text)
        return start_node("policy_node", "-p", f"model:={model}", "-p", f"contract:={tmp_path}/c.yaml", *arguments)

    return starter


ENABLED = ("-p", "enabled:=true", "-p", "tracking_tolerance:=0.0")


def test_a_plain_network_drives_by_its_contract_alone(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Watcher(ros)
    robot.position = [0.5, 0.25]
    process = start(MLP, {"joints": (1, 2)}, {"velocity": (1, 2)}, *ENABLED, gain=2.0)
    assert ros.spin_until(lambda: bool(robot.actions) and any(robot.actions[-1].data))
    assert list(robot.actions[-1].data) == pytest.approx([0.75, 0.75])  # twice the mean of both
    assert ros.spin_until(lambda: len(robot.records()) > 5)
    record = robot.records()[-1]
    assert record["fill.joint_states"] == 1
    assert ":" in record["used.joint_states"]
    assert record["delay_steps"] == 0
    assert ros.call(SetBool, "policy_node/enable", SetBool.Request(data=False)).success
    assert ros.spin_until(lambda: not any(robot.actions[-1].data))
    output = process.output()
    assert "the robot's limits are those of" in output
    assert "[ACTION #1] +0.750 +0.750 | Time: " in output
    assert ros.spin_until(lambda: "ledger.joint_states.residual" in robot.values())  # a heartbeat of when it ran
    assert robot.values()["ledger.joint_states.residual"] == robot.values()["ledger.tick.residual"] == 0


def test_a_contract_in_the_model_is_enough(ros: Ros, start_node: Callable[..., Process], tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", {"joints": (1, 2)}, {"velocity": (1, 2)}, 2.0,
                    {"perf_inference.contract": MLP})  # fmt: skip
    robot = Watcher(ros)
    robot.position = [0.5, 0.25]
    start_node("policy_node", "-p", f"model:={model}", *ENABLED)
    assert ros.spin_until(lambda: bool(robot.actions) and any(robot.actions[-1].data))


def test_a_message_of_another_package(
    ros: Ros, start: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_wheels.py").write_text(
        'WHEELS = {"type": "geometry_msgs/msg/TwistStamped", "stamp": "header.stamp", '
        '"values": {"left": "twist.linear.x", "right": "twist.linear.y"}, "constants": {"header.frame_id": "base"}}\n'
        'WRONG = {**WHEELS, "values": {"left": "twist.linear.x", "right": "twist.up"}}\n'
    )
    info = tmp_path / "my_wheels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_wheels\nVersion: 1.0\n")
    entries = "wheels = my_wheels:WHEELS\nwrong = my_wheels:WRONG\n"
    (info / "entry_points.txt").write_text(f"[perf_inference.messages]\n{entries}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    network = {"joints": (1, 2)}, {"velocity": (1, 2)}
    text = MLP.replace("kind: velocity", "kind: velocity, message: wheels")
    process = start(text.replace("wheels", "wrong"), *network, *ENABLED)
    process.wait_for("message plug-in 'wrong' does not fit geometry_msgs/msg/TwistStamped")
    robot = Watcher(ros, TwistStamped)
    robot.position = [0.5, 0.25]
    node = start(text, *network, *ENABLED, gain=2.0)
    moved = ros.spin_until(lambda: bool(robot.actions) and robot.actions[-1].twist.linear.x != 0)
    assert moved, (robot.values(), node.output())
    last = robot.actions[-1]
    assert (last.twist.linear.x, last.twist.linear.y) == pytest.approx((0.75, 0.75))
    assert last.header.frame_id == "base"
    assert last.header.stamp.sec > 1_000_000_000


def test_chunks_are_played_while_the_next_is_computed(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Watcher(ros, JointTrajectory)
    robot.follow, robot.position = True, [0.2, 0.2]
    node = start(CHUNKS, {"joints": (1, 2)}, {"plan": (1, 16, 2)}, *ENABLED, "-p", "added_delay_ms:=[150]", gain=1.0)
    assert ros.spin_until(lambda: len(robot.records()) > 4)
    played = ros.spin_until(lambda: max(record["delay_steps"] for record in robot.records()[1:]) >= 3, 15)
    assert played, (node.output(), robot.records())  # the old plan was played meanwhile
    later = robot.records()[1:]
    # "epoch": the machine held the node up, and it began again.
    assert {record["chunk_dropped"] for record in later} <= {None, "None", "", "late", "epoch"}
    assert all(record["infer_ms"] >= 150 for record in later)
    assert robot.records()[0]["delay_steps"] == 0  # from standstill nothing is skipped
    seen, chunks = len(robot.actions), len(robot.records())
    assert ros.spin_until(lambda: len(robot.actions) > seen + 40)
    assert len(robot.records()) - chunks < (len(robot.actions) - seen) / 4  # many steps of each chunk


def test_a_chunk_that_is_no_number_never_leaves(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Watcher(ros, JointTrajectory)
    start(CHUNKS, {"joints": (1, 2)}, {"plan": (1, 16, 2)}, *ENABLED, gain=math.nan)
    assert ros.spin_until(lambda: robot.values().get("ledger.tick.rejected", 0) > 3)
    assert all(math.isfinite(v) for message in robot.actions for p in message.points for v in p.positions)
    assert robot.values()["ledger.tick.residual"] == 0


def test_a_mobile_base_is_driven_by_camera_odometry_and_scan(ros: Ros, start: Callable[..., Process]) -> None:
    from support.paths import ROOT

    robot = Watcher(ros, Twist, "cmd_vel")
    image = Image(height=48, width=64, encoding="rgb8", step=192, data=array("B", bytes(48 * 192)))
    scan = LaserScan(ranges=array("f", [1.0] * 360))
    odometry = Odometry()
    odometry.pose.pose.orientation.w = 1.0
    robot.messages = {"camera/image_raw": lambda: image, "scan": lambda: scan, "odom": lambda: odometry}
    text = (ROOT / "config" / "contracts" / "mobile_base.yaml").read_text()
    inputs = {"image": ((1, 60, 80, 3), "uint8"), "state": (1, 3), "scan": (1, 36)}
    node = start(text, inputs, {"cmd": (1, 2)}, *ENABLED, gain=5.0)
    assert ros.spin_until(lambda: bool(robot.actions) and robot.actions[-1].linear.x > 0.2), node.output()
    speeds = [message.linear.x for message in robot.actions]
    assert max(speeds) <= 0.5 + 1e-9
    del robot.messages["scan"]  # it falls silent: the base stops
    assert ros.spin_until(lambda: robot.actions[-1].linear.x == 0)
    robot.messages["scan"] = lambda: scan
    assert ros.spin_until(lambda: robot.actions[-1].linear.x > 0.2)
    os.kill(node.pid, signal.SIGKILL)  # its gate, a process of its own, stops the base
    assert ros.spin_until(lambda: robot.actions[-1].linear.x == 0)


def test_samples_out_of_order_are_put_in_order_and_are_no_error(ros: Ros, start: Callable[..., Process]) -> None:
    robot, late = Watcher(ros), [0]

    def joints() -> JointState:
        late[0] += 1
        return JointState(name=["left", "right"], position=robot.position)

    robot.messages["joint_states"] = joints
    publisher = ros.node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)

    def publish_late() -> None:
        message, ns = joints(), ros.node.get_clock().now().nanoseconds - 30_000_000
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 1_000_000_000)
        publisher.publish(message)

    ros.node.create_timer(0.02, publish_late)
    text = MLP.replace(
        "names: [left, right]}\nactions", "names: [left, right],\n   window: {length: 20, rate_hz: 50}}\nactions"
    )
    start(text, {"joints": (1, 20, 2)}, {"velocity": (1, 2)}, *ENABLED)
    assert ros.spin_until(lambda: any(record["fill.joint_states"] == 20 for record in robot.records()))
    assert ros.spin_until(lambda: "ledger.joint_states.rejected" in robot.values())  # a heartbeat may be lost
    assert robot.values()["ledger.joint_states.rejected"] == 0


@pytest.mark.thorough
def test_another_task_begins_anew(ros: Ros, start: Callable[..., Process]) -> None:
    robot = Watcher(ros)
    text = MLP.replace("actions:", "- {input: text, source: text}\ntask: a\nactions:")
    start(text, {"joints": (1, 2), "text": ((1, 16), "uint8")}, {"velocity": (1, 2)}, *ENABLED)
    assert ros.spin_until(lambda: any(record.get("task") == "a" for record in robot.records()))
    request = SetParameters.Request(parameters=[Parameter("task", value="pick it").to_parameter_msg()])
    assert ros.call(SetParameters, "policy_node/set_parameters", request).results[0].successful
    assert ros.spin_until(lambda: any(record.get("task") == "pick it" for record in robot.records()))
    bad = SetParameters.Request(parameters=[Parameter("task", value="a\nb").to_parameter_msg()])
    assert not ros.call(SetParameters, "policy_node/set_parameters", bad).results[0].successful


@pytest.mark.parametrize(
    ("text", "said"),
    sampled([
        (MLP.replace("[left, right], limits: {lower: -3, upper: 3, velocity: 1.5}", "[left, right]"),
         "limits.lower of left, right must be given"),
        (MLP.replace("sensor_msgs/msg/JointState", "no_such_package/msg/Thing"), "no_such_package/msg/Thing is not"),
        (MLP.replace("topic: joint_states", "topic: arm/states"), "an observation must be of the topic joint_states"),
        (MLP.replace("output: velocity", "output: v"), "the model has no output 'v'"),
        pytest.param(
            MLP.replace("actions:", "- {input: pose, source: tf, frames: [base, tool]}\nactions:"),
            "observations of source tf need tf2_ros",
            marks=pytest.mark.skipif(find_spec("tf2_ros") is not None, reason="tf2_ros is installed"),
        ),
        (MLP.replace("rate_hz: 20", "rate_hz: fast"), "rate_hz must be a number"),
    ], keep=2),
)  # fmt: skip
def test_what_does_not_fit_ends_the_start(start: Callable[..., Process], text: str, said: str) -> None:
    inputs = {"joints": (1, 2), **({"pose": (1, 7)} if "source: tf" in text else {})}
    process = start(text, inputs, {"velocity": (1, 2)})
    assert process.wait(60) == 78
    assert said in process.output()


INDEXED = """
rate_hz: 200
observations:
- {input: index, topic: index, type: std_msgs/msg/Float64MultiArray, fields: [data]}
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [left, right]}
actions:
- {output: plan, kind: position, names: [left, right], message: Float64MultiArray,
   limits: {lower: -1, upper: 1.5, velocity: 2}}
execution: sync
align_fade_s: 0.02
"""


def _hostile_model(path: Path, count: int) -> Path:
    """Write a model that looks its chunk up in a table of hostile ones."""
    import numpy as np
    from onnx import TensorProto, helper
    from support.hostile_chunks import hostile
    from support.onnx_models import save

    rng, table = np.random.default_rng(7), []
    while len(table) < count:
        chunk = hostile(rng, 2, 2, -1.0, 1.5)
        if chunk.shape == (1, 2, 2) and chunk.dtype.kind == "f":
            with np.errstate(over="ignore"):
                table.append(chunk[0].astype(np.float32))
    nodes = [
        helper.make_node("Cast", ["index"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mod", ["whole", "count"], ["row"]),
        helper.make_node("Gather", ["table", "row"], ["rows"], axis=0),
        helper.make_node("Squeeze", ["rows", "axis"], ["squeezed"]),
        helper.make_node("ReduceSum", ["joints"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["squeezed", "nothing"], ["plan"]),
    ]
    inputs = [
        helper.make_tensor_value_info("index", TensorProto.FLOAT, [1, 1]),
        helper.make_tensor_value_info("joints", TensorProto.FLOAT, [1, 2]),
    ]
    constants = {"table": np.array(table), "count": np.array([[count]], np.int64), "axis": np.array([0], np.int64),
                 "zero": np.array(0, np.float32)}  # fmt: skip
    return save(
        path, nodes, inputs, [helper.make_tensor_value_info("plan", TensorProto.FLOAT, [1, 2, 2])], constants, {}
    )


@pytest.mark.long
def test_hostile_chunks_through_the_node(ros: Ros, start_node: Callable[..., Process], tmp_path: Path) -> None:
    count = 2000
    model = _hostile_model(tmp_path / "m.onnx", count)
    (tmp_path / "c.yaml").write_text(INDEXED)
    robot = Watcher(ros)
    index = [0]

    def counted() -> Float64MultiArray:
        index[0] += 1
        return Float64MultiArray(data=array("d", [float(index[0])]))

    robot.messages["index"] = counted
    robot._joints = lambda: JointState(name=["left", "right"], position=robot.position)  # type: ignore[method-assign]
    robot.messages["joint_states"] = robot._joints
    ros.node.create_timer(0.005, robot._publish)
    start_node("policy_node", "-p", f"model:={model}", "-p", f"contract:={tmp_path}/c.yaml", *ENABLED)

    def answered() -> int:
        values = robot.values()
        return int(values.get("ledger.tick.processed", 0)) + int(values.get("ledger.tick.rejected", 0))

    def follow() -> bool:
        if robot.actions:
            robot.position = [min(max(v, -1.0), 1.5) for v in robot.actions[-1].data]
        return answered() >= count

    assert ros.spin_until(follow, 300)
    values = robot.values()
    assert values["ledger.tick.rejected"] > 100
    assert len(robot.actions) > 500
    for message in robot.actions:
        assert all(math.isfinite(v) and -1.0 <= v <= 1.5 for v in message.data), message.data
    print(f"{answered()} chunks, {values['ledger.tick.rejected']} refused, {len(robot.actions)} commands, all within")
