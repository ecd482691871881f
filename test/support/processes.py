"""Nodes as real processes, a node of the test itself, and waiting for conditions instead of sleeping."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from perf_inference.bringup import tuning


def wait_until(predicate: Callable[[], Any], timeout_s: float = 30.0) -> bool:
    """Return whether the predicate became true within the time."""
    deadline = time.monotonic() + timeout_s
    while not (result := predicate()) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return bool(result)


_TRANSPORT = (
    "FASTDDS_BUILTIN_TRANSPORTS",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "CYCLONEDDS_URI",
    "ZENOH_CONFIG_OVERRIDE",
)
_PATIENCE_S = 5.0  # with an answer, before a question that changes nothing is asked again
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
        self.send(how)
        return self.ended(timeout_s)

    def ended(self, timeout_s: float = 30.0) -> int:
        """Return the exit status of one that was asked to end; one that does not is killed, and that is an error."""
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
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
        deadline = time.monotonic() + timeout_s
        changes_nothing = service_type.__name__.startswith(("Get", "List", "Describe"))
        patience_s = _PATIENCE_S if changes_nothing else timeout_s
        while time.monotonic() < deadline:  # an answer to a client that the server does not know yet is lost
            future = client.call_async(request)
            if self.spin_until(future.done, patience_s):
                return future.result()
        raise AssertionError(f"no answer from {name}")

    def wait_until_active(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until a managed node that starts by itself has made all that it has."""
        from lifecycle_msgs.srv import GetState

        service = f"/{name}/get_state"
        client = self._clients.get(service) or self.node.create_client(GetState, service)
        self._clients[service] = client

        def active() -> bool:
            if not client.service_is_ready():
                return False
            future = client.call_async(GetState.Request())  # of a node that has just ended nobody answers
            return self.spin_until(future.done, 3.0) and future.result().current_state.label == "active"

        assert self.spin_until(active, timeout_s), f"{name} did not become active"

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def end_all(processes: Sequence[Process], how: signal.Signals) -> None:
    """End what still runs, all at once: killed outright they would leave their shared memory behind."""
    left = [process for process in processes if process.alive]
    for process in left:
        process.send(how)
    with ExitStack() as stack:  # each is waited for, whatever becomes of another
        for process in left:
            stack.callback(process.ended)


@contextmanager
def set_here(environment: Mapping[str, str]) -> Iterator[None]:
    """Have this environment for a while: of the middleware's settings when a participant is made."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
