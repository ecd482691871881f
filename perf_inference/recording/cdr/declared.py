"""The fields of message types as their definitions declare them."""

from __future__ import annotations

import re
from typing import NamedTuple

TYPE_NAME = re.compile(r"[A-Za-z]\w*(?:/[A-Za-z]\w*){1,2}", re.ASCII)
SECTION = re.compile(r"^={80}\n", re.MULTILINE)  # before each definition that follows


class DefinitionError(Exception):
    """A definition that cannot be used; says why."""


class Declared(NamedTuple):
    """A field."""

    name: str
    base: str  # "float64", "string", "std_msgs/msg/Header"
    bound: int = 0  # of a string
    many: str = ""  # "", "array" or "sequence"
    size: int = 0  # of the array; the sequence's bound


def full_name(name: str) -> str:
    """Return `sensor_msgs/msg/Imu` for `sensor_msgs/Imu`."""
    package, *rest = name.split("/")
    return name if len(rest) != 1 else f"{package}/msg/{rest[0]}"
