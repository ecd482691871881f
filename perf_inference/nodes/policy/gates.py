"""Where the gate of policy_node is: in a process of its own, or in this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rclpy.node import Node

from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.policy.gate_link import GateLink
from perf_inference.nodes.policy.gate_setup import GateSetup
from perf_inference.nodes.policy.guard import Guard
from perf_inference.nodes.policy.shadow import Shadow
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import OK, WARN
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
        self._link = GateLink(node) if where == "process" else None
        self._guard: Guard | None = None
        self._shadow: Shadow | None = None
        self._companions: Callable[[bool], None] = lambda on: None

    def begin(self, setup: GateSetup, joints: Input, said: Callable[[str], None], again: bool) -> Gate | Front:
        """Make the gate; arguments as `GateLink.begin`."""
        gate = self._begin(setup, joints, said, again)
        self._shadow = Shadow(self._node, setup, self._switch)
        return gate

    def with_companions(self, shadow: Callable[[bool], None]) -> None:
        """Have others change the topics that they publish on with the gate."""
        self._companions = shadow

    def note(self, values: Sequence[float]) -> None:
        """Compare a command that was sent with somebody else's, in shadow mode."""
        if self._shadow is not None:
            self._shadow.note(values)

    def figures(self) -> dict[str, Scalar]:
        """Return what the timing says of shadow mode."""
        return {} if self._shadow is None else self._shadow.figures()

    def state(self, reason: str) -> tuple[bytes, str]:
        """Return level and message for the heartbeat; `reason`: why the safe action is sent, or nothing."""
        where = "shadow: " if self._shadow is not None and self._shadow.on else ""
        if reason == "disabled":
            return OK, f"{where}disabled: safe action"
        return (WARN, f"{where}safe action: {reason}") if reason else (OK, f"{where}driving")

    def _switch(self, on: bool, timeout_s: float) -> bool:
        if on:
            self._companions(True)
        done = self._gate_switched(on, timeout_s)
        if on is not done:  # a shadow has ended, or not begun
            self._companions(False)
        return done

    def _gate_switched(self, on: bool, timeout_s: float) -> bool:
        if self._link is not None:
            return self._link.shadow(on, timeout_s)
        guard, deadline = self._guard, time.monotonic() + timeout_s
        assert guard is not None
        guard.want_shadow(on)
        while guard.in_shadow is not on and time.monotonic() < deadline:
            time.sleep(0.005)
        if guard.in_shadow is not on:
            guard.want_shadow(not on)
        return guard.in_shadow is on

    def _begin(self, setup: GateSetup, joints: Input, said: Callable[[str], None], again: bool) -> Gate | Front:
        if self._link is not None:
            return self._link.begin(setup, joints, said, again)
        guard = self._guard = Guard(self._node, setup)
        if setup.enabled:
            guard.gate.enable(True, guard.now())
        self._watch = Watch(lambda: said(guard.look()), LOOK_S, self._failed)
        return guard.gate

    def finish(self) -> None:
        """End it: it has been told to stop, and the safe action has been sent for long enough."""
        if self._watch is not None:
            self._watch.close()
        if self._link is not None:
            self._link.close()

    def _failed(self, error: Exception) -> None:
        faults_of(self._node).failed(error, "the gate's look")
