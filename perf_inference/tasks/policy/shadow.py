"""How far a policy in shadow mode is from what somebody else sends: pure functions of two rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from perf_inference.errors import InputError
from perf_inference.measure.stamps import Scalar


class Differences:
    """Differences of the commands between two timings, to the newest one that somebody else had sent by then."""

    def __init__(self, names: Sequence[str], max_age_ns: int) -> None:
        """Begin with nothing heard; a command of somebody else that is older counts as none."""
        self._names, self._max_age_ns = tuple(names), max_age_ns
        self._theirs: tuple[int, Sequence[float]] | None = None  # when it came [ns, steady], values
        self._newest: list[float] | None = None
        self._age_ns: int | None = None
        self._sent = self._compared = 0
        self._largest = 0.0

    def heard(self, values: Sequence[float], now_ns: int) -> None:
        """Take a command of somebody else [joints]."""
        self._theirs = now_ns, tuple(values)

    def add(self, values: Sequence[float], now_ns: int) -> None:
        """Compare a command of the shadow [joints]."""
        self._sent += 1
        self._newest = self._age_ns = None
        if self._theirs is None or now_ns - self._theirs[0] > self._max_age_ns:
            return
        self._age_ns = now_ns - self._theirs[0]
        self._newest = [ours - theirs for ours, theirs in zip(values, self._theirs[1], strict=True)]
        self._compared += 1
        self._largest = max(self._largest, *(abs(d) for d in self._newest))

    def taken(self) -> dict[str, Scalar]:
        """Return the figures since the last call, and begin anew.

        `shadow_sent` commands, `shadow_compared` of them; `shadow_difference`: the largest of all joints and commands;
        `shadow_difference.JOINT`: ours less theirs, of the newest command [rad or rad/s], and how old theirs was then.
        """
        newest: Sequence[float | None] = self._newest or [None] * len(self._names)
        said: dict[str, Scalar] = {
            "shadow_sent": self._sent,
            "shadow_compared": self._compared,
            "shadow_difference": self._largest if self._compared else None,
            "shadow_other_age_ms": None if self._age_ns is None else self._age_ns / 1e6,
            **{f"shadow_difference.{name}": value for name, value in zip(self._names, newest, strict=True)},
        }
        self._newest, self._age_ns = None, None
        self._sent, self._compared, self._largest = 0, 0, 0.0
        return said


def values_in_order(message: Any, names: Sequence[str], kind: str) -> list[float]:
    """Return what a command says of these joints, in their order.

    Args:
        message: a JointTrajectory (its first point counts), JointState, Float64MultiArray (in our order), Twist or
            TwistStamped.
        kind: `position` or `velocity`: which of its numbers count.

    Raises:
        InputError: it says nothing of one of them, or what is not finite.
    """
    try:
        values = _values(message, names, "velocity" if kind in ("velocity", "twist") else "position")
    except AttributeError as error:  # of another package
        raise InputError(f"a {type(message).__name__} does not say its values by name: {error}") from error
    if not all(map(math.isfinite, values)):
        raise InputError(f"its values must be finite, got {values}")
    return values


def _values(message: Any, names: Sequence[str], kind: str) -> list[float]:
    if hasattr(message, "data"):
        if len(message.data) != len(names):
            raise InputError(f"it must have {len(names)} values for {', '.join(names)}, got {len(message.data)}")
        return list(map(float, message.data))
    if hasattr(message, "twist") or hasattr(message, "linear"):
        twist = getattr(message, "twist", message)
        return [float(getattr(getattr(twist, part), axis)) for part, _, axis in (n.partition(".") for n in names)]
    if hasattr(message, "points"):
        if not message.points:
            raise InputError("it must have a point, got none")
        said, row = message.joint_names, message.points[0].velocities if kind == "velocity" else (
            message.points[0].positions
        )  # fmt: skip
    else:
        said, row = message.name, message.velocity if kind == "velocity" else message.position
    known = dict(zip(said, row, strict=False))
    if missing := [name for name in names if name not in known]:
        raise InputError(f"it must have a {kind} of each of {', '.join(names)}, got none of {', '.join(missing)}")
    return [float(known[name]) for name in names]
