"""Actions that are finite and of the right length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec, EngineInfo
from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.policy_task import Observation, PolicyTask

F32 = np.dtype(np.float32)


NAMES = ("a", "b")


class Engine:
    """The specs of a policy."""

    inputs = (ArraySpec("force", (1, 3, 6), F32), ArraySpec("joints", (1, 3, 4), F32),
              ArraySpec("image", (1, 4, 4, 3), np.dtype(np.uint8)))  # fmt: skip
    outputs = (ArraySpec("action", (1, 2), F32),)
    info = EngineInfo("p", "fake", "fp32", "cpu", {"action": "velocity"})

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return {}

    def close(self) -> None: ...


def observation() -> Observation:
    image = np.zeros((8, 8, 3), np.uint8)
    return Observation(np.zeros((3, 6), np.float32), np.zeros((3, 4), np.float32), image, 3, 3, 0)


@pytest.mark.parametrize("action", [[float("nan"), 0.0], [0.0], [float("inf"), 0.0]])
def test_an_action_that_is_not_finite_or_too_short_never_leaves(action: list[float]) -> None:
    task = PolicyTask(Engine(), NAMES)
    with pytest.raises(InputError, match="must be 2 finite values"):
        task.postprocess({"action": np.array([action], np.float32)}, observation())


def test_the_inputs_fit_the_specs() -> None:
    task = PolicyTask(Engine(), NAMES)
    arrays, seen = task.preprocess(observation())
    for spec in Engine.inputs:
        spec.check(arrays[spec.name])
    assert task.extra(None, seen) == {"sensor_fill": 3, "robot_fill": 3}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "output", "metadata", "said"),
    [
        ({"force": (1, 3)}, (1, 2), {}, "must take force"),
        ({"joints": (1, 4, 4)}, (1, 2), {}, "with one window W"),
        ({}, (1, 7), {}, "must give an action"),
        ({}, (1, 2), {"units": "deg/s"}, "must give rad/s, its metadata say 'deg/s'"),
        ({}, (1, 2), {"limits.upper": "1.0"}, "metadata 'limits.upper' of 'p' must be 2 numbers"),
        ({}, (1, 2), {"action": "effort"}, "must be one of velocity, position, 'p' says 'effort'"),
    ],
)
def test_a_model_of_another_shape_or_kind_is_refused(
    inputs: dict[str, tuple[int, ...]], output: tuple[int, ...], metadata: dict[str, str], said: str
) -> None:
    engine = Engine()
    engine.inputs = tuple(ArraySpec(s.name, inputs.get(s.name, s.shape), s.dtype) for s in Engine.inputs)
    engine.outputs = (ArraySpec("action", output, F32),)
    engine.info = EngineInfo("p", "fake", "fp32", "cpu", metadata)
    with pytest.raises(ConfigError, match=said):
        PolicyTask(engine, NAMES)


def test_joints_that_do_not_fit_the_model_are_named() -> None:
    with pytest.raises(ConfigError, match="joint_names must name 2 joints"):
        PolicyTask(Engine(), NAMES[:1])
