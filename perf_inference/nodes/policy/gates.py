"""Where the gate of policy_node is: in a process of its own, or in this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.node import Node

from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.policy.gate_link import GateLink
from perf_inference.nodes.policy.gate_setup import GateSetup
from perf_inference.nodes.policy.guard import Guard
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.ros.subscription import Input
from perf_inference.safety import Gate
from perf_inference.safety.gate import LOOK_S
from perf_inference.safety.process.front import Front
from perf_inference.safety.watch import Watch

WHERE = ("process", "inline")


class Gates:
    """Makes the gate, has it look, and ends it."""

    def __init__(self, node: Node, where: str) -> None:
        """Start its process, where it has one: it is up when the engine is."""
        self._node = node
        self._watch: Watch | None = None
        self._guard: Guard | None = None  # of a gate in this process
        self._link = GateLink(node) if where == "process" else None

    def begin(self, setup: GateSetup, joints: Input, said: Callable[[str], None], again: bool) -> Gate | Front:
        """Make the gate; arguments as `GateLink.begin`."""
        if self._link is not None:
            return self._link.begin(setup, joints, said, again)
        guard = self._guard = Guard(self._node, setup)
        if setup.enabled:
            guard.gate.enable(True, guard.now())
        self._watch = Watch(lambda: said(guard.look()), LOOK_S, self._failed)
        return guard.gate

    def values(self) -> Mapping[str, Scalar]:
        """Return what the heartbeat says of the gate; one in a process of its own says it itself."""
        return {} if self._guard is None else self._guard.values()

    def finish(self) -> None:
        """End it: it has been told to stop, and the safe action has been sent for long enough."""
        if self._watch is not None:
            self._watch.close()
        if self._link is not None:
            self._link.close()

    def _failed(self, error: Exception) -> None:
        faults_of(self._node).failed(error, "the gate's look")
