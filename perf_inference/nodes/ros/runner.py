"""Run nodes in this process until a signal or the end of who has started it, then stop them in order.

rclpy's own signal handlers close the context before the last messages are out, so they are off. Python's would wait
until the executor returns from C; so the signal's number goes through a pipe to a thread that wakes the executor.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from perf_inference.bringup import child_process, shared_memory
from perf_inference.bringup.search_path import leave_working_directory
from perf_inference.errors import EX_CONFIG, ConfigError, EngineError
from perf_inference.nodes import HOLDS_COLLECTION, TUNING_LINE
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.ros import leaving
from perf_inference.nodes.ros.guarded_executor import GuardedExecutor
from perf_inference.nodes.ros.log import PrintableLogger
from perf_inference.nodes.ros.stop_signals import Stop, Stopped
from perf_inference.printable import guard_this_process, without_secrets

_DRAIN_S = 0.5
# So long a process waits for its middleware to make a node, a hundred times what it takes. One that hangs there holds
# the interpreter: no signal and no thread of Python ends it, so it would outlive its starter.
JOIN_LIMIT_S = 60.0


class RunnableNode(Node):
    """A node that knows how to end; all nodes of a process go through each step before any goes on to the next."""

    _printable_logger: PrintableLogger | None = None
    _judges: list[Any] | None = None
    exit_status = 0
    is_starting = False  # its start goes on while it is spun ...
    start_error: Exception | None = None  # ... and has failed
    has_finished = False  # it ends the process itself, since its work is done

    def __init__(self, *args: Any, **options: Any) -> None:
        """Join the graph; a middleware that hangs meanwhile ends the process, and says where it was."""
        with leaving.limited(JOIN_LIMIT_S):
            super().__init__(*args, **options)

    def create_service(self, srv_type: Any, srv_name: str, callback: Any, **options: Any) -> Any:
        """Offer a service; whoever calls it is told of an error in the callback, and does not wait for an answer."""
        where = f"the service {srv_name}"

        def failed(response: Any) -> Any:
            if hasattr(response, "success") and hasattr(response, "message"):
                response.success, response.message = False, f"{where} failed; see the log of {self.get_name()}"
            return response

        def answer(request: Any, response: Any) -> Any:
            with faults_of(self).watching(where):
                return callback(request, response)
            return failed(response)

        async def answer_later(request: Any, response: Any) -> Any:
            with faults_of(self).watching(where):
                return await callback(request, response)
            return failed(response)

        guarded = answer_later if inspect.iscoroutinefunction(callback) else answer
        return super().create_service(srv_type, srv_name, guarded, **options)

    def add_on_set_parameters_callback(self, callback: Any) -> None:
        """Ask the callback before parameters are set; one that fails refuses them."""

        def judge(parameters: Any) -> Any:
            with faults_of(self).watching("what judges a parameter"):
                return callback(parameters)
            return SetParametersResult(successful=False, reason="it could not be judged; see the node's log")

        super().add_on_set_parameters_callback(judge)
        self.judges.append(judge)

    @property
    def judges(self) -> list[Any]:
        """What is asked before parameters are set, in the order in which it came."""
        if self._judges is None:
            self._judges = []
        return self._judges

    def get_logger(self) -> PrintableLogger:
        """Return the node's logger: what a message or a peer says is in one line of its log, and forges none."""
        if self._printable_logger is None:
            self._printable_logger = PrintableLogger(super().get_logger().name)
        return self._printable_logger

    def stop(self) -> None:
        """Send what is safe, and take no new work; returns at once."""

    def finish(self) -> None:
        """Finish the work in hand and publish the last of it, half a second at most."""

    def drained(self) -> bool:
        """Return whether nothing is left to receive; polled after `finish` while the executor still spins."""
        return True

    def release(self) -> None:
        """Close what is held besides ROS; called once, before the node is destroyed, and only if it was made whole."""

    def destroy_node(self) -> None:
        """Leave the graph, also where a thread that hangs holds this: rclpy's state machine would hold the context."""
        with leaving.limited(leaving.LEAVE_LIMIT_S):
            super().destroy_node()
        if (machine := getattr(self, "_state_machine", None)) is not None:
            machine.destroy_when_not_in_use()


def run(factories: Sequence[Callable[[], RunnableNode]], args: Sequence[str] | None = None) -> int:
    """Spin the nodes in one executor thread; return the exit status (EX_CONFIG: the configuration is wrong)."""
    leave_working_directory()
    stop = Stop()
    try:
        return _run(factories, args, stop)
    except Stopped:
        return stop.status()
    except Exception:  # what is left of a node that a signal met half made
        if not stop.interrupted:
            raise
        return stop.status()


def _run(factories: Sequence[Callable[[], RunnableNode]], args: Sequence[str] | None, stop: Stop) -> int:
    try:
        tie = child_process.follow()
        if ended := tie.ended():
            print(child_process.orphaned(ended), file=sys.stderr)
            return 1
        rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        if stop.interrupted:  # a signal that came in C code
            return stop.status()
        why = without_secrets(str(error).splitlines()[0])
        told = (
            "" if isinstance(error, child_process.StarterError) else "ROS could not be started with these arguments: "
        )
        print(f"{told}{why}", file=sys.stderr)
        return EX_CONFIG
    executor = GuardedExecutor()
    nodes: list[RunnableNode] = []
    status = 0
    if HOLDS_COLLECTION:
        gc.freeze()  # modules never go: no collection walks through what they have made
    try:
        for factory in factories:
            nodes.append(factory())
            executor.add_node(nodes[-1])
        shared_memory.keep_to_this_user()
        lines, started = [*filter(None, (TUNING_LINE, tie.said))], False
        threading.excepthook = functools.partial(_thread_failed, nodes)
        stop.wakes(executor)
        if HOLDS_COLLECTION:
            gc.enable()
        while not stop.asked:
            executor.spin_once(timeout_sec=0.5)
            started = started or _has_started(nodes, lines)
    except Stopped:
        pass
    except Exception as error:
        # A signal that comes in the import of a C extension turns up as whatever that makes of it.
        if not stop.interrupted:
            status = _told(error)
    finally:
        _end(nodes, executor)
        if ended := tie.ended():  # told last: where it goes to may be gone too
            rclpy.logging.get_logger("perf_inference").warning(f"stopped: its starter, {ended}, has ended")
        status = status or max((node.exit_status for node in nodes), default=0)
        if not status and not any(node.has_finished for node in nodes):
            status = stop.status()
        nodes.clear()
        executor.shutdown()
        stop.lets_go()
        del executor  # its last tasks hold nodes, and these the context
        _leave_the_graph(stop)
    return status


def _has_started(nodes: list[RunnableNode], lines: list[str]) -> bool:
    """Return whether all nodes have come to the end of their start, and then say these lines; raise why one cannot."""
    for node in nodes:
        if node.start_error is not None:
            raise node.start_error
    if any(node.is_starting for node in nodes):
        return False
    for line in lines:
        PrintableLogger("perf_inference").info(line)
    return True


def _leave_the_graph(stop: Stop) -> None:
    try:
        leaving.leave_the_graph()
    except Exception:  # a node that a signal left half made
        if not stop.interrupted:
            raise


def _told(error: Exception) -> int:
    """Say why the start has failed; return the exit status. Anything that nobody has foreseen is raised."""
    log = PrintableLogger("perf_inference")
    if isinstance(error, EngineError):  # of a server, say, that is not up yet: to be tried again
        log.fatal(f"the engine does not run now: {error}")
        return 1
    if not isinstance(error, ConfigError | InvalidTopicNameException):
        raise error
    log.fatal(f"bad configuration: {error}")
    return EX_CONFIG


def main(factory: Callable[[], RunnableNode]) -> None:
    """Run one node and exit with its status."""
    guard_this_process()
    leave(run([factory]))


def leave(status: int) -> NoReturn:
    """End the process; the terminal or pipe that it prints to may have gone before it."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: it was closed when the process began
        with contextlib.suppress(OSError):
            stream.flush()
    # Nothing is left to save, and tearing down the interpreter with a runtime loaded costs up to 0.2 s of the stop.
    os._exit(status)


def _thread_failed(nodes: list[RunnableNode], failure: threading.ExceptHookArgs) -> None:
    """Tell of a thread that an error has ended: of the node that it is named after, or else of all."""
    name = failure.thread.name if failure.thread is not None else "?"
    if failure.exc_value is not None:
        for node in [node for node in nodes if node.get_name() in name] or nodes:
            faults_of(node).failed(failure.exc_value, f"the thread {name}, which has ended")


def _end(nodes: list[RunnableNode], executor: Executor) -> None:
    """Go through the steps; a node that fails in one fails alone."""
    for node in nodes:
        _step(node, node.stop)
    for node in nodes:
        _step(node, node.finish)
    deadline = time.monotonic() + _DRAIN_S
    left = list(nodes)
    while left:
        late = time.monotonic() > deadline
        for node in [n for n in left if late or _step(n, n.drained) is not False]:
            executor.remove_node(node)
            _step(node, node.release)
            node.destroy_node()
            left.remove(node)
        if left:
            executor.spin_once(timeout_sec=0.01)


def _step(node: RunnableNode, step: Callable[[], bool | None]) -> bool | None:
    """Return what the step returns; None where it fails."""
    try:
        return step()
    except Exception as error:
        faults_of(node).failed(error, f"the end of {node.get_name()}")
        node.exit_status = node.exit_status or 1
        return None
