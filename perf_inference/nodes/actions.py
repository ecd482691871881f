"""The topic `action`: what ros2_control's forward and trajectory controllers take."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from perf_inference.errors import InputError
from perf_inference.tasks.policy import JointLimits

ACTION_MESSAGES = ("auto", "multi_array", "joint_trajectory", "joint_state")
SAFE_ACTIONS = ("zero", "hold", "stop")
_TYPES = {"multi_array": Float64MultiArray, "joint_trajectory": JointTrajectory, "joint_state": JointState}


class ActionPublisher:
    """Sends commands, and the safe one."""

    def __init__(
        self, node: Node, limits: JointLimits, kind: str, message: str, safe_action: str, period_s: float
    ) -> None:
        """Advertise `action`.

        Args:
            kind: `velocity` [rad/s] or `position` [rad].
            message: one of ACTION_MESSAGES.
            safe_action: one of SAFE_ACTIONS; positions cannot be zeroed, there `zero` holds.
            period_s: time that a trajectory point is given to be reached.
        """
        if message == "auto":
            message = "multi_array" if kind == "velocity" else "joint_trajectory"
        self._node, self._limits, self._joints, self._kind = node, limits, list(limits.names), kind
        self._safe, self._period_s = safe_action, period_s
        self._make = {"multi_array": self._multi_array, "joint_trajectory": self._trajectory,
                      "joint_state": self._joint_state}[message]  # fmt: skip
        self._publisher = node.create_publisher(
            _TYPES[message], "action", QoSProfile(depth=1),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )  # fmt: skip
        self._silent = False
        self._held: list[float] | None = None

    def send(self, values: Sequence[float]) -> None:
        """Publish one command; the caller lets nothing else send meanwhile.

        Raises:
            InputError: a value that is not finite: it does not leave.
        """
        if not np.isfinite(values).all():
            raise InputError(f"an action must be finite, got {list(values)}: not sent")
        self._publisher.publish(self._make(list(values)))
        self._silent, self._held = False, None

    def safe(self, position_rad: Sequence[float] | None) -> None:
        """Publish the safe command; the caller lets nothing else send meanwhile.

        A position is held where the joints were when the first safe command left, within their range; nothing leaves
        while that is not known, or after `stop` has sent its one command.
        """
        if self._silent:
            return
        if self._kind == "velocity":
            self._publisher.publish(self._make([0.0] * len(self._joints)))
        else:
            if self._held is None and position_rad is not None:
                self._held = np.clip(position_rad, self._limits.lower_rad, self._limits.upper_rad).tolist()
            if self._held is None:
                return
            self._publisher.publish(self._make(self._held))
        self._silent = self._safe == "stop"

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
