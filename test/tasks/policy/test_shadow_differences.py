"""How far a shadow is from somebody else: counted by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message
from typing import Any

import pytest

from perf_inference.errors import InputError
from perf_inference.tasks.policy.shadow import Differences, values_in_order

MS = 1_000_000
NAMES = ("a", "b")


def test_the_figures_of_one_timing_are_those_of_the_commands_since_the_one_before() -> None:
    # t [ms]   0      10       20     30             400
    # theirs   1, 2            0, 0
    # ours            1.5, 1          -0.25, 0.5     1, 1 (theirs is too old)
    differences = Differences(NAMES, 300 * MS)
    differences.heard([1.0, 2.0], 0)
    differences.add([1.5, 1.0], 10 * MS)
    differences.heard([0.0, 0.0], 20 * MS)
    differences.add([-0.25, 0.5], 30 * MS)
    said = differences.taken()
    assert (said["shadow_sent"], said["shadow_compared"], said["shadow_difference"]) == (2, 2, 1.0)
    assert (said["shadow_difference.a"], said["shadow_difference.b"]) == (-0.25, 0.5)
    assert said["shadow_other_age_ms"] == 10
    differences.add([1.0, 1.0], 400 * MS)
    said = differences.taken()
    assert (said["shadow_sent"], said["shadow_compared"]) == (1, 0)
    assert said["shadow_difference"] is said["shadow_difference.a"] is said["shadow_other_age_ms"] is None
    assert differences.taken()["shadow_sent"] == 0


@pytest.mark.parametrize(
    ("message", "kind", "values"),
    [
        (Message(data=[1, 2]), "position", [1, 2]),
        (Message(name=["b", "x", "a"], position=[2, 9, 1], velocity=[]), "position", [1, 2]),
        (Message(name=["b", "a"], position=[], velocity=[2, 1]), "velocity", [1, 2]),
        (Message(joint_names=["b", "a"], points=[Message(positions=[2, 1], velocities=[])]), "position", [1, 2]),
        (Message(joint_names=["a", "b"], points=[Message(positions=[], velocities=[1, 2])]), "velocity", [1, 2]),
    ],
)
def test_a_command_is_read_in_our_order(message: Any, kind: str, values: list[float]) -> None:
    assert values_in_order(message, NAMES, kind) == values


def test_a_twist_is_read_by_its_components() -> None:
    twist = Message(linear=Message(x=1.0, y=2.0, z=3.0), angular=Message(x=4.0, y=5.0, z=6.0))
    assert values_in_order(twist, ("linear.x", "angular.z"), "velocity") == [1, 6]
    assert values_in_order(Message(twist=twist), ("angular.z", "linear.y"), "velocity") == [6, 2]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message(data=[1]), "must have 2 values for a, b, got 1"),
        (Message(name=["a"], position=[1], velocity=[]), "none of b"),
        (Message(name=["a", "b"], position=[1], velocity=[]), "none of b"),
        (Message(joint_names=["a", "b"], points=[]), "must have a point"),
        (Message(data=[1, math.nan]), "must be finite"),
    ],
)
def test_what_cannot_be_compared_is_said(message: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        values_in_order(message, NAMES, "position")
