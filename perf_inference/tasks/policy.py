"""Policies: windows of samples and a picture in, a joint command out that is safe to send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.picture import Image, ImageInput

KINDS = ("velocity", "position")


class Window:
    """The newest samples of one topic with their stamps; read back on a regular grid of time."""

    def __init__(self, width: int, capacity: int = 1024) -> None:
        """Make room for `capacity` samples of `width` values."""
        self._stamps = np.zeros(capacity, np.int64)
        self._values = np.zeros((capacity, width), np.float32)
        self._count = 0

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample [ns]; None: none yet."""
        return int(self._stamps[(self._count - 1) % len(self._stamps)]) if self._count else None

    def add(self, stamp_ns: int, values: Sequence[float] | NDArray[Any]) -> None:
        """Add a sample; after a step back in time (a restarted or replayed source) the older ones go.

        Raises:
            InputError: wrong number of values, or one that is not finite.
        """
        array = np.asarray(values, np.float32)
        if array.shape != self._values.shape[1:]:
            raise InputError(f"a sample must have {self._values.shape[1]} values, got {array.size}")
        if not np.isfinite(array).all():
            raise InputError(f"a sample must be finite, got {array.tolist()}")
        newest = self.newest_ns
        if newest is not None and stamp_ns < newest:
            self._count = 0
        slot = self._count % len(self._stamps)
        self._stamps[slot], self._values[slot] = stamp_ns, array
        self._count += 1

    def sample(self, end_ns: int, period_ns: int, length: int) -> tuple[NDArray[np.float32], int]:
        """Return ([length, width] oldest first, slots filled): the grid ends at `end_ns`, each slot holds the newest
        sample not younger than it. A slot counts as filled when that sample is at most two periods older; before the
        first sample, and with none at all, slots repeat it or are zero.
        """
        if not self._count:
            return np.zeros((length, self._values.shape[1]), np.float32), 0
        used = min(self._count, len(self._stamps))
        order = np.arange(self._count - used, self._count) % len(self._stamps)
        stamps = self._stamps[order]
        grid = end_ns - period_ns * np.arange(length - 1, -1, -1, dtype=np.int64)
        index = np.searchsorted(stamps, grid, side="right") - 1
        clipped = np.maximum(index, 0)
        filled = (index >= 0) & (grid - stamps[clipped] <= 2 * period_ns)
        return self._values[order[clipped]], int(filled.sum())


@dataclass(frozen=True)
class Observation:
    """What the policy sees at one tick."""

    force: NDArray[np.float32]  # [window, 6] N and Nm, oldest first
    joints: NDArray[np.float32]  # [window, 2 * joints]: positions [rad], then velocities [rad/s]
    picture: Image  # BGR [H, W, 3]
    sensor_fill: int
    robot_fill: int
    oldest_ns: int  # stamp of the oldest of the newest samples: how old the observation is


@dataclass(frozen=True)
class Action:
    """One command for all joints, within the limits."""

    kind: str  # velocity | position
    values: NDArray[np.float64]  # [joints] rad/s or rad
    clamped: bool
    observation: Observation


@dataclass(frozen=True)
class JointLimits:
    """Bounds of each joint; a command outside them is clamped."""

    names: tuple[str, ...]
    lower_rad: NDArray[np.float64]
    upper_rad: NDArray[np.float64]
    velocity_rad_s: NDArray[np.float64]

    @classmethod
    def of(
        cls, names: Sequence[str], lower: Sequence[float], upper: Sequence[float], velocity: Sequence[float]
    ) -> JointLimits:
        """Check that there is one bound a joint.

        Raises:
            ConfigError: a length that does not fit, a bound that is not a number, or a lower one over its upper one.
        """
        count = len(names)
        for label, values in (("lower", lower), ("upper", upper), ("velocity", velocity)):
            if len(values) != count:
                raise ConfigError(f"limits.{label} must have {count} values, one for each of {list(names)}, "
                                  f"got {len(values)}")  # fmt: skip
            if np.isnan(values).any():
                raise ConfigError(f"limits.{label} must be numbers, got {list(values)}")
        limits = cls(tuple(names), *(np.array(v, np.float64) for v in (lower, upper, velocity)))
        if (limits.lower_rad > limits.upper_rad).any() or (limits.velocity_rad_s < 0).any():
            raise ConfigError(f"limits must be lower <= upper and velocity >= 0, got {list(lower)}, {list(upper)}, "
                              f"{list(velocity)}")  # fmt: skip
        return limits

    def clamp_velocity(
        self, velocity: NDArray[np.float64], position: NDArray[np.float64], horizon_s: float
    ) -> NDArray[np.float64]:
        """Return the velocity [rad/s] within its bound, and such that no joint passes its range within `horizon_s`."""
        bounded = np.clip(velocity, -self.velocity_rad_s, self.velocity_rad_s)
        slowest = np.minimum((self.lower_rad - position) / horizon_s, 0.0)
        fastest = np.maximum((self.upper_rad - position) / horizon_s, 0.0)
        clamped: NDArray[np.float64] = np.clip(bounded, slowest, fastest)
        return clamped

    def clamp_position(
        self, target: NDArray[np.float64], position: NDArray[np.float64], horizon_s: float
    ) -> NDArray[np.float64]:
        """Return the target [rad] within its range, and no farther than the velocity bound allows in `horizon_s`.

        A joint that is outside its range comes back no faster than that either.
        """
        reach = self.velocity_rad_s * horizon_s
        inside = np.clip(target, self.lower_rad, self.upper_rad)
        clamped: NDArray[np.float64] = np.clip(inside, position - reach, position + reach)
        return clamped


class PolicyTask:
    """For models with inputs `force` [1,W,6], `joints` [1,W,2J] and `image`, and an output `action` [1,J]."""

    def __init__(
        self, engine: Engine, limits: JointLimits, rate_hz: float, kind: str = "auto", in_force_s: float = 0.0
    ) -> None:
        """Read windows and sizes from the model.

        Args:
            kind: `velocity`, `position`, or `auto`: what the model's metadata say.
            in_force_s: how long a command may stay in force beyond its period; it leads no joint out of range.

        Raises:
            ConfigError: other inputs or outputs, or joints that do not fit them.
        """
        inputs = {spec.name: spec for spec in engine.inputs}
        if set(inputs) != {"force", "joints", "image"} or "action" not in {spec.name for spec in engine.outputs}:
            raise ConfigError(
                f"'{engine.info.name}' is no policy: inputs must be force, joints, image and an output action; it has "
                f"{sorted(inputs)} and {[spec.name for spec in engine.outputs]}"
            )
        count = len(limits.names)
        joints, force = inputs["joints"].shape, inputs["force"].shape
        if len(joints) != 3 or len(force) != 3 or force[2] not in (6, None) or joints[1] != force[1]:
            raise ConfigError(
                f"'{engine.info.name}' must take force [1, W, 6] and joints [1, W, {2 * count}] with one window W, "
                f"got {list(force)} and {list(joints)}"
            )
        if joints[2] is not None and joints[2] != 2 * count:
            raise ConfigError(
                f"joint_names must name {joints[2] // 2} joints for model '{engine.info.name}', "
                f"got {list(limits.names)}"
            )
        action = next(spec.shape for spec in engine.outputs if spec.name == "action")
        if action[-1:] not in ((count,), (None,)):
            raise ConfigError(f"'{engine.info.name}' must give an action [1, {count}], got {list(action)}")
        self.window = force[1] or 65
        self.kind = engine.info.metadata.get("action", "velocity") if kind == "auto" else kind
        if self.kind not in KINDS:
            raise ConfigError(f"an action must be one of {', '.join(KINDS)}, '{engine.info.name}' says '{self.kind}'")
        self._limits, self._period_s, self._in_force_s = limits, 1.0 / rate_hz, in_force_s
        self._image = ImageInput.of(inputs["image"], 128, 96, rgb=False, scale=1.0, metadata=engine.info.metadata)

    def blank(self) -> Observation:
        """Return an observation of nothing, to warm the engine up."""
        force = np.zeros((self.window, 6), np.float32)
        joints = np.zeros((self.window, 2 * len(self._limits.names)), np.float32)
        return Observation(force, joints, self._image.blank(), 0, 0, 0)

    def preprocess(self, frame: Observation) -> tuple[Mapping[str, NDArray[Any]], Observation]:
        """Return the engine's inputs of an observation."""
        image, _ = self._image.stretched(frame.picture)
        return {"force": frame.force[None], "joints": frame.joints[None], self._image.name: image}, frame

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Observation) -> Action:
        """Return the command within all limits.

        Raises:
            InputError: an action that is not finite or has the wrong length: it must not leave.
        """
        raw = np.asarray(outputs["action"], np.float64).reshape(-1)
        joints = len(self._limits.names)
        if raw.size != joints or not np.isfinite(raw).all():
            raise InputError(f"the policy's action must be {joints} finite values, got {raw.tolist()}: not sent")
        position = context.joints[-1, :joints].astype(np.float64)
        if self.kind == "velocity":
            values = self._limits.clamp_velocity(raw, position, self._period_s + self._in_force_s)
        else:
            values = self._limits.clamp_position(raw, position, self._period_s)
        return Action(self.kind, values, bool((values != raw).any()), context)

    def extra(self, result: Action, context: Observation) -> Mapping[str, Scalar]:
        return {"sensor_fill": context.sensor_fill, "robot_fill": context.robot_fill}
