"""policy_node's link to the process of its gate: keeps it running, beats, and sends zero where it is heard no more."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rclpy.node import Node

from perf_inference.errors import ConfigError, EngineError
from perf_inference.nodes.policy.actions import ACTION_QOS, ActionPublisher
from perf_inference.nodes.policy.gate_process import GateProcess, Owner, wait_for_orphans
from perf_inference.nodes.policy.gate_setup import GateSetup, qos_values
from perf_inference.nodes.policy.guard import instant
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.ros.subscription import Input
from perf_inference.safety.gate import LOOK_S
from perf_inference.safety.process.front import Front
from perf_inference.safety.process.messages import Setup

_START_S = 30.0  # until a gate has spoken
_END_S, _LAST_WAIT_S = 2.0, 0.4
_ANSWER_S = 3.0  # another gate may have to start first
_ZERO_EVERY_S = 0.04
_RESTARTS, _HEALTHY_S = 3, 60.0  # of the gate, within a minute


class GateLink:
    """Starts the process at once, and links it to a `Front` when `begin` says what it is to be."""

    def __init__(self, node: Node) -> None:
        """Start the process, so that it is up when the engine is."""
        self._node, self._log = node, node.get_logger()
        self._owner = Owner.of(node.get_fully_qualified_name())
        wait_for_orphans(self._owner, self._log.info)
        self._sim_time = bool(node.get_parameter("use_sim_time").value)
        self._process = GateProcess(self._owner, self._sim_time, _enclave())
        self._ended = threading.Event()
        self._zero_s = self._restarted_s = 0.0
        self._restarts, self._starts_again = 0, True
        self._thread: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The number of the gate's process."""
        return self._process.pid

    def begin(self, setup: GateSetup, joints: Input, said: Callable[[str], None], again: bool) -> Front:
        """Tell the gate what it is, and return what policy_node asks it by.

        Args:
            joints: policy_node's own reader of joint_states.
            said: hears at each look why the safe action is being sent (own thread).
            again: a gate that is started again is enabled by itself, as this one is.
        """
        before = self._actions(setup)
        self._stand_in = ActionPublisher(self._node, setup)
        ours = [gid for gid in self._actions(setup) if gid not in before]
        self._setup = replace(
            setup,
            action_qos=qos_values(self._node, setup.topics.action, "publisher", ACTION_QOS),
            joints_qos=qos_values(self._node, joints.topic, "subscription", joints.qos),
            ours=tuple(ours),
        )
        self._zeros = [0.0] * len(setup.limits.names) if setup.settings.kind == "velocity" else None
        if setup.settings.trajectory:  # its tail stops the joints
            self._zeros = None
        self._again, self._said = again, said
        self.front = Front(setup.limits, setup.settings, setup.inputs, lambda: instant(self._node), setup.shadow)
        self._attach(self._setup)
        self._thread = threading.Thread(target=self._run, name=f"{self._node.get_name()} gate link", daemon=True)
        self._thread.start()
        return self.front

    def wait_until_ready(self) -> None:
        """Wait until the gate has spoken (any thread but the ROS thread).

        Raises:
            ConfigError: the gate refuses what it is told.
            EngineError: it does not start.
        """
        deadline = time.monotonic() + _START_S
        while not self.front.ready() and not self.front.failed and time.monotonic() < deadline and self._starts_again:
            time.sleep(0.01)
        if self.front.failed:
            raise ConfigError(self.front.failed)
        if not self.front.ready():
            raise EngineError(f"the gate's process has not spoken within {_START_S:g} s of its start")

    def shadow(self, on: bool, timeout_s: float) -> bool:
        """Let the gate and this node send on `action_shadow`, or on `action` again; return whether both do by then.

        If not, all is as before.
        """
        self._setup = replace(self._setup, shadow=on)
        if not on:  # the gate must know this publisher before it sends
            before = self._actions(self._setup)
            self._stand_in.shadow(False)
            ours = [gid for gid in self._actions(self._setup) if gid not in before]
            self._setup = replace(self._setup, ours=(*self._setup.ours, *ours))
        self.front.shadow(on, self._setup.ours)
        deadline = time.monotonic() + timeout_s
        while self.front.in_shadow is not on and time.monotonic() < deadline:
            time.sleep(0.005)
        if not (done := self.front.in_shadow is on):
            self._setup = replace(self._setup, shadow=not on)
            self.front.shadow(not on, self._setup.ours)
        if on is done:
            self._stand_in.shadow(True)
        return done

    def be(self, active: bool) -> None:
        """Tell the gate whether policy_node is active; one that was enabled is not again."""
        if not active:
            self._again = False
        self.front.be(active)

    def wait_until_inactive(self) -> None:
        """Wait until the gate has sent the safe action (any thread but the ROS thread).

        Raises:
            EngineError: it does not say so.
        """
        deadline = time.monotonic() + _ANSWER_S
        while not self.front.is_inactive():
            if time.monotonic() > deadline:
                raise EngineError(f"the gate has not said within {_ANSWER_S:g} s that it sent the safe action")
            time.sleep(0.005)

    def close(self, in_order: bool) -> None:
        """End the gate: it has been told to stop; wait until it is gone.

        Args:
            in_order: this process goes on, so that the gate is waited for to its end; one that hangs is killed.
        """
        self._ended.set()
        if self._thread is not None:
            self._thread.join(0.2)
        else:  # it is nothing yet, and sends nothing
            self._process.kill()
        self._process.close(_END_S if in_order else _LAST_WAIT_S)
        if in_order and not self._process.ended():
            self._process.kill()
            self._process.close(_LAST_WAIT_S)

    # own thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._ended.is_set():
            with faults_of(self._node).watching("the link to the gate"):  # who no longer looks would not see its end
                self._process.pipe.wait(due_s - time.monotonic())
                for message in self._process.pipe.take():
                    self.front.handle(message)
                if self._process.pipe.ended and self._starts_again:
                    self._start_again()
                if time.monotonic() >= due_s:
                    due_s = max(due_s, time.monotonic() - LOOK_S) + LOOK_S
                    self._look()

    def _look(self) -> None:
        now = instant(self._node)
        reason = self.front.look(now)
        if self._zeros is not None and self.front.stands_in(now) and time.monotonic() >= self._zero_s:
            self._zero_s = time.monotonic() + _ZERO_EVERY_S
            self._stand_in.publish(self._zeros)
        self._said(reason)

    def _start_again(self) -> None:
        """Start another gate once this one has ended, which it may take a moment for; not again and again."""
        if self.front.gone_s() is None:
            self.front.detach("the gate's process ends")
            self._look()  # zero, at once
        if not (how := self._process.ended()):
            if (self.front.gone_s() or 0.0) > _END_S:
                self._process.kill()
            return
        self._process.pipe.close()
        if self._ended.is_set() or self.front.stopping or self.front.failed:
            self._starts_again = False
            return
        if time.monotonic() - self._restarted_s > _HEALTHY_S:
            self._restarts = 0
        if self._restarts >= _RESTARTS:
            self._starts_again = False
            self._give_up(how)
            return
        self._restarts, self._restarted_s = self._restarts + 1, time.monotonic()
        self.front.detach(f"the gate's process {how}; another one is started")
        self._log.error(f"the gate's process {how}; another one is started ({self._restarts} of {_RESTARTS})")
        self._process = GateProcess(self._owner, self._sim_time, _enclave())
        self._attach(replace(self._setup, enabled=self._again))

    def _attach(self, setup: GateSetup) -> None:
        pipe = self._process.pipe
        pipe.send(Setup(setup.as_values()))
        self.front.attach(pipe.send)

    def _give_up(self, how: str) -> None:
        """End policy_node: without a gate it can do nothing."""
        self.front.detach(f"the gate's process {how}, and was started {_RESTARTS} times already")
        self._node.exit_status = 1
        self._log.fatal(f"this process ends: its gate {how}, and was started {_RESTARTS} times within a minute already")
        os.kill(os.getpid(), signal.SIGINT)

    def _actions(self, setup: GateSetup) -> list[str]:
        """Return the publishers of `action` that this node has."""
        own = (self._node.get_name(), self._node.get_namespace())
        return [
            bytes(info.endpoint_gid).hex() for info in self._node.get_publishers_info_by_topic(setup.topics.action)
            if (info.node_name, info.node_namespace) == own
        ]  # fmt: skip


def _enclave() -> Sequence[str]:
    """Return the ROS arguments of this process that are the gate's too: who it is to the security of ROS."""
    arguments = sys.argv
    if "--enclave" in arguments[:-1]:
        return ["--enclave", arguments[arguments.index("--enclave") + 1]]
    return []
