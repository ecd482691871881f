"""Shadow mode: what the policy would send goes to `action_shadow`, beside what somebody else sends on `action`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_srvs.srv import SetBool

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.policy.actions import type_of
from perf_inference.nodes.policy.gate_setup import GateSetup
from perf_inference.tasks.policy.shadow import Differences, values_in_order

_SWITCH_S = 3.0  # in which the robot comes to rest, and gate and node have taken their publishers away
_LOOK_S = 1.0  # for who sends another type of message
_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)  # which hears everybody


class Shadow:
    """Serves `~/shadow`, hears `action` while it is on, and keeps the differences for the timings."""

    def __init__(self, node: Node, setup: GateSetup, switch: Callable[[bool, float], bool]) -> None:
        """Begin as `setup` says.

        Args:
            switch: lets the gate, and whoever else has a publisher, send to the shadow's topics or to the robot's;
                returns whether that is so within the given time [s].
        """
        self._node, self._setup, self._switch = node, setup, switch
        self._kind, self._type = setup.settings.kind, type_of(setup.message, setup.limits.names)
        self._lock = threading.Lock()
        self._differences = Differences(setup.limits.names, round(setup.settings.max_age_s * 1e9))
        self._subscription: Any = None
        self._timer = node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.on = setup.shadow
        self._listen()
        node.create_service(SetBool, "~/shadow", self._on_set)

    def note(self, values: Sequence[float]) -> None:
        """Compare a command that was sent to the shadow's topic with the newest of somebody else (any thread)."""
        if self.on:
            with self._lock:
                self._differences.add(values, CLOCKS.monotonic_ns())

    def figures(self) -> dict[str, Scalar]:
        """Return what the next timing says of the commands since the one before; nothing where no shadow is."""
        with self._lock:
            return self._differences.taken() if self.on else {}

    def _on_set(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        on, log, topics = bool(request.data), self._node.get_logger(), self._setup.topics
        if on == self.on:
            response.success, response.message = True, f"{'in' if on else 'not in'} shadow mode already"
            return response
        response.success = self._switch(on, _SWITCH_S)
        if response.success:
            self.on = on
            self._listen()
        if not response.success:
            response.message = "the robot has not come to rest yet; call it again" if on else "the gate does not answer"
            log.warning(f"shadow mode is still {'off' if on else 'on'}: {response.message}")
            return response
        response.message = (
            f"shadow mode: commands go to {topics.action_shadow}, and nothing to {topics.action}" if on
            else f"shadow mode has ended: disabled until {topics.enable} is called"
        )  # fmt: skip
        log.info(response.message)
        return response

    def _listen(self) -> None:
        """Hear `action` in a shadow, and nowhere else."""
        with self._lock:
            self._differences = Differences(self._setup.limits.names, round(self._setup.settings.max_age_s * 1e9))
        if self.on and self._subscription is None:
            self._subscription = self._node.create_subscription(
                self._type, self._setup.topics.action, self._on_action, _QOS
            )
        elif not self.on and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_action(self, message: Any) -> None:
        try:
            values = values_in_order(message, self._setup.limits.names, self._kind)
        except InputError as error:
            self._node.get_logger().warning(
                f"a message of {self._setup.topics.action} cannot be compared: {error}", throttle_duration_sec=5.0
            )
            return
        with self._lock:
            self._differences.heard(values, CLOCKS.monotonic_ns())

    def _look(self) -> None:
        """Say who sends messages that the shadow cannot be compared with."""
        if not self.on:
            return
        topic, own = self._setup.topics.action, self._setup.message
        module = self._type.__module__.split(".")[0]
        wanted = f"{module}/msg/{self._type.__name__}"
        for info in self._node.get_publishers_info_by_topic(topic):
            if info.topic_type != wanted:
                self._node.get_logger().warning(
                    f"{info.node_name} sends {info.topic_type} on {topic}, which cannot be compared with {wanted}; let "
                    f"it send that, or change what this node sends (now {own})", throttle_duration_sec=10.0,
                )  # fmt: skip
