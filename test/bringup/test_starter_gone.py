"""A node whose starter is gone sends what is safe and ends; the starter here is a plain Python process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from std_msgs.msg import Float64MultiArray
from support.cases import sampled
from support.processes import Process, Ros, inherited, wait_until

import perf_inference
from perf_inference.bringup import child_process
from perf_inference.bringup.child_process import SUPERVISED
from perf_inference.bringup.robot import default_config
from perf_inference.errors import EX_CONFIG

ROOT = str(Path(perf_inference.__file__).parents[1])
# Starts the rest of its command line with itself named as the starter, and passes on what that prints.
STARTER = """
import os, subprocess, sys, time
from perf_inference.bringup import child_process
name = {} if os.path.basename(sys.argv[0]) == "ros2" else child_process.named()
command = sys.argv[1 if name else 2:]
child = subprocess.Popen(command, env={**os.environ, **name}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print("child", child.pid, flush=True)
for line in child.stdout: os.write(1, line)
print("status", child.wait(), flush=True)
time.sleep(60)
"""
# What a node does about its starter, and nothing else: `follow`, then wait for SIGTERM.
FOLLOWER = """
import os, sys, time
from perf_inference.bringup import child_process
tie = child_process.follow()
print("ended:", tie.ended() or "-", "said:", tie.said, flush=True)
while not tie.ended(): time.sleep(0.01)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start a command as a process in a session of its own; whatever is left of the session is killed at the end."""
    started: list[Process] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup

    def starts(*command: str, env: dict[str, str] | None = None) -> Process:
        own = {"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1", "STARTED_BY_TEST": str(os.getpid())}
        started.append(Process(["setsid", *command], {**inherited(), **own, **(env or {})}))
        return started[-1]

    yield starts
    signal.signal(signal.SIGHUP, before)
    for process in started:
        process.stop(signal.SIGKILL)
    for pid in left_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)


def left_of(test: int) -> list[int]:
    """Return the processes that this test has started and that still run."""

    def is_one(process: psutil.Process) -> bool:
        try:
            mine = process.environ().get("STARTED_BY_TEST") == str(test)
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # it has ended meanwhile
            return False

    return [process.pid for process in psutil.process_iter() if is_one(process)]


def child_of(starter: Process) -> int:
    starter.wait_for("child ")
    return int(starter.output().partition("child ")[2].split()[0])


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# -- what a process follows -------------------------------------------------------------------------------------------

WRAPPERS = {
    "none": [],
    "a shell": ["sh", "-c", '"$@"; exit', "sh"],
    "a shell in a shell": ["sh", "-c", 'sh -c \'"$@"; exit\' sh "$@"; exit', "sh"],
    "one that has left": ["sh", "-c", '"$@" & exit', "sh"],
}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_it_ends_with_its_starter(start: Callable[..., Process], wrapper: str, how: signal.Signals) -> None:
    starter = start(*python(STARTER), *WRAPPERS[wrapper], *python(FOLLOWER))
    starter.wait_for("ended: -")
    said = {"none": "said: \n", "one that has left": "no ancestor"}.get(wrapper, f"started by process {starter.pid} (")
    assert said in starter.output()
    starter.send(how)
    assert wait_until(lambda: not left_of(os.getpid()))


def test_it_ends_with_the_wrapper_too(start: Callable[..., Process]) -> None:
    starter = start(*python(STARTER), *WRAPPERS["a shell"], *python(FOLLOWER))
    starter.wait_for("ends with either of them")
    os.kill(child_of(starter), signal.SIGKILL)
    assert wait_until(lambda: left_of(os.getpid()) == [starter.pid])


@pytest.mark.slow
def test_a_starter_that_is_only_stopped_is_not_gone(start: Callable[..., Process]) -> None:
    starter = start(*python(STARTER), *python(FOLLOWER))
    starter.wait_for("ended: -")
    starter.send(signal.SIGSTOP)
    assert wait_until(lambda: psutil.Process(starter.pid).status() == psutil.STATUS_STOPPED)
    assert not wait_until(lambda: gone(child_of(starter)), 1.0)
    starter.send(signal.SIGCONT)
    assert not wait_until(lambda: gone(child_of(starter)), 0.5)


@pytest.mark.slow
def test_one_that_does_not_end_is_killed(start: Callable[..., Process]) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOLLOWER + "time.sleep(60)"
    starter = start(*python(STARTER), *python(stubborn))
    starter.wait_for("ended: -")
    starter.send(signal.SIGKILL)
    assert wait_until(lambda: gone(child_of(starter)))


def test_without_process_descriptors_it_looks(start: Callable[..., Process]) -> None:
    older = "import os; del os.pidfd_open\n" + FOLLOWER
    starter = start(*python(STARTER), *WRAPPERS["one that has left"], *python(older))
    starter.wait_for("ended: -")
    starter.send(signal.SIGKILL)
    assert wait_until(lambda: not left_of(os.getpid()))


def test_another_process_with_the_starters_number_is_not_the_starter(start: Callable[..., Process]) -> None:
    follower = start(*python(FOLLOWER), env={SUPERVISED: f"{os.getpid()}:1"})
    assert follower.wait() == 0
    assert f"ended: process {os.getpid()} (" in follower.output()


@pytest.mark.parametrize("verb", ["launch", "run"])
def test_ros2_itself_is_followed_without_being_named(start: Callable[..., Process], tmp_path: Path, verb: str) -> None:
    (tmp_path / "ros2").write_text(STARTER)
    starter = start(sys.executable, str(tmp_path / "ros2"), verb, *python(FOLLOWER))
    starter.wait_for("ended: -")
    starter.send(signal.SIGKILL)
    assert wait_until(lambda: not left_of(os.getpid()))


@pytest.mark.slow
def test_any_other_parent_may_end(start: Callable[..., Process], tmp_path: Path) -> None:
    starter = start("sh", "-c", '"$@" & sleep 60', "sh", *python(FOLLOWER))
    starter.wait_for("ended: -")
    starter.send(signal.SIGKILL)
    assert starter.wait() == -signal.SIGKILL
    assert wait_until(lambda: len(left_of(os.getpid())) == 2)  # sleep and the follower


@pytest.mark.parametrize("value", ["none", ""])
def test_nobody_is_followed_where_nobody_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUPERVISED, value)
    monkeypatch.setattr(child_process, "_tie", None)
    assert (child_process.follow().ended(), child_process.follow().said) == ("", "")


@pytest.mark.parametrize("value", ["yes", "0", "-1", "12:yes", "1.5"])
def test_a_wrong_name_is_told(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUPERVISED, value)
    monkeypatch.setattr(child_process, "_tie", None)
    with pytest.raises(
        child_process.StarterError, match=f"{SUPERVISED} must be the number of a process, or none; got '{value}'"
    ):
        child_process.follow()


# -- nodes ------------------------------------------------------------------------------------------------------------

SIM = ["-r", "image:=camera/image_raw", "-p", "enabled:=true"]


def nodes_of(how: str) -> list[str]:
    """Return the command line of the policy, or of a container with it."""
    named = ["container", "policy_node", "yolo_node"] if how == "container" else ["policy_node"]
    return [sys.executable, "-m", f"perf_inference.nodes.{named[0]}", *named[1:], "--ros-args",
            "--params-file", str(default_config()), *SIM]  # fmt: skip


@pytest.fixture
def actions(ros: Ros, start_node: Callable[..., Process]) -> list[Float64MultiArray]:
    """The actions that reach somebody outside, while a simulated robot runs that no starter ends."""
    start_node("sim_robot_node", "-r", "image:=camera/image_raw")
    return ros.collect(Float64MultiArray, "action")


def moving(actions: list[Float64MultiArray]) -> bool:
    return bool(actions) and any(actions[-1].data)


def rests_for_good(ros: Ros, actions: list[Float64MultiArray]) -> bool:
    """Return whether the last action is the safe one, and stays it."""
    ros.spin_until(lambda: False, 0.5)
    return not moving(actions)


@pytest.mark.parametrize("wrapper", sampled(["one that has left", "none", "a shell"]))
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
def test_a_policy_whose_starter_is_gone_sends_what_is_safe_and_ends(
    ros: Ros, actions: list[Float64MultiArray], start: Callable[..., Process], wrapper: str, how: signal.Signals
) -> None:
    starter = start(*python(STARTER), *WRAPPERS[wrapper], *nodes_of("process"))
    assert ros.spin_until(lambda: moving(actions), 60), starter.output()
    starter.send(how)
    assert ros.spin_until(lambda: not left_of(os.getpid()))
    assert rests_for_good(ros, actions)


def test_a_container_does_so_too(ros: Ros, actions: list[Float64MultiArray], start: Callable[..., Process]) -> None:
    starter = start(*python(STARTER), *nodes_of("container"))
    assert ros.spin_until(lambda: moving(actions), 60), starter.output()
    starter.send(signal.SIGKILL)
    assert ros.spin_until(lambda: not left_of(os.getpid()))
    assert rests_for_good(ros, actions)


@pytest.mark.thorough
def test_a_closed_terminal_is_no_reason_to_move_on(
    ros: Ros, actions: list[Float64MultiArray], start: Callable[..., Process]
) -> None:
    ours, theirs = os.openpty()
    # The first terminal that the leader of a session opens becomes that session's.
    starter = start("sh", "-c", f'exec "$@" <{os.ttyname(theirs)}', "sh", *python(STARTER), *nodes_of("process"))
    assert ros.spin_until(lambda: moving(actions), 60), starter.output()
    os.close(theirs)
    os.close(ours)
    assert ros.spin_until(lambda: not left_of(os.getpid()))
    assert starter.wait() == -signal.SIGHUP
    assert rests_for_good(ros, actions)


@pytest.mark.parametrize("how", sampled([signal.SIGHUP, signal.SIGQUIT]))
def test_what_a_terminal_sends_ends_a_policy_in_order(
    ros: Ros, actions: list[Float64MultiArray], start: Callable[..., Process], how: signal.Signals
) -> None:
    policy = start(*nodes_of("process"))
    assert ros.spin_until(lambda: moving(actions), 60), policy.output()
    policy.send(how)
    assert ros.spin_until(lambda: not policy.alive)
    assert policy.wait() == 0, policy.output()
    assert rests_for_good(ros, actions)


@pytest.mark.thorough
def test_under_nohup_a_policy_drives_on(
    ros: Ros, actions: list[Float64MultiArray], start: Callable[..., Process]
) -> None:
    policy = start("nohup", *nodes_of("process"))
    assert ros.spin_until(lambda: moving(actions), 60), policy.output()
    policy.send(signal.SIGHUP)
    before = len(actions)
    assert ros.spin_until(lambda: len(actions) > before + 10)
    assert moving(actions)


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 1.0])
def test_it_does_not_start_without_its_starter(domain: int, start: Callable[..., Process], after_s: float) -> None:
    starter = start(*python(STARTER), *nodes_of("process"))
    child_of(starter)
    wait_until(lambda: False, after_s)
    starter.send(signal.SIGKILL)
    assert wait_until(lambda: not left_of(os.getpid()))


OWN_NODE = python("from perf_inference.nodes.ros import runner; runner.leave(runner.run([]))")


@pytest.mark.parametrize(
    ("value", "status", "told"),
    [
        ("{gone}", 1, f"not started: its starter, process {{gone}}, has ended ({SUPERVISED}={{gone}}"),
        ("yes", EX_CONFIG, f"bad configuration: {SUPERVISED} must be the number of a process, or none; got 'yes'"),
    ],
)
@pytest.mark.parametrize("command", [nodes_of("process"), OWN_NODE], ids=["policy_node", "an executable of one's own"])
def test_it_says_why_it_does_not_start(
    domain: int, start: Callable[..., Process], command: list[str], value: str, status: int, told: str
) -> None:
    ended = start("true")
    ended.wait()
    policy = start(*command, env={SUPERVISED: value.format(gone=ended.pid)})
    assert policy.wait() == status
    assert told.format(gone=ended.pid) in policy.output()
