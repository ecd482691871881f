"""Drive joints with a learned policy, and send nothing that could hurt."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from geometry_msgs.msg import WrenchStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from perf_inference.engines import Engine
from perf_inference.environment import RESTARTED
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes import runner
from perf_inference.nodes.actions import ACTION_MESSAGES, SAFE_ACTIONS, ActionPublisher
from perf_inference.nodes.inference import Inference
from perf_inference.nodes.latest_image import LatestImage
from perf_inference.nodes.messages import OK, WARN
from perf_inference.nodes.other_senders import OtherSenders
from perf_inference.nodes.pacer import Pacer
from perf_inference.nodes.parameters import ImageParameters, declare, model_parameter, parameter
from perf_inference.nodes.subscription import Input
from perf_inference.pipeline import Frame
from perf_inference.tasks.policy import Action, JointLimits, Observation, PolicyTask, Window

_PI = 3.141592653589793


@dataclass(frozen=True)
class PolicyParameters(ImageParameters):
    """Parameters of policy_node."""

    model: str = model_parameter("policy")
    rate: float = parameter(10.0, "actions per second [Hz]", at_least=0.1, at_most=1000)
    enabled: bool = parameter(False, "drive from the start; else when the service ~/enable says so")
    enabled_after_restart: bool = parameter(
        False, "drive again by itself after a crash; else the service ~/enable is waited for"
    )
    action: str = parameter("auto", "what the model's output means; auto: as its metadata say",
                            choices=("auto", "velocity", "position"))  # fmt: skip
    action_message: str = parameter("auto", "message of the topic action; auto: Float64MultiArray for velocities, "
                                    "JointTrajectory for positions", choices=ACTION_MESSAGES)  # fmt: skip
    safe_action: str = parameter("zero", "sent while disabled, stale or stopping: zero velocity, hold the position, or "
                                 "stop sending after one safe command", choices=SAFE_ACTIONS)  # fmt: skip
    max_observation_age_s: float = parameter(0.3, "an older picture or sample [s] gives the safe action",
                                             at_least=0.01, at_most=60)  # fmt: skip
    sample_rate: float = parameter(100.0, "rate of the samples in the model's windows [Hz]", at_least=1, at_most=10_000)
    joint_names: tuple[str, ...] = parameter(
        ("shoulder", "elbow"), "joints in the model's order, as joint_states has them"
    )
    lower: tuple[float, ...] = parameter((-_PI, -_PI), "lowest position of each joint [rad]", name="limits.lower")
    upper: tuple[float, ...] = parameter((_PI, _PI), "highest position of each joint [rad]", name="limits.upper")
    velocity: tuple[float, ...] = parameter((1.0, 1.0), "highest speed of each joint [rad/s]", name="limits.velocity")


class PolicyNode(runner.RunnableNode):
    """image, joint_states and force -> action, at a rate on the steady clock."""

    def __init__(self, name: str = "policy_node") -> None:
        super().__init__(name)
        self._p = p = declare(self, PolicyParameters)
        self._limits = limits = JointLimits.of(p.joint_names, p.lower, p.upper, p.velocity)
        self._kind = ""  # of the actions; the first model's for good
        self._gate = threading.Lock()  # between "may it leave?" and its leaving
        crashed = bool(os.environ.get(RESTARTED)) and not p.enabled_after_restart
        self._enabled, self._stopping = p.enabled and not crashed, False
        self._sent = 0
        self._sent_ns = CLOCKS.monotonic_ns()  # of the policy's newest action
        self._hold_reason = ""
        self._period_ns = round(1e9 / p.sample_rate)
        self._max_age_ns = round(p.max_observation_age_s * 1e9)
        self._windows_lock = threading.Lock()
        self._force, self._joints = Window(6), Window(2 * len(limits.names))
        self._image = LatestImage(self, p.image_transport)
        self._force_input = Input(self, WrenchStamped, "force", self._on_force, Ledger())
        self._joint_input = Input(self, JointState, "joint_states", self._on_joints, Ledger())
        self._inference = Inference(
            self,
            p,
            self._task_of,
            self._observe,
            self._publish,
            blank=PolicyTask.blank,
            state=self._state,
            rate_hz=p.rate,
        )
        for name, source in self._inputs().items():
            self._inference.watch(name, source)
        self._kind = self._inference.task.kind
        others = OtherSenders(self, limits.names)
        self._actions = ActionPublisher(self, limits, self._kind, p.action_message, p.safe_action, 1 / p.rate)
        others.begin()
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._pacer = Pacer(self, p.rate, self._tick)
        self._watch = Pacer(self, max(p.rate, 3 / p.max_observation_age_s), self._guard)
        engine = self._inference.engine
        self.get_logger().info(
            f"{engine.info.name} ({engine.info.runtime} {engine.info.precision} on {engine.info.device}) drives "
            f"{', '.join(limits.names)} at {p.rate:g} Hz, "
            + ("enabled" if self._enabled else f"disabled until {self.get_fully_qualified_name()}/enable is called")
            + (" (restarted)" if crashed and p.enabled else "")
        )

    def stop(self) -> None:
        self._pacer.cancel()
        self._watch.cancel()
        with self._gate:
            self._stopping = True
            self._actions.safe(self._position())

    def finish(self) -> None:
        self._inference.finish()

    def _task_of(self, engine: Engine) -> PolicyTask:
        p = self._p
        task = PolicyTask(engine, self._limits, p.rate, p.action, in_force_s=p.max_observation_age_s)
        if self._kind and task.kind != self._kind:
            raise ConfigError(
                f"this node sends {self._kind} actions, '{engine.info.name}' gives {task.kind} ones; start it anew"
            )
        return task

    def _inputs(self) -> dict[str, Input]:
        return {"image": self._image.input, "joint_states": self._joint_input, "force": self._force_input}

    # ROS thread ------------------------------------------------------------------------------------------------------

    def _on_force(self, arrival: Arrival) -> None:
        f, t = arrival.message.wrench.force, arrival.message.wrench.torque
        self._add(self._force_input, self._force, arrival, [f.x, f.y, f.z, t.x, t.y, t.z])

    def _on_joints(self, arrival: Arrival) -> None:
        message = arrival.message
        order = [message.name.index(name) for name in self._p.joint_names if name in message.name]
        if not order and message.name:
            self._joint_input.ledger.count("received")
            self._joint_input.ledger.count("ignored")  # a gripper's, say: other joints on the same topic
            return
        values = []
        if len(order) == len(self._p.joint_names) and len(message.position) == len(message.velocity) == len(
            message.name
        ):
            values = [message.position[i] for i in order] + [message.velocity[i] for i in order]
        self._add(self._joint_input, self._joints, arrival, values)

    def _add(self, source: Input, window: Window, arrival: Arrival, values: list[float]) -> None:
        source.ledger.count("received")
        try:
            if not values:
                raise InputError(
                    f"joint_states must have position and velocity of {', '.join(self._p.joint_names)}, "
                    f"got names {list(arrival.message.name)}, {len(arrival.message.position)} positions, "
                    f"{len(arrival.message.velocity)} velocities"
                )
            with self._windows_lock:
                window.add(arrival.stamp_ns or arrival.received_ns, values)
        except InputError as error:
            source.ledger.count("rejected")
            self.get_logger().warning(f"skipped a message of {source.topic}: {error}", throttle_duration_sec=2.0)
        else:
            source.ledger.count("processed")

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        with self._gate:
            self._enabled = bool(request.data)
            self._sent_ns = CLOCKS.monotonic_ns()
            if not request.data:
                self._actions.safe(self._position())
        response.success, response.message = True, "enabled" if request.data else "disabled: safe action"
        self.get_logger().info(response.message)
        return response

    def _tick(self, arrival: Arrival) -> None:
        """Ask for an action where there is a fresh observation to act on."""
        self._guard(arrival)
        if self._enabled and not self._stale():
            self._inference.pipeline.offer(arrival)

    def _guard(self, arrival: Arrival) -> None:
        """Send the safe action whenever there is nothing fresh to act on, or no action has come for too long."""
        stale = "disabled" if not self._enabled else self._stale()
        if stale:
            self._sent_ns = arrival.arrived_ns
        reason = stale or self._late(arrival.arrived_ns)
        self._tell(reason)
        self._hold_reason = reason
        if reason:
            with self._gate:
                self._actions.safe(self._position())

    def _tell(self, reason: str) -> None:
        """Log when driving ends and begins; an input that has not come yet is told with the heartbeat alone."""
        before = self._hold_reason
        if reason not in ("", "disabled") and not before and self._sent:
            self.get_logger().warning(f"safe action: {reason}")
        elif before not in ("", "disabled") and not reason and self._sent:
            self.get_logger().info("driving again")

    def _stale(self) -> str:
        """Return which input has nothing fresh to offer, or nothing."""
        now_ns = CLOCKS.monotonic_ns()
        for source in self._inputs().values():
            if source.last_ns is None:
                return f"nothing has come on {source.topic} yet"
            if now_ns - source.last_ns > self._max_age_ns:
                return f"nothing on {source.topic} for {(now_ns - source.last_ns) / 1e9:.1f} s"
        return ""

    def _late(self, now_ns: int) -> str:
        late_ns = now_ns - self._sent_ns
        limit_ns = self._max_age_ns + round(1e9 / self._p.rate)
        return f"no action for {late_ns / 1e9:.1f} s" if late_ns > limit_ns else ""

    def _state(self) -> tuple[bytes, str]:
        reason = self._hold_reason
        if reason == "disabled":
            return OK, "disabled: safe action"
        return (WARN, f"safe action: {reason}") if reason else (OK, "driving")

    # worker thread ---------------------------------------------------------------------------------------------------

    def _observe(self, arrival: Arrival) -> Frame:
        picture = self._image.look()
        now_ns = self.get_clock().now().nanoseconds
        with self._windows_lock:
            newest = (picture.seen_ns(now_ns), self._joints.newest_ns or 0, self._force.newest_ns or 0)
            force, sensor_fill = self._force.sample(now_ns, self._period_ns, self._inference.task.window)
            joints, robot_fill = self._joints.sample(now_ns, self._period_ns, self._inference.task.window)
        self._check_age(newest, now_ns)
        observation = Observation(force, joints, picture.bgr, sensor_fill, robot_fill, min(newest))
        return Frame(observation, picture.arrival.stamp_ns)

    def _check_age(self, newest_ns: tuple[int, int, int], now_ns: int) -> None:
        for name, stamp in zip(("image", "joint_states", "force"), newest_ns, strict=True):
            age_s = (now_ns - stamp) / 1e9
            if abs(age_s) > self._p.max_observation_age_s:
                raise InputError(
                    f"{name} must be at most {self._p.max_observation_age_s:g} s old, its stamp is {age_s:.2f} s old; "
                    "are the clocks of both hosts synchronised?"
                )

    def _publish(self, result: Action, arrival: Arrival) -> None:
        now_ns = self.get_clock().now().nanoseconds
        with self._gate:
            if self._stopping or not self._enabled:
                raise InputError("the policy was disabled while the action was computed: not sent")
            if now_ns - result.observation.oldest_ns > self._max_age_ns:
                raise InputError(
                    f"the observation grew older than {self._p.max_observation_age_s:g} s: action not sent"
                )
            self._actions.send(result.values.tolist())
            self._sent_ns = CLOCKS.monotonic_ns()
        self._sent += 1
        window = self._inference.task.window
        elapsed_ms = (CLOCKS.monotonic_ns() - arrival.arrived_ns) / 1e6
        self.get_logger().info(
            f"[ACTION #{self._sent}] {' '.join(f'{v:+.3f}' for v in result.values)}"
            f"{' clamped' if result.clamped else ''} | Time: {elapsed_ms:.1f}ms | "
            f"Sensor: {result.observation.sensor_fill}/{window} | Robot: {result.observation.robot_fill}/{window}",
            throttle_duration_sec=5.0,
        )

    def _position(self) -> list[float] | None:
        """Return the joints' newest position [rad]; None: not known, or older than an observation may be."""
        with self._windows_lock:
            age_s = self._joint_input.age_s()
            if self._joints.newest_ns is None or age_s is None or age_s > self._p.max_observation_age_s:
                return None
            values, _ = self._joints.sample(self._joints.newest_ns, self._period_ns, 1)
        return [float(v) for v in values[0, : len(self._p.joint_names)]]


def main() -> None:
    """Run the node."""
    runner.main(PolicyNode)


if __name__ == "__main__":
    main()
