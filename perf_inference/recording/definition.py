"""The definition of a message type."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """What a message type is made of, as MCAP has it."""

    type: str  # sensor_msgs/msg/Imu
    encoding: str  # ros2msg, ros2idl
    text: str  # its own text, and after lines of 80 '=' and 'MSG: pkg/Type' those of the types that it contains
