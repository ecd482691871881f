"""The console before the running demo: faults that are named, and every key, through a terminal of 80x24."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from std_msgs.msg import Bool, Float64MultiArray
from support.processes import Process, Ros, inherited, wait_until

from perf_inference.console.picture import Picture, Row
from perf_inference.nodes.console.listener import Listener

pytestmark = pytest.mark.long


class Robot:
    """The demo in a process of its own, and the console's ear."""

    def __init__(self, start: Callable[..., Process], *arguments: str) -> None:
        self.demo = start("demo", "--duration", "600", *arguments)
        self.listener = Listener()
        self.picture: Picture = self.listener.look()

    def ready(self) -> None:
        wanted = {"policy_node", "yolo_node", "caption_node", "recorder_node"}
        assert wait_until(lambda: wanted <= {row.name for row in self.look().rows}, 90), self.demo.output()
        time.sleep(8)  # as long as an operator looks on before something happens

    def look(self) -> Picture:
        self.picture = self.listener.look()
        time.sleep(0.2)
        return self.picture

    def row(self, name: str) -> Row | None:
        return self.look().row(name)

    def process(self, node: str) -> psutil.Process:
        """Return a node's process."""
        return _process(self.demo, node)

    def is_named(self, node: str, *kinds: str) -> bool:
        """Wait until one of these kinds is the cause that a node shows."""
        return wait_until(lambda: (row := self.row(node)) is not None and row.cause.kind in kinds, 60)

    def told(self) -> str:
        return "\n".join(f"{row.name} [{row.cause.kind}] {row.cause.text}" for row in self.picture.rows)


@pytest.fixture
def robot(start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[
    Callable[..., Robot]
]:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    started: list[Robot] = []

    def start(*arguments: str) -> Robot:
        started.append(Robot(start_command, *arguments))
        started[-1].ready()
        return started[-1]

    yield start
    for one in started:
        one.listener.close()


def test_console_names_a_slow_camera(robot: Callable[..., Robot]) -> None:
    seen = robot("--set", "sim_camera.camera_rate=14.0")
    assert seen.is_named("yolo_node", "slow_source"), seen.told()


def test_console_names_a_slow_engine_and_a_full_disk(robot: Callable[..., Robot]) -> None:
    seen = robot("--delay-ms", "250", "--set", "recorder_node.min_free_bytes=1000000000000000")
    assert seen.is_named("recorder_node", "disk_full"), seen.told()
    assert seen.is_named("policy_node", "infer", "busy_cores", "stale_input", "no_action"), seen.told()


def test_console_names_what_is_held_and_what_has_died(robot: Callable[..., Robot]) -> None:
    seen = robot()
    camera, arm, yolo = seen.process("sim_camera"), seen.process("sim_arm"), seen.process("nodes.yolo_node")
    camera.send_signal(signal.SIGSTOP)
    assert seen.is_named("yolo_node", "stalled"), seen.told()
    assert wait_until(lambda: seen.look().banner.state == "SAFE"), seen.picture.banner
    assert "/camera/image_raw" in seen.picture.banner.cause
    camera.send_signal(signal.SIGCONT)
    assert wait_until(lambda: seen.look().banner.state == "DRIVING", 60), seen.picture.banner
    assert any("SAFE" in event.text and "/camera/image_raw" in event.text for event in seen.picture.events)
    arm.send_signal(signal.SIGSTOP)
    assert seen.is_named("policy_node", "stale_input", "stalled"), seen.told()
    arm.send_signal(signal.SIGCONT)
    yolo.send_signal(signal.SIGSTOP)
    assert seen.is_named("yolo_node", "silent"), seen.told()
    assert seen.picture.rows[0].name == "yolo_node"
    yolo.send_signal(signal.SIGCONT)
    yolo.kill()
    assert seen.is_named("yolo_node", "restarted", "silent"), seen.told()
    assert wait_until(lambda: (row := seen.row("yolo_node")) is not None and row.silent_s < 1, 60)


def test_console_names_stops_and_who_else_sends(robot: Callable[..., Robot], ros: Ros) -> None:
    seen = robot()
    estop = ros.node.create_publisher(Bool, "estop", 10)
    assert ros.spin_until(lambda: estop.get_subscription_count() > 0)
    estop.publish(Bool(data=True))
    assert seen.is_named("policy_node", "estop"), seen.told()
    estop.publish(Bool(data=False))
    action = ros.node.create_publisher(Float64MultiArray, "action", 10)
    assert ros.spin_until(lambda: action.get_subscription_count() > 0)

    def is_told() -> bool:
        action.publish(Float64MultiArray(data=[0.0, 0.0]))
        row = seen.row("policy_node")
        return row is not None and row.cause.kind == "other_sender"

    assert wait_until(is_told, 60), seen.told()


def _process(demo: Process, node: str) -> psutil.Process:
    """Return the process of a node, by what its module or its name in the graph ends in."""
    for one in psutil.Process(demo.pid).children(recursive=True):
        if any(part.endswith((node, f"__node:={node}")) for part in one.cmdline()):
            return one
    raise AssertionError(f"no process of {node}")


class Terminal:
    """A terminal of its own (tmux) with the console in it."""

    def __init__(self, folder: Path, width: int = 80, height: int = 24) -> None:
        self._name = f"console-{os.getpid()}"
        command = f"{shlex.quote(sys.executable)} -m perf_inference.cli console; echo ended with $?; sleep 100"
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(folder), command
        )

    def _tmux(self, *arguments: str) -> str:
        env = {**inherited(), "TERM": "xterm-256color"}
        done = subprocess.run(["tmux", "-u", "-L", self._name, *arguments], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def shows(self, *words: str, timeout_s: float = 60.0) -> None:
        assert wait_until(lambda: all(word in self.text() for word in words), timeout_s), f"{words}\n{self.text()}"

    def leave(self) -> None:
        """Leave a dialog; a key that came at once with Escape would be Alt with it."""
        self.press("Escape")
        assert wait_until(lambda: "╭" not in self.text()), self.text()

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._name, "kill-server"], capture_output=True)


@pytest.fixture
def terminal(domain: int, tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("no tmux on this machine")
    pytest.importorskip("textual", reason="the extra console is not installed")
    made = Terminal(tmp_path)
    yield made
    made.close()


def test_console_in_a_terminal_before_the_demo(
    terminal: Terminal, start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    terminal.shows("NO POLICY", "no node is heard yet")
    demo = start_command("demo", "--duration", "600", "--set", "caption_node.rate=5.0")
    terminal.shows("DRIVING", "policy_node", "yolo_node", "caption_node", "recorder_node", "FPS")
    terminal.press("s")
    terminal.shows('caption: "a ')
    terminal.press("R")
    terminal.shows("no speech_node runs")
    terminal.press("m")
    terminal.shows("Model of caption_node", "1* Original (captioner)", "2  Pruned (pruned)", "try: M 2 3")
    terminal.press("Space")  # within a redraw, also while a dialog is open
    terminal.shows("SAFE: disabled")
    terminal.press("1")
    terminal.shows("Precision of captioner", "3  INT8")
    terminal.press("3")
    terminal.shows("Runtime", "tensorrt  ")
    terminal.press("Enter")
    terminal.shows("Device")
    terminal.press("Enter")
    terminal.shows("+ INT8", timeout_s=180)
    terminal.press("E")
    terminal.shows("The robot may move")
    terminal.press("y")
    terminal.shows("DRIVING")
    terminal.press("b")
    terminal.shows("paused: topics are not recorded")
    terminal.shows("recorder_node is paused")
    terminal.press("B")
    terminal.shows("recording")
    terminal.press("P")
    terminal.shows("latency, all", "caption_node:")
    terminal.leave()
    terminal.press("?")
    terminal.shows("disable every policy, at once")
    terminal.leave()
    terminal.press("t")
    terminal.shows("Task of policy_node")
    terminal.press("x", "Enter")
    terminal.shows("task")
    terminal.resize(120, 40)
    terminal.shows("where the ms go")
    terminal.resize(80, 24)
    terminal.shows("where the ms go")
    yolo = next(
        one for one in psutil.Process(demo.pid).children(recursive=True) if "yolo_node" in " ".join(one.cmdline())
    )
    yolo.kill()
    terminal.shows("yolo_node was started again")
    caption = _process(demo, "nodes.caption_node")
    caption.send_signal(signal.SIGSTOP)
    terminal.press("s")  # hangs
    terminal.press("Space")
    terminal.shows("SAFE: disabled", timeout_s=20)
    caption.send_signal(signal.SIGCONT)
    terminal.press("C-x")
    terminal.shows("Stop the robot?")
    terminal.press("n")
    terminal.press("q")
    terminal.shows("ended with 0")
    assert demo.alive  # the robot goes on


def test_console_starts_nodes_that_go_on_without_it(
    domain: int, start_command: Callable[..., Process], tmp_path: Path
) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text("/**/caption_node:\n  ros__parameters: {model: captioner, threads: 1}\n")
    console = start_command("console", "--up", str(config), "--once", "--seconds", "60")
    assert console.wait(120) == 0, console.output()
    pid = int(console.output().rpartition("kill -INT ")[2])
    log = Path(console.output().rpartition("(log: ")[2].partition(")")[0])
    try:
        assert "caption_node" in console.output()
        assert "as you have set it" not in log.read_text()
        nodes = start_command("nodes", "--seconds", "30")
        assert nodes.wait(60) == 0, nodes.output()
        assert "caption_node" in nodes.output()
    finally:
        run = psutil.Process(pid)
        run.send_signal(signal.SIGINT)
        run.wait(30)
        log.unlink()
