"""Picks numbers out of a message by paths like `position`, `wrench.force.x` or `data[0:7]`.

A message is anything with attributes (rclpy's classes) or keys (a decoded recording): both give the same numbers.
"""

from __future__ import annotations

import array
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError

Floats = NDArray[np.float64]
PATH = re.compile(r"[a-zA-Z_]\w*(?:\[-?\d*(?::-?\d*)?\])?(?:\.[a-zA-Z_]\w*(?:\[-?\d*(?::-?\d*)?\])?)*")
_STEP = re.compile(r"(\w+)(?:\[(-?\d*)(:?)(-?\d*)\])?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MOST = 1_000_000  # numbers of one message
# What `fields` are where a contract does not say; of other types: all numbers but headers, layouts and covariances.
DEFAULTS = {
    "sensor_msgs/msg/JointState": ("position",),
    "sensor_msgs/msg/LaserScan": ("ranges",),
    "sensor_msgs/msg/Imu": ("orientation", "angular_velocity", "linear_acceleration"),
    "nav_msgs/msg/Odometry": ("pose.pose", "twist.twist"),
    "trajectory_msgs/msg/JointTrajectory": ("points[0].positions",),
}
_LEFT_OUT = ("header", "layout", "stamp", "name", "joint_names", "covariance")
NAME_LISTS = ("name", "joint_names")
DERIVED = {"velocity": "position", "velocities": "positions"}  # a rate, and what it is the rate of


def fields_of(kind: str, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of a term; ("",), all of the message, where neither the contract nor the table has any."""
    return tuple(fields) or DEFAULTS.get(kind, ("",))


def rate_of(path: str) -> str | None:
    """Return the path of which this one is the rate of change; None: it is none."""
    head, dot, last = path.rpartition(".")
    return None if last not in DERIVED else f"{head}{dot}{DERIVED[last]}"


def numbers_at(message: Any, path: str) -> Floats:
    """Return the numbers [n] at a path, in the order of the message's definition; empty path: all.

    Raises:
        InputError: the path leads nowhere, or to something that is no number.
    """
    return np.asarray(_flat(value_at(message, path), path, []), np.float64)


def names_in(message: Any) -> tuple[str, ...] | None:
    """Return the message's `name` or `joint_names`; None: it has neither."""
    for key in NAME_LISTS:
        names = _get(message, key)
        if names is not None and not isinstance(names, str | bytes):
            return tuple(names)
    return None


def value_at(message: Any, path: str) -> Any:
    """Return what lies at a path.

    Raises:
        InputError: nothing does.
    """
    value = message
    for step in path.split(".") if path else ():
        match = _STEP.fullmatch(step)
        assert match is not None  # the contract's paths are checked
        name, first, colon, last = match.groups()
        value = _get(value, name)
        if value is None:
            raise InputError(f"a message must have the field '{path}', it has no '{name}'")
        if first is None:
            continue
        try:
            value = value[slice(int(first or 0), int(last) if last else None)] if colon else value[int(first or 0)]
        except (IndexError, TypeError, KeyError) as error:
            raise InputError(f"a message must have the field '{path}', '{name}' has {_length(value)} values") from error
    return value


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _length(value: Any) -> str:
    return str(len(value)) if hasattr(value, "__len__") else "no"


def _flat(value: Any, path: str, found: list[Any]) -> list[Any]:
    """Append all numbers below a value."""
    if isinstance(value, bool | int | float | np.number | np.bool_):
        found.append(float(value))
    elif isinstance(value, np.ndarray | array.array):
        found.extend(np.asarray(value, np.float64).reshape(-1).tolist())
    elif isinstance(value, Mapping) and value.keys() == {"dtype", "base64"}:  # a long array of a decoded recording
        found.extend(np.frombuffer(binascii.a2b_base64(value["base64"]), value["dtype"]).astype(np.float64).tolist())
    elif isinstance(value, str) and value in _NOT_FINITE:  # the same, of one number
        found.append(_NOT_FINITE[value])
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if not key.endswith(_LEFT_OUT) and not isinstance(part, str):
                _flat(part, path, found)
    elif isinstance(value, list | tuple):
        for part in value:
            _flat(part, path, found)
    elif hasattr(value, "get_fields_and_field_types"):
        for key in value.get_fields_and_field_types():
            if not key.endswith(_LEFT_OUT) and not isinstance(part := getattr(value, key), str):
                _flat(part, path, found)
    elif isinstance(value, bytes) and len(value) == 1:  # an octet
        found.append(float(value[0]))
    else:
        raise InputError(f"the field '{path or 'message'}' must be numbers, got {type(value).__name__}")
    if len(found) > _MOST:
        raise InputError(f"the field '{path or 'message'}' must have at most {_MOST} numbers")
    return found
