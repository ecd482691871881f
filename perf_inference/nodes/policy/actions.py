"""The topic `action`: what ros2_control's forward and trajectory controllers take."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from perf_inference.nodes.policy.gate_setup import GateSetup, qos_of

ACTION_MESSAGES = ("auto", "multi_array", "joint_trajectory", "joint_state")
ACTION_QOS = QoSProfile(depth=1)
_TYPES = {
    "multi_array": Float64MultiArray, "joint_trajectory": JointTrajectory, "joint_state": JointState,
    "twist": Twist, "twist_stamped": TwistStamped,
}  # fmt: skip


def message_of(kind: str, message: str) -> str:
    """Return which message `auto` is for actions of this kind."""
    return message if message != "auto" else "multi_array" if kind == "velocity" else "joint_trajectory"


class ActionPublisher:
    """Publishes the commands that the gate lets out."""

    def __init__(self, node: Node, setup: GateSetup) -> None:
        """Advertise `action`, with the QoS that the user gave it to policy_node."""
        settings = setup.settings
        self._node, self._joints = node, list(setup.limits.names)
        self._kind, self._period_s = settings.kind, settings.period_s
        self._make = {"multi_array": self._multi_array, "joint_trajectory": self._trajectory,
                      "joint_state": self._joint_state, "twist": self._twist,
                      "twist_stamped": self._twist_stamped}[setup.message]  # fmt: skip
        given = setup.action_qos
        self._publisher = node.create_publisher(
            _TYPES[setup.message], setup.topics.action, ACTION_QOS if given is None else qos_of(given),
            qos_overriding_options=QoSOverridingOptions.with_default_policies() if given is None else None,
        )  # fmt: skip
        self.sent = 0  # messages

    def publish(self, values: Sequence[float]) -> None:
        """Publish one command."""
        self.sent += 1
        self._publisher.publish(self._make(list(values)))

    def _multi_array(self, values: list[float]) -> Any:
        return Float64MultiArray(data=array("d", values))

    def _trajectory(self, values: list[float]) -> Any:
        point = JointTrajectoryPoint(time_from_start=Duration(seconds=self._period_s).to_msg())
        setattr(point, "velocities" if self._kind == "velocity" else "positions", array("d", values))
        message = JointTrajectory(joint_names=self._joints, points=[point])
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def _joint_state(self, values: list[float]) -> Any:
        message = JointState(name=self._joints)
        setattr(message, self._kind, array("d", values))
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def _twist(self, values: list[float]) -> Any:
        return twist_of(self._joints, values)

    def _twist_stamped(self, values: list[float]) -> Any:
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
