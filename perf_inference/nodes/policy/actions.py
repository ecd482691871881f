"""The topic `action`: what ros2_control's forward and trajectory controllers take."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from perf_inference.nodes.policy.formed_message import FormedMessage
from perf_inference.nodes.policy.gate_setup import GateSetup, declare_qos, qos_of, qos_values
from perf_inference.safety.commands.knots import Trajectory

ACTION_MESSAGES = ("auto", "multi_array", "joint_trajectory", "joint_state")
ACTION_QOS = QoSProfile(depth=1)
ACTION_TYPES = {
    "multi_array": Float64MultiArray, "joint_trajectory": JointTrajectory, "joint_state": JointState,
    "twist": Twist, "twist_stamped": TwistStamped,
}  # fmt: skip


def type_of(message: str, names: Sequence[str]) -> Any:
    """Return the class of one of ACTION_MESSAGES, or of a plug-in's message."""
    return ACTION_TYPES[message] if message in ACTION_TYPES else FormedMessage(message, names).kind


def message_of(kind: str, message: str) -> str:
    """Return which message `auto` is for actions of this kind."""
    return message if message != "auto" else "multi_array" if kind == "velocity" else "joint_trajectory"


class ActionPublisher:
    """Publishes the commands that the gate lets out."""

    def __init__(self, node: Node, setup: GateSetup) -> None:
        """Advertise `action`, or `action_shadow`, with the QoS that the user gave it to policy_node."""
        settings = setup.settings
        self._node, self._joints = node, list(setup.limits.names)
        self._kind = settings.kind
        makers: dict[str, Callable[[Any], Any]] = {
            "multi_array": self._multi_array, "joint_trajectory": self._trajectory, "joint_state": self._joint_state,
            "twist": self._twist, "twist_stamped": self._twist_stamped,
        }  # fmt: skip
        if setup.message in makers:
            self.type = ACTION_TYPES[setup.message]
        else:  # of another package
            formed = FormedMessage(setup.message, self._joints)
            makers[setup.message] = lambda values: formed.make(values, self._node.get_clock().now().to_msg())
            self.type = formed.kind
        self._make, self._topics = makers[setup.message], setup.topics
        given, topic = setup.action_qos, setup.topics.action
        self._lock = threading.Lock()
        if given is None and not setup.shadow:
            self._publisher = node.create_publisher(
                self.type, topic, ACTION_QOS, qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )
        elif given is None:
            declare_qos(node, topic, ACTION_QOS)
        self._qos = qos_of(given or qos_values(node, topic, "publisher", ACTION_QOS))
        if given is not None or setup.shadow:
            self._publisher = node.create_publisher(self.type, self._topic(setup.shadow), self._qos)
        self.in_shadow = setup.shadow
        self.sent = 0  # messages, to the robot

    def shadow(self, on: bool) -> None:
        """Publish on `action_shadow`, or on `action`, and have no publisher of the other topic."""
        with self._lock:
            if on != self.in_shadow:
                self._node.destroy_publisher(self._publisher)
                self._publisher = self._node.create_publisher(self.type, self._topic(on), self._qos)
                self.in_shadow = on

    def _topic(self, shadow: bool) -> str:
        return self._topics.action_shadow if shadow else self._topics.action

    def publish(self, command: Sequence[float] | Trajectory) -> None:
        """Publish one command."""
        with self._lock:
            self.sent += not self.in_shadow
            self._publisher.publish(self._make(command))

    def _multi_array(self, values: Sequence[float]) -> Any:
        return Float64MultiArray(data=array("d", values))

    def _trajectory(self, trajectory: Trajectory) -> Any:
        """Make the message; its stamp is zero: the controller plays it from when it comes."""
        points = [
            JointTrajectoryPoint(
                positions=array("d", knot.positions),
                velocities=array("d", knot.velocities),
                time_from_start=Duration(nanoseconds=round(knot.after_s * 1e9)).to_msg(),
            )
            for knot in trajectory.knots
        ]
        return JointTrajectory(joint_names=self._joints, points=points)

    def _joint_state(self, values: Sequence[float]) -> Any:
        message = JointState(name=self._joints)
        setattr(message, self._kind, array("d", values))
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def _twist(self, values: Sequence[float]) -> Any:
        return twist_of(self._joints, values)

    def _twist_stamped(self, values: Sequence[float]) -> Any:
        message = TwistStamped(twist=twist_of(self._joints, values))
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message


def twist_of(names: Sequence[str], values: Sequence[float]) -> Twist:
    """Return a Twist of components like `linear.x`."""
    message = Twist()
    for name, value in zip(names, values, strict=True):
        part, _, axis = name.partition(".")
        setattr(getattr(message, part), axis, float(value))
    return message
