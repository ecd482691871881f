"""Where the gate of policy_node is: in a process of its own, or in this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rclpy.node import Node

from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.policy.gate_link import GateLink
from perf_inference.nodes.policy.gate_setup import GateSetup
from perf_inference.nodes.policy.guard import Guard, instant
from perf_inference.nodes.policy.shadow import Shadow
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import OK, WARN
from perf_inference.nodes.ros.subscription import Input
from perf_inference.safety import Gate
from perf_inference.safety.gate import LOOK_S
from perf_inference.safety.process.activity import activate, deactivate
from perf_inference.safety.process.front import Front
from perf_inference.safety.settings import slowing_s
from perf_inference.safety.watch import Watch

WHERE = ("process", "inline")
_LAST_SENDS_S = 0.12  # for the safe action of the end, which is sent every 0.05 s


class Gates:
    """Makes the gate, has it look, and ends it."""

    def __init__(self, node: ManagedNode, where: str) -> None:
        self._node, self._in_process = node, where == "process"
        self._watch: Watch | None = None
        self._link: GateLink | None = None
        self._guard: Guard | None = None
        self._gate: Gate | Front | None = None
        self._shadow: Shadow | None = None
        self._companions: Callable[[bool], None] = lambda on: None
        self._stopped_s: float | None = None

    def prepare(self) -> None:
        """Start its process, where it has one (any thread): it is up when the engine is."""
        if self._in_process:
            self._link = GateLink(self._node)

    def begin(self, setup: GateSetup, joints: Input, said: Callable[[str], None], again: bool) -> Gate | Front:
        """Make the gate; arguments as `GateLink.begin`."""
        setup, again = replace(setup, active=self._node.goes_on), again and self._node.goes_on
        self._gate = self._begin(setup, joints, said, again)
        self._shadow = Shadow(self._node, setup, self._switch)
        return self._gate

    @property
    def in_shadow(self) -> bool:
        """Whether commands go to the shadow's topics."""
        return self._shadow is not None and self._shadow.on

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

    def state(self) -> tuple[bytes, str]:
        """Return level and message of a policy that is driving, or is not."""
        reason = "starting" if self._gate is None else self._gate.reason
        where = "shadow: " if self.in_shadow else ""
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

    def wait_until_ready(self) -> None:
        """Wait until the gate is there (any thread but the ROS thread); see `GateLink.wait_until_ready`."""
        if self._link is not None:
            self._link.wait_until_ready()

    def activate(self) -> None:
        """Let the policy be enabled."""
        if self._link is not None:
            self._link.be(active=True)
        elif self._guard is not None:
            activate(self._guard.gate, instant(self._node))

    def deactivate(self) -> Work:
        """Disable the policy, let nobody enable it, and wait until the safe action has been sent."""
        if self._link is not None:
            self._link.be(active=False)
            yield self._link.wait_until_inactive
        elif self._guard is not None:
            deactivate(self._guard.gate, instant(self._node))

    def values(self) -> Mapping[str, Scalar]:
        """Return what the heartbeat says of the gate; one in a process of its own says it itself."""
        return {} if self._guard is None else self._guard.values()

    def stop(self) -> None:
        """Let it send what is safe, and nothing else ever after."""
        if self._gate is not None and self._stopped_s is None:
            self._stopped_s = time.monotonic()
            self._gate.stop(instant(self._node))

    def end(self) -> None:
        """End it when the safe action has been sent again and again for a moment.

        A message that a busy reader has not taken yet is lost when its writer leaves the graph, and who leaves while it
        slows down leaves the joints moving.
        """
        self.stop()
        if self._stopped_s is not None:
            self._let_it_rest(self._stopped_s)
        if self._watch is not None:
            self._watch.close()
        if self._link is not None:
            self._link.close(in_order=not self._node.ending)

    def _let_it_rest(self, stopped_s: float) -> None:
        enough_s = longest_s = stopped_s + _LAST_SENDS_S
        guard = self._guard
        if guard is not None:
            longest_s += slowing_s(guard.gate.limits, guard.gate.settings)
        while (now_s := time.monotonic()) < longest_s:
            if now_s >= enough_s and (guard is None or guard.gate.at_rest(guard.now())):
                break
            time.sleep(0.005)

    def _failed(self, error: Exception) -> None:
        faults_of(self._node).failed(error, "the gate's look")


def permission_of(node: Node, enabled: bool, restarted: bool) -> str:
    """Return what a start says of it."""
    said = "enabled" if enabled else f"disabled until {node.get_fully_qualified_name()}/enable is called"
    return said + (" (restarted)" if restarted else "")
