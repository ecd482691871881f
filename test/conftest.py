"""Fixtures: a private ROS domain per test, nodes as real processes, waiting for conditions instead of sleeping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from perf_inference.bringup import tuning
from perf_inference.bringup.domain import free_domain

SHARED_DATA = Path(os.environ.get("PERF_INFERENCE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def wait_until(predicate: Callable[[], Any], timeout_s: float = 30.0) -> bool:
    """Return whether the predicate became true within the time."""
    deadline = time.monotonic() + timeout_s
    while not (result := predicate()) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return bool(result)


_WITH_PROCESSES = {"domain", "ros", "start_node", "start_command", "launched"}  # fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start ROS processes: `make core` leaves them out."""
    for item in items:
        if _WITH_PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


_TRANSPORT = (
    "FASTDDS_BUILTIN_TRANSPORTS",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "CYCLONEDDS_URI",
    "ZENOH_CONFIG_OVERRIDE",
)
_SET_BY_THE_USER = frozenset(os.environ)


def inherited() -> dict[str, str]:
    """Return this process' environment without what importing the package's nodes has set in it."""
    ours = {*tuning.ALLOCATOR, tuning.TUNING, *_TRANSPORT} - _SET_BY_THE_USER
    return {name: value for name, value in os.environ.items() if name not in ours}


class Process:
    """A node that runs as a process of its own; its output is collected."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        )  # fmt: skip
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._lines.append(line)

    def output(self) -> str:
        return "".join(self._lines)

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait until the process has printed the text; fail with its output otherwise."""
        assert wait_until(lambda: text in self.output() or not self.alive, timeout_s), self.output()
        assert text in self.output(), self.output()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float = 60.0) -> int:
        status = self._process.wait(timeout_s)
        self._reader.join(2.0)
        return status

    def send(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    def stop(self, how: signal.Signals = signal.SIGINT, timeout_s: float = 30.0) -> int:
        """Send the signal and return the exit status."""
        if self.alive:
            self._process.send_signal(how)
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


class Ros:
    """A context and a node of the test itself, spun by the test's own thread."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}

    def spin_until(self, predicate: Callable[[], Any], timeout_s: float = 30.0) -> bool:
        """Spin until the predicate is true; return whether it became so in time."""
        deadline = time.monotonic() + timeout_s
        while not (result := predicate()) and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)
        return bool(result)

    def collect(self, message_type: Any, topic: str, qos: Any = 10) -> list[Any]:
        """Return a list that fills with the messages of a topic while the test spins."""
        messages: list[Any] = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = 30.0) -> Any:
        """Return the service's answer."""
        client = self._clients.get(name) or self.node.create_client(service_type, name)
        self._clients[name] = client  # each new one would cost the server memory for good
        assert self.spin_until(client.service_is_ready, timeout_s), f"no service {name}"
        future = client.call_async(request)
        assert self.spin_until(future.done, timeout_s), f"no answer from {name}"
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain that nobody else uses, for this test and the processes that it starts."""
    number = free_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number


@pytest.fixture
def ros(domain: int) -> Iterator[Ros]:
    """A node of the test in its domain."""
    pytest.importorskip("rclpy")
    helper = Ros()
    yield helper
    helper.close()


@pytest.fixture
def start_node(domain: int) -> Iterator[Callable[..., Process]]:
    """Start `start_node("yolo_node", "-p", "model:=detector", env={...})`; all are ended after the test."""
    started: list[Process] = []

    def start(name: str, *ros_args: str, env: dict[str, str] | None = None) -> Process:
        command = [sys.executable, "-m", f"perf_inference.nodes.{name}", "--ros-args", *ros_args]
        process = Process(command, {**inherited(), "PYTHONUNBUFFERED": "1", **(env or {})})
        started.append(process)
        return process

    yield start
    _end(started, signal.SIGINT)


def _end(processes: list[Process], how: signal.Signals) -> None:
    """End what still runs, all at once: killed outright they would leave their shared memory behind."""
    left = [process for process in processes if process.alive]
    for process in left:
        process.send(how)
    for process in left:
        process.stop(how)


@pytest.fixture
def start_command(domain: int) -> Iterator[Callable[..., Process]]:
    """Start `start_command("demo", "--duration", "5")`: the command line in a process of its own."""
    started: list[Process] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Process:
        command = [sys.executable, "-m", "perf_inference.cli", *arguments]
        process = Process(command, {**inherited(), "PYTHONUNBUFFERED": "1", **(env or {})})
        started.append(process)
        return process

    yield start
    _end(started, signal.SIGTERM)


@pytest.fixture
def shared_data() -> Path:
    """Real images, models and bags that are not part of this package."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no test data at {SHARED_DATA}; set PERF_INFERENCE_TEST_DATA")
    return SHARED_DATA


__all__ = ["Process", "Ros", "wait_until"]
