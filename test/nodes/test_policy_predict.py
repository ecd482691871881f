"""`predict` gives for a run's ticks the observations and actions that the node had, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

from geometry_msgs.msg import WrenchStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from support.policy_models import network
from support.processes import Process, Ros

CONTRACT = """
rate_hz: 10
observations:
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [a, b], fields: [position, velocity],
   window: {length: 20, rate_hz: 50, fill: linear}}
- {input: force, topic: force, type: geometry_msgs/msg/WrenchStamped, fields: [wrench],
   window: {length: 10, rate_hz: 50}}
- {input: extra, topic: extra, type: std_msgs/msg/Float64MultiArray}
- {input: extra, source: previous_action}
- {input: image, topic: image, type: sensor_msgs/msg/Image, window: {length: 2, rate_hz: 5}, max_age_s: 2.0}
actions:
- {output: velocity, kind: velocity, names: [a, b], limits: {lower: -3, upper: 3, velocity: 1.5}}
"""
INPUTS: dict[str, Any] = {
    "joints": (1, 20, 4), "force": (1, 10, 6), "extra": (1, 5), "image": ((1, 2, 24, 32, 3), "uint8"),
}  # fmt: skip
TOPICS = ("/joint_states", "/force", "/extra", "/image")


class Unreliable:
    """A robot whose messages are lost, come late and out of order, and whose camera stalls now and then."""

    def __init__(self, ros: Ros) -> None:
        self.ros, self.chance, self.began = ros, random.Random(3), time.monotonic()
        node = ros.node
        self._publishers = {
            "joint_states": node.create_publisher(JointState, "joint_states", 10),
            "force": node.create_publisher(WrenchStamped, "force", qos_profile_sensor_data),
            "extra": node.create_publisher(Float64MultiArray, "extra", 10),
            "image": node.create_publisher(Image, "image", qos_profile_sensor_data),
        }
        self._late: list[tuple[float, str, Any]] = []
        node.create_timer(0.01, self._publish)

    def _publish(self) -> None:
        now, chance = self.ros.node.get_clock().now().to_msg(), self.chance
        t = time.monotonic() - self.began
        each = {
            "joint_states": JointState(name=["b", "a"], position=[0.1 * t % 1, chance.uniform(-1, 1)]),
            "force": WrenchStamped(),
            "extra": Float64MultiArray(data=array("d", [chance.random(), t, 1.0])),
        }
        each["force"].wrench.force.x = chance.uniform(-5, 5)
        if chance.random() < 0.3 and t % 2.0 < 1.2:  # the camera stalls for 0.8 s
            data = array("B", bytes(chance.randrange(256) for _ in range(24 * 32 * 3)))
            each["image"] = Image(height=24, width=32, encoding="bgr8", step=96, data=data)
        for name, message in each.items():
            if hasattr(message, "header"):
                message.header.stamp = now
            if chance.random() < 0.1:
                continue  # lost
            self._late.append((t + chance.choice([0.0, 0.0, 0.0, 0.03]), name, message))
        for due, name, message in [entry for entry in self._late if entry[0] <= t]:
            self._publishers[name].publish(message)
            self._late.remove((due, name, message))


def test_a_run_is_predicted_bit_for_bit(
    ros: Ros, start_node: Callable[..., Process], start_command: Callable[..., Process], tmp_path: Path
) -> None:
    Unreliable(ros)
    model = network(tmp_path / "m.onnx", INPUTS, {"velocity": (1, 2)}, gain=0.01)
    (tmp_path / "c.yaml").write_text(CONTRACT)
    topics = f"topics:={list(TOPICS)}"
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path}/runs", "-p", topics)

    def recorded() -> set[str]:
        lines = [line[:90] for path in tmp_path.glob("runs/*/topics_1.jsonl") for line in path.read_text().splitlines()]
        return {name for name in TOPICS if any(line.startswith('{"seq"') and name in line for line in lines)}

    assert ros.spin_until(lambda: recorded() == set(TOPICS), 60)
    arguments = ("enabled:=true", "tracking_tolerance:=0.0", "threads:=1", "max_observation_age_s:=0.5")
    node = start_node("policy_node", "-p", f"model:={model}", "-p", f"contract:={tmp_path}/c.yaml",
                      *(part for argument in arguments for part in ("-p", argument)))  # fmt: skip
    run = next(tmp_path.glob("runs/*"))

    def ticks() -> list[dict[str, Any]]:
        files = list(run.glob("performance_timings_*.jsonl"))
        whole = files[0].read_text().split("\n")[:-1] if files else []  # the last line may grow
        return [json.loads(line) for line in whole]

    assert ros.spin_until(lambda: len(ticks()) > 60, 60)
    node.send(signal.SIGINT)
    assert ros.spin_until(lambda: not node.alive)
    recorder.send(signal.SIGINT)
    assert ros.spin_until(lambda: not recorder.alive)
    rows = [row for row in ticks() if "tick_ns" in row]
    predict = start_command("predict", str(model), str(run), "--contract", str(tmp_path / "c.yaml"), "--threads", "1",
                            "--json", str(tmp_path / "out.json"))  # fmt: skip
    status = predict.wait(120)
    entries = json.loads((tmp_path / "out.json").read_text())
    assert [entry["stamp_ns"] for entry in entries] == sorted(row["tick_ns"] for row in rows)
    whole = [entry for entry in entries if "missing" not in entry]
    assert len(whole) > len(entries) * 0.8, entries[0]
    assert all(entry["equal"] for entry in whole), predict.output()
    assert {len(entry["actions"]) for entry in whole} == {1}
    assert all(set(entry["observations"]) == set(INPUTS) for entry in whole)
    assert status == (0 if len(whole) == len(entries) else 3)
    # A tick whose sample is not there is named.
    for segment in run.glob("topics_*.jsonl"):
        lines = segment.read_text().splitlines(keepends=True)
        kept = [
            line for i, line in enumerate(lines) if i % 7 or not line.startswith('{"seq"') or "/force" not in line[:90]
        ]
        assert len(kept) < len(lines)
        segment.write_text("".join(kept))
    again = start_command("predict", str(model), str(run), "--contract", str(tmp_path / "c.yaml"), "--threads", "1",
                          "--json", str(tmp_path / "less.json"))  # fmt: skip
    assert again.wait(120) in (1, 3)
    less = json.loads((tmp_path / "less.json").read_text())
    assert any("has not all of" in entry.get("missing", "") for entry in less)
    assert all(entry["equal"] for entry in less if "missing" not in entry)
