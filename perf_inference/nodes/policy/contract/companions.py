"""The actions beside those that the gate guards, such as a gripper's: sent when it lets those out, and never else."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from perf_inference.nodes.policy.actions import twist_of
from perf_inference.nodes.policy.formed_message import FormedMessage
from perf_inference.tasks.policy.chunks.commands import Commands
from perf_inference.tasks.policy.contract.contract import ActionSpec, Contract

Floats = NDArray[np.float64]
_TYPES = {
    "Float64MultiArray": Float64MultiArray, "JointTrajectory": JointTrajectory, "JointState": JointState,
    "Twist": Twist, "TwistStamped": TwistStamped,
}  # fmt: skip


class Companions:
    """Splits a command into what the gate gets, and what goes with it."""

    def __init__(self, node: Node, contract: Contract, commands: Commands, main: Sequence[ActionSpec],
                 shadow: bool = False) -> None:  # fmt: skip
        """Advertise the other topics; in shadow mode those of their names with `_shadow`."""
        self._node, self._period_s = node, 1 / (contract.actions[0].rate_hz or contract.rate_hz or 10)
        columns: dict[str, list[int]] = {}
        actions: dict[str, list[ActionSpec]] = {}
        for action, part in zip(commands.actions, commands.slices, strict=True):
            columns.setdefault(action.topic, []).extend(range(part.start, part.stop))
            actions.setdefault(action.topic, []).append(action)
        self._main, self._lock = columns.pop(main[0].topic), threading.Lock()
        self._columns, self._actions = columns, actions
        messages = {topic: actions[topic][0].message for topic in columns}
        self._formed = {
            topic: FormedMessage(message, _names(actions[topic]))
            for topic, message in messages.items()
            if message not in _TYPES
        }
        self._publishers = self._advertised(shadow)

    def shadow(self, on: bool) -> None:
        """Publish on the topics with `_shadow` alone, or on those without."""
        with self._lock:
            for publisher in self._publishers.values():
                self._node.destroy_publisher(publisher)
            self._publishers = self._advertised(on)

    def _advertised(self, shadow: bool) -> dict[str, Any]:
        return {
            topic: self._node.create_publisher(self._type(topic), topic + "_shadow" * shadow, QoSProfile(depth=1))
            for topic in self._columns
        }

    def _type(self, topic: str) -> Any:
        formed = self._formed.get(topic)
        return formed.kind if formed else _TYPES[self._actions[topic][0].message]

    def main_of(self, values: Floats) -> Floats:
        """Return the gate's part."""
        return values[self._main]

    def publish(self, values: Floats, sent: Floats) -> Floats:
        """Publish the others; return the whole command as it was sent."""
        whole = values.copy()
        whole[self._main] = sent
        with self._lock:
            for topic, publisher in self._publishers.items():
                part = whole[self._columns[topic]]
                if formed := self._formed.get(topic):
                    publisher.publish(formed.make(part.tolist(), self._node.get_clock().now().to_msg()))
                else:
                    publisher.publish(message_of(self._node, self._actions[topic], part, self._period_s))
        return whole


def _names(actions: Sequence[ActionSpec]) -> list[str]:
    return [name for action in actions for name in action.names]


def message_of(node: Node, actions: Sequence[ActionSpec], values: Floats, period_s: float) -> Any:
    """Return the message of one command."""
    names = _names(actions)
    numbers, kind = array("d", values.tolist()), actions[0].message
    field = "velocity" if actions[0].kind == "velocity" else "position"
    if kind == "Float64MultiArray":
        return Float64MultiArray(data=numbers)
    if kind in ("Twist", "TwistStamped"):
        message = twist_of(names, values.tolist())
        if kind == "Twist":
            return message
        stamped = TwistStamped(twist=message)
        stamped.header.stamp = node.get_clock().now().to_msg()
        return stamped
    if kind == "JointState":
        joints = JointState(name=names)
        setattr(joints, field, numbers)
        joints.header.stamp = node.get_clock().now().to_msg()
        return joints
    point = JointTrajectoryPoint(time_from_start=Duration(seconds=period_s).to_msg())
    setattr(point, "velocities" if field == "velocity" else "positions", numbers)
    trajectory = JointTrajectory(joint_names=names, points=[point])
    trajectory.header.stamp = node.get_clock().now().to_msg()
    return trajectory
