"""Policies: windows of samples and an image in, a joint command out (`safety.gate` says what of it may be sent)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine, EngineInfo
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.vision.image import Image, ImageInput

KINDS = ("velocity", "position")
UNITS = {"velocity": "rad/s", "position": "rad"}
LIMITS = ("lower", "upper", "velocity")


@dataclass(frozen=True)
class Observation:
    """What the policy sees at one tick."""

    force: NDArray[np.float32]  # [window, 6] N and Nm, oldest first
    joints: NDArray[np.float32]  # [window, 2 * joints]: positions [rad], then velocities [rad/s]
    image: Image  # BGR [H, W, 3]
    sensor_fill: int
    robot_fill: int
    observed_ns: int  # steady clock: when the oldest of the newest samples was taken
    figures: dict[str, Scalar] = field(default_factory=dict)  # for its timing


@dataclass(frozen=True)
class Action:
    """What the policy wants of all joints; the gate says how much of it may be sent."""

    kind: str  # velocity | position
    values: NDArray[np.float64]  # [joints] rad/s or rad, finite


class PolicyTask:
    """For models with inputs `force` [1,W,6], `joints` [1,W,2J] and `image`, and an output `action` [1,J]."""

    def __init__(self, engine: Engine, names: Sequence[str], kind: str = "auto") -> None:
        """Read windows and sizes from the model.

        Args:
            names: of the joints, in the model's order.
            kind: `velocity`, `position`, or `auto`: what the model's metadata say.

        Raises:
            ConfigError: other inputs or outputs, or joints that do not fit them.
        """
        inputs = {spec.name: spec for spec in engine.inputs}
        if set(inputs) != {"force", "joints", "image"} or "action" not in {spec.name for spec in engine.outputs}:
            raise ConfigError(
                f"'{engine.info.name}' is no policy: inputs must be force, joints, image and an output action; it has "
                f"{sorted(inputs)} and {[spec.name for spec in engine.outputs]}"
            )
        count = self._count = len(names)
        joints, force = inputs["joints"].shape, inputs["force"].shape
        if len(joints) != 3 or len(force) != 3 or force[2] not in (6, None) or joints[1] != force[1]:
            raise ConfigError(
                f"'{engine.info.name}' must take force [1, W, 6] and joints [1, W, {2 * count}] with one window W, "
                f"got {list(force)} and {list(joints)}"
            )
        if joints[2] is not None and joints[2] != 2 * count:
            raise ConfigError(
                f"joint_names must name {joints[2] // 2} joints for model '{engine.info.name}', got {list(names)}"
            )
        action = next(spec.shape for spec in engine.outputs if spec.name == "action")
        if action[-1:] not in ((count,), (None,)):
            raise ConfigError(f"'{engine.info.name}' must give an action [1, {count}], got {list(action)}")
        self.window = force[1] or 65
        self.kind = engine.info.metadata.get("action", "velocity") if kind == "auto" else kind
        if self.kind not in KINDS:
            raise ConfigError(f"an action must be one of {', '.join(KINDS)}, '{engine.info.name}' says '{self.kind}'")
        self.joint_names = _listed(engine.info.metadata, "joint_names")
        self.limits = {bound: _numbers(engine.info, f"limits.{bound}", count) for bound in LIMITS}
        self.units = engine.info.metadata.get("units", UNITS[self.kind])
        if self.units != UNITS[self.kind]:
            raise ConfigError(f"'{engine.info.name}' must give {UNITS[self.kind]}, its metadata say '{self.units}'")
        self._image = ImageInput.of(inputs["image"], 128, 96, rgb=False, scale=1.0, metadata=engine.info.metadata)

    def blank(self) -> Observation:
        """Return an observation of nothing, to warm the engine up."""
        force = np.zeros((self.window, 6), np.float32)
        joints = np.zeros((self.window, 2 * self._count), np.float32)
        return Observation(force, joints, self._image.blank(), 0, 0, 0)

    def preprocess(self, frame: Observation) -> tuple[Mapping[str, NDArray[Any]], Observation]:
        """Return the engine's inputs of an observation."""
        image, _ = self._image.stretched(frame.image)
        return {"force": frame.force[None], "joints": frame.joints[None], self._image.name: image}, frame

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Observation) -> Action:
        """Return what the policy wants.

        Raises:
            InputError: an action that is not finite or has the wrong length: it must not leave.
        """
        raw = np.asarray(outputs["action"], np.float64).reshape(-1)
        if raw.size != self._count or not np.isfinite(raw).all():
            raise InputError(f"the policy's action must be {self._count} finite values, got {raw.tolist()}: not sent")
        return Action(self.kind, raw)

    def extra(self, result: Action, context: Observation) -> Mapping[str, Scalar]:
        """Return the timing's own figures; what becomes of the action is added when it is sent."""
        context.figures.update(sensor_fill=context.sensor_fill, robot_fill=context.robot_fill)
        return context.figures


def _listed(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """Return the parts of a metadata entry `a,b`; none where it is not there."""
    return tuple(part.strip() for part in metadata[key].split(",")) if metadata.get(key) else ()


def _numbers(info: EngineInfo, key: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in _listed(info.metadata, key))
    except ValueError:
        numbers = ()
    if info.metadata.get(key) and (len(numbers) != count or not np.isfinite(numbers).all()):
        raise ConfigError(f"metadata '{key}' of '{info.name}' must be {count} numbers like 1.0,2.0, it is "
                          f"'{info.metadata[key]}'")  # fmt: skip
    return numbers
