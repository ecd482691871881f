"""Drives joints with a policy that has no contract: image, joint_states and force -> action, at a rate.

What is sent, and when, is the gate's business (`safety.gate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from geometry_msgs.msg import WrenchStamped
from sensor_msgs.msg import JointState

from perf_inference.engines import Engine
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.latest_image import LatestImage, SeenImage
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.policy.actions import message_of
from perf_inference.nodes.policy.contract.delay import Delay
from perf_inference.nodes.policy.gate_setup import GateSetup, Topics
from perf_inference.nodes.policy.gates import Gates, permission_of
from perf_inference.nodes.policy.guard import instant, judged_at
from perf_inference.nodes.policy.late import Late
from perf_inference.nodes.policy.observations import Observations
from perf_inference.nodes.policy.parameters import PolicyParameters, robot_limits, settings_of, warning_of
from perf_inference.nodes.ros.pacer import Pacer
from perf_inference.nodes.ros.subscription import Input
from perf_inference.pipeline import Frame
from perf_inference.safety import Gate, JointLimits
from perf_inference.safety.joints import JOINT_STATES
from perf_inference.safety.process.front import Front
from perf_inference.tasks.policy.policy_task import Action, Observation, PolicyTask


class JointDriver:
    """What policy_node does without a contract: image, joint_states and force -> action, at a rate."""

    def __init__(self, node: ManagedNode) -> None:
        """Begin with nothing.

        Raises:
            ConfigError: the limits are none.
        """
        p: PolicyParameters = node.parameters
        self._node, self._p = node, p
        self._limits = robot_limits(node, p)
        self._gate: Gate | Front | None = None
        self._kind = ""  # of the actions; the first model's for good
        self._names: tuple[str, ...] = ()  # of the joints, as the first model calls them
        self._sent, self._said = 0, ""  # said: why the safe action was sent at the last look
        self._pacer: Pacer | None = None

    def configure(self, enabled: bool, restarted: bool) -> Work:
        """Load the model, subscribe, and begin the gate."""
        node, p = self._node, self._p
        self.gates = Gates(node, p.gate)
        node.at_clean_up(self.gates.end)
        yield self.gates.prepare
        self.inference = Inference(
            node,
            p,
            self._task_of,
            self._observe,
            self._publish,
            blank=PolicyTask.blank,
            state=self.gates.state,
            rate_hz=p.rate,
            wrap=Delay.of(p.added_delay_ms).wrapped,
            more=self.gates.values,
        )
        yield from self.inference.loading()
        self._late = Late(p.max_disorder_s)
        self._observations = Observations(len(p.joint_names), p.sample_rate, p.max_disorder_s)
        self._image_broken = False  # the newest one that was decoded
        self._looked_at: SeenImage | None = None
        self._task: PolicyTask = self.inference.task
        self._observations.need(self._task.window)
        self._kind, self._names = self._task.kind, self._task.joint_names
        self._image = LatestImage(
            node, p.image_transport, self._unreadable, self._on_image, p.image_bits, p.reliability
        )
        self._force_input = Input(node, WrenchStamped, "force", self._on_force, Ledger())
        self._joint_input = Input(node, JointState, JOINT_STATES, self._on_joints, Ledger())
        inputs = {"image": self._image.input, JOINT_STATES: self._joint_input, "force": self._force_input}
        for name, source in inputs.items():
            self.inference.watch(name, source)
        setup = GateSetup(
            limits=self._limits,
            settings=settings_of(p, self._kind),
            inputs={name: source.topic for name, source in inputs.items()},
            topics=Topics.of(node),
            message=message_of(self._kind, p.action_message),
            enabled=enabled,
            shadow=p.shadow,
            estop_timeout_s=p.estop_timeout_s if p.estop_required else None,
        )
        gate = self._gate = self.gates.begin(setup, self._joint_input, self._look, p.enabled_again)
        gate.narrow(self._limits_of(self._task))
        node.at_clean_up(self.stop)
        yield self.gates.wait_until_ready
        self._introduce(permission_of(node, enabled, restarted))

    def activate(self) -> None:
        """Tick."""
        self._image.forget()
        self._pacer = Pacer(self._node, self._p.rate, self._tick)

    def deactivate(self) -> None:
        """Tick no more."""
        if self._pacer is not None:
            self._pacer.close()
            self._pacer = None

    def _introduce(self, permission: str) -> None:
        info, p, node = self.inference.engine.info, self._p, self._node
        if self._names and self._names != p.joint_names:
            node.get_logger().warning(
                f"'{info.name}' was made for joints {', '.join(self._names)}; it drives {', '.join(p.joint_names)}, as "
                "joint_names says"
            )
        if warned := warning_of(p, self._kind):
            node.get_logger().warning(warned)
        node.get_logger().info(
            f"{info.name} ({info.runtime} {info.precision} on {info.device}) drives "
            f"{', '.join(p.joint_names)} at {p.rate:g} Hz, {permission}"
        )

    def stop(self) -> None:
        """Let the gate send what is safe, and nothing else ever after."""
        if self._pacer is not None:
            self._pacer.cancel()
        self.gates.stop()

    def _driven(self) -> Gate | Front:
        assert self._gate is not None
        return self._gate

    # limits ----------------------------------------------------------------------------------------------------------

    def _limits_of(self, task: PolicyTask) -> JointLimits:
        """Return the limits that a model says of itself; the robot's where it says nothing."""
        own, said = self._limits, task.limits
        return JointLimits.of(own.names, said["lower"] or own.lower_rad, said["upper"] or own.upper_rad,
                              said["velocity"] or own.velocity_rad_s)  # fmt: skip

    def _task_of(self, engine: Engine) -> PolicyTask:
        task = PolicyTask(engine, self._p.joint_names, self._p.action)
        name = engine.info.name
        self._limits.tightened(self._limits_of(task))
        if self._kind and task.kind != self._kind:
            raise ConfigError(
                f"this node sends {self._kind} actions, '{name}' gives {task.kind} ones; start the node again with it"
            )
        if self._kind and task.joint_names and task.joint_names != (self._names or self._p.joint_names):
            raise ConfigError(
                f"this node drives {', '.join(self._names or self._p.joint_names)} in this order, '{name}' was made "
                f"for {', '.join(task.joint_names)}; start the node again with it"
            )
        return task

    # ROS thread ------------------------------------------------------------------------------------------------------

    def _stamp(self, arrival: Arrival) -> int:
        """Return a time for the windows, which are read by the ROS clock."""
        return arrival.stamp_ns or self._node.get_clock().now().nanoseconds

    def _on_image(self, arrival: Arrival) -> None:
        """Accept an image as soon as it comes, where the one before could be decoded."""
        if self._image_broken:
            return
        try:
            self._driven().accept("image", judged_at(self._node, arrival), arrival.stamp_ns)
        except InputError as error:
            self._driven().refuse("image", str(error))

    def _unreadable(self, error: InputError) -> None:
        """Accept no image from one that cannot be read until one is decoded."""
        self._image_broken = True
        self._driven().refuse("image", str(error), forget=True)
        self.inference.unreadable(error)

    def _on_force(self, arrival: Arrival) -> None:
        self._take("force", self._force_input, arrival, self._force_sample)

    def _on_joints(self, arrival: Arrival) -> None:
        self._take(JOINT_STATES, self._joint_input, arrival, self._joint_sample)

    def _take(self, name: str, source: Input, arrival: Arrival, take: Callable[[Arrival], str]) -> None:
        """Let `take` have a message, and count what became of it."""
        source.ledger.count("received")
        outcome = "failed"
        try:
            outcome = take(arrival)
        except InputError as error:
            outcome = "rejected"
            source.refuse(error)
            self._driven().refuse(name, str(error))
            self._node.get_logger().warning(f"skipped a message of {source.topic}: {error}", throttle_duration_sec=2.0)
        finally:
            source.ledger.count(outcome)

    def _force_sample(self, arrival: Arrival) -> str:
        f, t = arrival.message.wrench.force, arrival.message.wrench.torque
        sample = _finite("force", [f.x, f.y, f.z, t.x, t.y, t.z])
        if not self._late.is_late(("force",), arrival.stamp_ns):
            self._driven().accept("force", judged_at(self._node, arrival), arrival.stamp_ns)
        self._observations.add_force(self._stamp(arrival), sample)
        return "processed"

    def _joint_sample(self, arrival: Arrival) -> str:
        message, when = arrival.message, judged_at(self._node, arrival)
        ours = self._driven().joint_states(when, arrival.stamp_ns, message.name, message.position, message.velocity)
        row = self._driven().joint_row()
        if ours and row is not None:
            self._observations.add_joints(self._stamp(arrival), *row)
        return "processed" if ours else "ignored"  # of a gripper, say: other joints on the same topic

    def _tick(self, arrival: Arrival) -> None:
        """Ask for an action where there is a fresh observation to act on; an image is judged when it is decoded."""
        age_s = self._image.input.age_s()
        if (
            age_s is not None
            and age_s <= self._p.max_observation_age_s
            and self._driven().is_fresh(instant(self._node), "image")
        ):
            self.inference.pipeline.offer(arrival)

    # the gate's thread -----------------------------------------------------------------------------------------------

    def _look(self, said: str) -> None:
        """Log when driving ends and begins; an input that has not come yet is said in the heartbeat alone."""
        before, self._said = self._said, said
        if said not in ("", "disabled", "stopping") and not before and self._sent:
            self._node.get_logger().warning(f"safe action: {said}")
        elif before not in ("", "disabled") and not said and self._sent:
            self._node.get_logger().info("driving again")

    # worker thread ---------------------------------------------------------------------------------------------------

    def _observe(self, arrival: Arrival, task: PolicyTask) -> Frame:
        if task is not self._task:  # after a swap
            self._driven().narrow(self._limits_of(task))
            self._observations.need(task.window)
            self._task = task
        image = self._newest_image()
        observed_ns, now_ns = self._driven().observed_ns(), self._node.get_clock().now().nanoseconds
        seen = self._observations.put_together(image.bgr, observed_ns, now_ns, task.window)
        return Frame(seen, image.arrival.stamp_ns)

    def _newest_image(self) -> SeenImage:
        """Return the newest image; one that cannot be decoded is not accepted, nor is the next before it was."""
        try:
            image = self._image.look()
        except InputError as error:
            self._image_broken = True
            self._driven().refuse("image", str(error), forget=True)
            raise
        if self._image_broken and image is not self._looked_at:
            self._driven().accept("image", judged_at(self._node, image.arrival), image.arrival.stamp_ns)
            self._image_broken = False
        self._looked_at = image
        return image

    def _publish(self, result: Action, frame: Frame, arrival: Arrival) -> None:
        seen: Observation = frame.data
        values, clamped = self._driven().release(instant(self._node), result.values.tolist(), seen.observed_ns)
        self.gates.note(values)
        seen.figures.update(self.gates.figures())
        self._sent += 1
        elapsed_ms = (CLOCKS.monotonic_ns() - arrival.arrived_ns) / 1e6
        self._node.get_logger().info(
            f"[ACTION #{self._sent}] {' '.join(f'{v:+.3f}' for v in values)}"
            f"{' clamped' if clamped else ''} | Time: {elapsed_ms:.1f}ms | "
            f"Sensor: {seen.sensor_fill}/{len(seen.force)} | Robot: {seen.robot_fill}/{len(seen.joints)}",
            throttle_duration_sec=5.0,
        )


def _finite(name: str, values: list[float]) -> list[float]:
    if not all(map(math.isfinite, values)):
        raise InputError(f"a sample of {name} must be finite, got {values}")
    return values
