"""What the monitor says of nodes that never came, that rest, and of a warning that only its margin keeps up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from support.paths import ROOT
from support.processes import Process, Ros

from perf_inference.bringup.robot import read_graph
from perf_inference.measure.alarm import Alarm, Limits
from perf_inference.nodes.monitor.missing import Missing
from perf_inference.nodes.monitor.watched_node import NodeLimits, WatchedNode, judged
from perf_inference.nodes.reports.messages import ERROR, OK, from_key_values, key_values, level

LIMITS = NodeLimits(5.0, 5.0, Limits(5.0), Limits(10.0), Limits(90.0, None, 2.0, best=100), 10.0)


def test_a_node_that_never_came_is_an_error_and_is_forgotten_when_it_comes() -> None:
    missing = Missing(["yolo_node/engine", "robot1/sim_arm"], within_s=20.0, now_s=100.0)

    def said(heard: list[str], now_s: float) -> dict[str, bytes]:
        return {status.name: level(status) for status in missing.statuses(heard, now_s)}

    names = ("monitor_node: yolo_node/engine", "monitor_node: robot1/sim_arm/node")
    assert said([], 119.0) == dict.fromkeys(names, OK)
    assert said([], 121.0) == dict.fromkeys(names, ERROR)
    assert "never came" in missing.statuses([], 121.0)[0].message
    assert said(["yolo_node"], 122.0) == {names[1]: ERROR}
    assert said([], 123.0) == {names[1]: ERROR}  # one that came and fell silent is another matter


def test_the_starter_tells_the_monitor_what_it_starts(tmp_path: Path) -> None:
    graph = read_graph(ROOT / "config" / "robot.yaml", sim=True, record=False)
    monitor = next(node for node in graph.nodes if node.executable == "monitor_node")
    assert monitor.parameters["expected"] == [
        "sim_arm/node", "sim_camera/node", "policy_node/engine", "yolo_node/engine", "caption_node/engine"
    ]  # fmt: skip
    graph.close()
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"/**/monitor_node": {"ros__parameters": {"expected": ["lidar"]}}}))
    (node,) = read_graph(own).nodes
    assert "expected" not in node.parameters


def test_a_warning_that_only_the_margin_keeps_up_names_its_limit() -> None:
    alarm, rate = Alarm(Limits(10.0, None, 2.0)), Alarm(Limits(90.0, None, 2.0, best=100))
    assert judged(alarm, 12.0, "12 % dropped", "%") == (1, "12 % dropped")
    assert judged(alarm, 9.0, "9 % dropped", "%") == (1, "9 % dropped (until it is below 8 %)")
    assert judged(alarm, 7.9, "7.9 % dropped", "%") == (0, "")
    assert judged(rate, 80.0, "24 Hz", "% of it") == (1, "24 Hz")
    assert judged(rate, 91.0, "27.3 Hz", "% of it") == (1, "27.3 Hz (until it is above 92 % of it)")
    assert judged(rate, 92.1, "27.6 Hz", "% of it") == (0, "")


def test_a_node_that_is_not_active_has_no_rate_to_keep() -> None:
    values = {
        "engine": "detector", "driven_by": "image", "rate_hz": 0.0, "expected_hz": 30.0, "input.image.topic": "/image",
        "input.image.problem": "nothing on /image for 9.0 s", "input.image.frame_rate_node": 0.0,
        "input.image.expected_frequency": 30.0, "image_age_s": 1 / 3, "latency_p50_ms": 1.23456789,
    }  # fmt: skip

    def said(state: str) -> list[DiagnosticStatus]:
        node = WatchedNode("yolo_node", LIMITS)
        beat = DiagnosticStatus(
            level=OK, name="yolo_node", message=state, hardware_id="a/1",
            values=key_values({**values, "lifecycle": state}),
        )  # fmt: skip
        node.heard(beat, 10.0)
        return node.statuses(10.1)

    resting, driven = said("inactive"), said("active")
    assert [status.name for status in resting] == [status.name for status in driven]
    assert [level(status) for status in resting] == [OK, OK]
    assert [status.message for status in resting] == ["inactive", "inactive"]
    assert all(level(status) != OK for status in driven)
    assert from_key_values(driven[0].values)["latency_p50_ms"] == 1.235


def test_diagnostics_have_it(ros: Ros, start_node: Callable[..., Process]) -> None:
    messages: list[DiagnosticArray] = ros.collect(DiagnosticArray, "/diagnostics")
    start_node("monitor_node", "-p", "expected:=[lidar, sim]", "-p", "expected_within_s:=1.0")
    start_node("sim_robot_node", "-r", "__node:=sim")

    def newest() -> dict[str, DiagnosticStatus]:
        return {status.name: status for status in messages[-1].status} if messages else {}

    def told() -> bool:
        lidar, sim = newest().get("monitor_node: lidar/node"), newest().get("monitor_node: sim/node")
        return lidar is not None and level(lidar) == ERROR and sim is not None and sim.message == "simulating: all"

    assert ros.spin_until(told, 60), newest()
