"""Run nodes in this process until SIGINT or SIGTERM, then stop them in order.

rclpy's own signal handlers close the context before the last messages are out, so they are off. Python's would wait
until the executor returns from C; so the signal's number goes through a pipe to a thread that wakes the executor.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

import rclpy
import rclpy.utilities
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from perf_inference import environment
from perf_inference.environment import SUPERVISED
from perf_inference.errors import EX_CONFIG, ConfigError, EngineError
from perf_inference.search_path import leave_working_directory

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1
_DRAIN_S = 0.5


class RunnableNode(Node):
    """A node that knows how to end; all nodes of a process go through each step before any goes on to the next."""

    exit_status = 0

    def stop(self) -> None:
        """Send what is safe, and take no new work; returns at once."""

    def finish(self) -> None:
        """Finish the work in hand and publish the last of it, half a second at most."""

    def drained(self) -> bool:
        """Return whether nothing is left to receive; polled after `finish` while the executor still spins."""
        return True

    def release(self) -> None:
        """Close what is held besides ROS; called once, before the node is destroyed, and only if it was made whole."""


def run(factories: Sequence[Callable[[], RunnableNode]], args: Sequence[str] | None = None) -> int:
    """Spin the nodes in one executor thread; return the exit status (EX_CONFIG: the configuration is wrong)."""
    leave_working_directory()
    stop = _Stop()
    try:
        return _run(factories, args, stop)
    except _Stopped:
        return 0
    except Exception:  # what is left of a node that a signal met half made
        if not stop.interrupted:
            raise
        return 0


def _run(factories: Sequence[Callable[[], RunnableNode]], args: Sequence[str] | None, stop: _Stop) -> int:
    if SUPERVISED in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(os.environ[SUPERVISED]):
            return 0  # it has gone already
    try:
        rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        if stop.interrupted:  # a signal that came in C code
            return 0
        print(f"ROS could not be started with these arguments: {str(error).splitlines()[0]}", file=sys.stderr)
        return EX_CONFIG
    executor = SingleThreadedExecutor()
    nodes: list[RunnableNode] = []
    status = 0
    try:
        for factory in factories:
            nodes.append(factory())
            executor.add_node(nodes[-1])
        if environment.said:
            rclpy.logging.get_logger("perf_inference").info(environment.said)
        stop.wakes(executor)
        while not stop.asked:
            executor.spin_once(timeout_sec=0.5)
    except _Stopped:
        pass
    except Exception as error:
        # A signal that comes in the import of a C extension turns up as whatever that makes of it.
        if not stop.interrupted:
            status = _told(error)
    finally:
        _end(nodes, executor)
        status = status or max((node.exit_status for node in nodes), default=0)
        nodes.clear()
        executor.shutdown()
        try:
            leave_the_graph()
        except Exception:  # a node that a signal left half made
            if not stop.interrupted:
                raise
    return status


def _told(error: Exception) -> int:
    """Say why the start has failed; return the exit status. Anything that nobody has foreseen is raised."""
    log = rclpy.logging.get_logger("perf_inference")
    if isinstance(error, EngineError):  # of a server, say, that is not up yet: to be tried again
        log.fatal(f"the engine does not run now: {error}")
        return 1
    if not isinstance(error, ConfigError | InvalidTopicNameException):
        raise error
    log.fatal(f"bad configuration: {error}")
    return EX_CONFIG


def main(factory: Callable[[], RunnableNode]) -> None:
    """Run one node and exit with its status."""
    status = run([factory])
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to save, and tearing down the interpreter with a runtime loaded costs up to 0.2 s of the stop.
    os._exit(status)


class _Stopped(BaseException):
    """Raised in the main thread by a signal that comes while the nodes are being made."""


class _Stop:
    """SIGINT and SIGTERM: they end the making of the nodes where it is, and later wake the executor."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupted = False  # it came while the nodes were being made
        self._executor: SingleThreadedExecutor | None = None
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self._reading, True)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wakes(self, executor: SingleThreadedExecutor) -> None:
        """From now on a signal wakes this executor, whatever the main thread is doing."""
        self._executor = executor
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def _wait(self) -> None:
        while os.read(self._reading, 1):
            self.asked = True
            if self._executor is not None:
                self._executor.wake()

    def _on_signal(self, number: int, frame: object) -> None:
        if self._executor is None and not self.asked:
            self.asked = self.interrupted = True
            raise _Stopped


def leave_the_graph() -> None:
    """Destroy the context: only then do others hear that this participant is gone, and is its shared memory freed."""
    context = rclpy.utilities.get_default_context()
    rclpy.try_shutdown()
    gc.collect()
    context.destroy()


def _end(nodes: list[RunnableNode], executor: SingleThreadedExecutor) -> None:
    for node in nodes:
        node.stop()
    for node in nodes:
        node.finish()
    deadline = time.monotonic() + _DRAIN_S
    left = list(nodes)
    while left:
        late = time.monotonic() > deadline
        for node in [n for n in left if late or n.drained()]:
            executor.remove_node(node)
            node.release()
            node.destroy_node()
            left.remove(node)
        if left:
            executor.spin_once(timeout_sec=0.01)
