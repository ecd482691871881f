"""The gate of a policy_node, in a process of its own: `policy_node` starts it, and nobody else.

It holds no engine. It hears `joint_states`, `estop` and `speed_scale` itself, serves `policy_node/enable`, and is the
one that publishes `action`. When policy_node is heard no more it sends what is safe, and ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from functools import partial

from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.heartbeat import Heartbeat
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.policy.gate_process import Owner
from perf_inference.nodes.policy.gate_setup import GateSetup, qos_of
from perf_inference.nodes.policy.guard import Guard, judged_at
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import OK, WARN
from perf_inference.nodes.reports.reporter import HeartbeatPublisher, Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.subscription import Input
from perf_inference.printable import guard_this_process
from perf_inference.safety.process.activity import INACTIVE
from perf_inference.safety.process.keeper import Keeper, serve
from perf_inference.safety.process.messages import Failed, Setup
from perf_inference.safety.process.pipe import Pipe

SUFFIX = "_gate"
_LAST_RESORT_S = 1.9  # after the policy's end
_LAST_SENDS_S = 0.12


class PolicyNodeGate(runner.RunnableNode):
    """joint_states, estop, speed_scale and what policy_node asks -> action."""

    def __init__(self, pipe: Pipe, owner: Owner, sim_time: bool) -> None:
        """Wait for what it is to be, which comes when policy_node's engine is loaded.

        Raises:
            ConfigError: it cannot be that.
        """
        namespace, _, name = owner.node.rpartition("/")
        clock = [Parameter("use_sim_time", value=True)] if sim_time else []
        super().__init__(
            name + SUFFIX, namespace=namespace or "/", parameter_overrides=clock, use_global_arguments=False,
            start_parameter_services=False,
        )  # fmt: skip
        self._pipe, self._owner = pipe, owner
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        setup = self._setup()
        if setup is None:
            self.has_finished = True
            os.kill(os.getpid(), signal.SIGTERM)
            return
        try:
            self._guard = Guard(self, setup)
        except ConfigError as error:
            pipe.send(Failed(str(error)))
            raise
        ledger, qos = Ledger(), qos_of(setup.joints_qos or {})
        self._joints: Input | None = None
        if setup.hears_joints:
            self._joints = Input(self, JointState, setup.topics.joint_states, self._on_joints, ledger, qos)
        self._keeper = Keeper(self._guard.gate, pipe.send, self._guard.now, self._guard.look, self._guard, setup.active)
        if setup.enabled:
            self._guard.gate.enable(True, self._guard.now())
        self._heartbeat = HeartbeatPublisher(self, self._report)
        self._thread = threading.Thread(target=self._serve, name=f"{self.get_name()} watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._guard.gate.stop(self._guard.now())

    def finish(self) -> None:
        """Send the safe action for a moment more, where it was not sent for long enough already."""
        if self._thread is not None:
            if not self._keeper.gone:
                self._ending.wait(_LAST_SENDS_S)
            self._ending.set()
            self._thread.join(0.1)

    def _setup(self) -> GateSetup | None:
        """Return what the gate is to be; None: policy_node has ended before it said so."""
        while True:
            self._pipe.wait(0.5)
            for message in self._pipe.take():
                if isinstance(message, Setup):
                    try:
                        return GateSetup.of(message.values)
                    except ConfigError as error:
                        self._pipe.send(Failed(str(error)))
                        raise
            if self._pipe.ended or not self._owner.process.alive:
                return None

    def _on_joints(self, arrival: Arrival) -> None:
        """Take a sample; policy_node, which reads it too, tells of one that cannot be used."""
        assert self._joints is not None
        message, ledger = arrival.message, self._joints.ledger
        ledger.count("received")
        outcome = "failed"
        try:
            ours = self._guard.gate.joint_states(
                judged_at(self, arrival), arrival.stamp_ns, message.name, message.position, message.velocity
            )
            outcome = "processed" if ours else "ignored"
        except InputError:
            outcome = "rejected"
        finally:
            ledger.count(outcome)

    def _report(self) -> Report:
        reason, where = self._guard.gate.reason, "shadow: " if self._guard.in_shadow else ""
        inputs = {} if self._joints is None else {"joint_states": self._joints.state()}
        said = Heartbeat(inputs=inputs, others=self._guard.values())
        if reason in ("disabled", INACTIVE):
            return Report(OK, f"{where}{reason}: safe action", said.as_values())
        return Report(
            WARN if reason else OK, f"{where}safe action: {reason}" if reason else f"{where}driving", said.as_values()
        )

    # the gate's thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        descriptor = self._descriptor_of_policy()
        policy = [] if descriptor is None else [descriptor]
        serve(self._keeper, self._pipe, policy, self._failed, self._policy_ended, self._ending.is_set)
        if not self._ending.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _descriptor_of_policy(self) -> int | None:
        """Return what tells of the end of policy_node's process; None: this kernel does not, and the pipe does."""
        with contextlib.suppress(OSError, AttributeError):
            descriptor = os.pidfd_open(self._owner.process.pid)
            if self._owner.process.alive:  # and its number is not another's by now
                return descriptor
            os.close(descriptor)
        return None

    def _policy_ended(self, why: str) -> None:
        """Tell of it, from a thread of its own: whoever reads what is printed may have ended or hang.

        The kernel ends this process where nothing else does.
        """
        signal.setitimer(signal.ITIMER_REAL, _LAST_RESORT_S)
        if not self._keeper.in_order:
            line = f"{self._owner.node} is gone ({why}): the safe action is sent, and then this process ends"
            threading.Thread(target=self.get_logger().warning, args=(line,), daemon=True).start()

    def _failed(self, error: Exception) -> None:
        threading.Thread(target=faults_of(self).failed, args=(error, "the gate's thread"), daemon=True).start()


def main() -> None:
    """Run the gate of a policy_node."""
    guard_this_process()
    arguments = sys.argv[1 : sys.argv.index("--ros-args")]
    owner = Owner.read(arguments)
    pipe = Pipe.of_descriptor(int(arguments[arguments.index("--pipe") + 1]))
    node = partial(PolicyNodeGate, pipe, owner, "--sim-time" in arguments)
    runner.leave(runner.run([node], args=sys.argv[sys.argv.index("--ros-args") :]))


if __name__ == "__main__":
    main()
