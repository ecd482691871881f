"""The launch file, where ROS 2's own launch and command line are there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed (they come with a ROS 2)")

from conftest import Process, Ros, wait_until
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float64MultiArray

LAUNCH_FILE = Path(__file__).resolve().parents[1] / "launch" / "robot.launch.py"

pytestmark = [
    pytest.mark.skipif(shutil.which("ros2") is None, reason="the command ros2 is not installed"),
    pytest.mark.skipif(
        not any(
            (Path(prefix) / "share" / "perf_inference").is_dir()
            for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":")
        ),
        reason="perf_inference is not on AMENT_PREFIX_PATH: build it with colcon and source install/local_setup.bash",
    ),
]


@pytest.fixture
def launched(domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Process]]:
    monkeypatch.chdir(tmp_path)
    started: list[Process] = []
    yield started
    for process in started:
        if process.alive:
            process.stop(signal.SIGINT, 15)


def launch(started: list[Process], *arguments: str) -> Process:
    command = ["ros2", "launch", str(LAUNCH_FILE), *arguments]
    started.append(Process(command, {**os.environ, "PYTHONUNBUFFERED": "1"}))
    return started[-1]


@pytest.mark.parametrize("container", ["false", "true"])
def test_the_simulated_robot_is_driven_and_watched(ros: Ros, launched: list[Process], container: str) -> None:
    actions = ros.collect(Float64MultiArray, "r1/action")
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    process = launch(launched, "sim:=true", "record:=false", "namespace:=r1", f"container:={container}")
    assert ros.spin_until(lambda: any(any(m.data) for m in actions), 40), process.output()
    wanted = "monitor_node: r1/policy_node/engine"
    assert ros.spin_until(lambda: any(s.name == wanted for m in diagnostics for s in m.status), 20)
    assert process.stop(signal.SIGINT, 15) == 0, process.output()
    assert "process has died" not in process.output()


def test_a_wrong_configuration_ends_the_launch_with_a_status(launched: list[Process], tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(
        "/**/yolo_node:\n  ros__parameters: {confidence: 3.0}\n/**/monitor_node:\n  ros__parameters: {}\n"
    )
    process = launch(launched, f"config:={config}", "record:=false")
    assert wait_until(lambda: not process.alive, 40), process.output()
    assert process.wait() != 0
    assert "parameter 'confidence' of yolo_node must be a number from 0 to 1, got 3.0" in process.output()
