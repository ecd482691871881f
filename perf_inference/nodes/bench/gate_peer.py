"""What an action costs with a gate in this process, and with one in a process of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState

from perf_inference.errors import InputError
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.policy.gate_link import GateLink
from perf_inference.nodes.policy.gate_setup import GateSetup, Topics
from perf_inference.nodes.policy.guard import Guard, instant, judged_at
from perf_inference.nodes.ros.leaving import LEAVE_LIMIT_S, limited
from perf_inference.nodes.ros.subscription import Input
from perf_inference.safety import Gate, GateSettings, JointLimits
from perf_inference.safety.process.front import Front

_NAMES = ("shoulder", "elbow")
_JOINTS_HZ, _READY_S = 100.0, 20.0


class Costs(NamedTuple):
    """What was measured."""

    release_ns: list[int]  # from the call until it was published and the policy knows
    memory_mb: dict[str, float]  # of the gate's process; empty: it has none


def costs(where: str, actions: int, rate_hz: float, memory_mb: Callable[[int], dict[str, float]]) -> Costs:
    """Send actions through a gate.

    Args:
        where: `process` or `inline`.
        memory_mb: of the process of this number.

    Raises:
        InputError: no action was let out within 20 s.
    """
    rclpy.init()
    node = rclpy.create_node("bench_policy")
    bench = _Bench(node, where, rate_hz)
    try:
        return Costs(bench.run(actions), bench.memory_mb(memory_mb))
    finally:
        bench.close()
        with limited(LEAVE_LIMIT_S):
            node.destroy_node()
            rclpy.try_shutdown()


class _Bench:
    def __init__(self, node: Node, where: str, rate_hz: float) -> None:
        self._node, self._rate_hz = node, rate_hz
        self._states = node.create_publisher(JointState, "joint_states", 10)
        self._joints = Input(node, JointState, "joint_states", self._on_joints, Ledger())
        limits = JointLimits.of(_NAMES, (-3.0, -3.0), (3.0, 3.0), (1.0, 1.0))
        settings = GateSettings("velocity", 1 / rate_hz, 0.3, 0.15, 0.0)
        setup = GateSetup(limits, settings, {"joint_states": self._joints.topic}, Topics.of(node), "multi_array", True)
        self._link: GateLink | None = None
        self._gate: Gate | Front | None = None
        node.create_timer(1 / _JOINTS_HZ, self._publish)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._ended = threading.Event()
        if where == "process":
            self._link = GateLink(node)
            self._gate = self._link.begin(setup, self._joints, lambda said: None, again=False)
            self._link.wait_until_ready()
        else:
            guard = Guard(node, setup)
            guard.gate.enable(True, guard.now())
            self._gate = guard.gate
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def run(self, actions: int) -> list[int]:
        deadline = time.monotonic() + _READY_S
        while not self._released():
            if time.monotonic() > deadline:
                raise InputError("the gate must let an action out, it did not within 20 s")
            time.sleep(0.05)
        taken, due_s = [], time.monotonic()
        for _ in range(actions):
            due_s += 1 / self._rate_hz
            time.sleep(max(due_s - time.monotonic(), 0.0))
            began_ns = time.monotonic_ns()
            if self._released():
                taken.append(time.monotonic_ns() - began_ns)
        return taken

    def memory_mb(self, of: Callable[[int], dict[str, float]]) -> dict[str, float]:
        return {} if self._link is None else of(self._link.pid)

    def close(self) -> None:
        if self._link is not None:
            self._link.front.stop(instant(self._node))
            self._link.close(in_order=False)
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()

    def _released(self) -> bool:
        assert self._gate is not None
        try:
            self._gate.release(instant(self._node), [0.0, 0.0], self._gate.observed_ns())
        except InputError:
            return False
        return True

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _publish(self) -> None:
        message = JointState(name=list(_NAMES), position=[0.0, 0.0], velocity=[0.0, 0.0])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._states.publish(message)

    def _on_joints(self, arrival: Arrival) -> None:
        message = arrival.message
        if self._gate is None:
            return
        with contextlib.suppress(InputError):  # out of order, or late, on a busy machine
            self._gate.joint_states(
                judged_at(self._node, arrival), arrival.stamp_ns, message.name, message.position, message.velocity
            )
