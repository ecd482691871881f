"""The launch file, where ROS 2's own launch and command line are there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed (they come with a ROS 2)")

from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float64MultiArray
from support.paths import ROOT
from support.processes import Process, Ros, inherited, wait_until

from perf_inference.bringup.robot import default_config

LAUNCH_FILE = ROOT / "launch" / "robot.launch.py"

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
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what is killed outright cannot clear up
    started: list[Process] = []
    yield started
    for process in started:
        if process.alive:
            process.stop(signal.SIGINT, 15)
    for node in nodes_of(domain):
        node.kill()


def launch(started: list[Process], *arguments: str, file: Path = LAUNCH_FILE, before: tuple[str, ...] = ()) -> Process:
    command = [*before, "ros2", "launch", str(file), *arguments]
    started.append(Process(command, {**inherited(), "PYTHONUNBUFFERED": "1"}))
    return started[-1]


def nodes_of(domain: int) -> list[psutil.Process]:
    """Return the nodes of this package that run in the domain, wrappers around them too."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        mine = (process.info["environ"] or {}).get("ROS_DOMAIN_ID") == str(domain)
        if mine and any("/lib/perf_inference/" in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


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


# -- the end of launch ------------------------------------------------------------------------------------------------

OWN_LAUNCH_FILE = """
from launch import LaunchDescription
from launch_ros.actions import Node


def generate_launch_description():
    files = [{config!r}, {{"enabled": True}}]
    image = [("image", "camera/image_raw")]
    return LaunchDescription([
        Node(package="perf_inference", executable="sim_robot_node", remappings=image),
        Node(package="perf_inference", executable="policy_node", remappings=image, parameters=files),
    ])
"""


@pytest.mark.parametrize(
    ("how", "argument"),
    [
        (signal.SIGKILL, "container:=false"),
        (signal.SIGKILL, "container:=true"),
        (signal.SIGKILL, "launch-prefix:=timeout 600"),  # a process between launch and the node
        (signal.SIGTERM, "container:=false"),
        (signal.SIGTERM, "container:=true"),
        (signal.SIGTERM, "launch-prefix:=timeout 600"),
        (signal.SIGHUP, "container:=false"),
    ],
)
def test_a_launch_that_is_ended_takes_its_nodes_with_it(
    ros: Ros, launched: list[Process], domain: int, how: signal.Signals, argument: str
) -> None:
    actions = ros.collect(Float64MultiArray, "action")
    process = launch(launched, "sim:=true", "record:=false", argument)
    assert ros.spin_until(lambda: actions and any(actions[-1].data), 40), process.output()
    process.send(how)
    assert ros.spin_until(lambda: not nodes_of(domain)), nodes_of(domain)
    ros.spin_until(lambda: False, 0.5)
    assert not any(actions[-1].data)


def test_so_does_a_launch_file_of_ones_own(ros: Ros, launched: list[Process], domain: int, tmp_path: Path) -> None:
    file = tmp_path / "own.launch.py"
    file.write_text(OWN_LAUNCH_FILE.format(config=str(default_config())))
    actions = ros.collect(Float64MultiArray, "action")
    process = launch(launched, file=file)
    assert ros.spin_until(lambda: actions and any(actions[-1].data), 40), process.output()
    process.send(signal.SIGKILL)
    assert ros.spin_until(lambda: not nodes_of(domain)), nodes_of(domain)
    ros.spin_until(lambda: False, 0.5)
    assert not any(actions[-1].data)


def test_a_launch_that_is_only_stopped_takes_nothing_with_it(ros: Ros, launched: list[Process], domain: int) -> None:
    actions = ros.collect(Float64MultiArray, "action")
    process = launch(launched, "sim:=true", "record:=false", before=("setsid",))
    assert ros.spin_until(lambda: actions and any(actions[-1].data), 40), process.output()
    before = len(nodes_of(domain))
    process.send(signal.SIGSTOP)
    try:
        actions.clear()
        assert ros.spin_until(lambda: len(actions) > 20)
        assert len(nodes_of(domain)) == before
    finally:
        process.send(signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_node_is_left_whenever_launch_is_ended(launched: list[Process], domain: int, how: signal.Signals) -> None:
    moments = random.Random(1)
    slowest_s, running = 0.0, 0
    for turn in range(20):
        container = "true" if turn % 5 == 4 else "false"
        process = launch(launched, "sim:=true", "record:=false", f"container:={container}")
        wait_until(lambda: False, moments.uniform(0.5, 5.0))
        running += bool(nodes_of(domain))
        process.send(how)
        asked_s = time.monotonic()
        process.wait()
        assert wait_until(lambda: not nodes_of(domain)), nodes_of(domain)
        slowest_s = max(slowest_s, time.monotonic() - asked_s)
    print(f"{how.name}: 20 ends, {running} with nodes running: all gone, the slowest after {slowest_s:.2f} s")
    assert slowest_s < 3
