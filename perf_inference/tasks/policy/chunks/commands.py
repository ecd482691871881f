"""From a model's outputs to a chunk in published units, or the reason why it must not be played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError
from perf_inference.tasks.policy.contract.contract import ActionSpec, Gripper
from perf_inference.tasks.policy.observing.scaling import unnormalized

Floats = NDArray[np.float64]
GROSS = 1e6  # a value beyond is no command of any robot
_GROSS_SPANS = 10.0  # beyond its limits, in widths of them


class Base(NamedTuple):
    """What deltas are added to."""

    measured: Floats | None  # [A]: where the joints were at the observation
    previous: Floats | None  # [A]: what was sent last before the observation


class Commands:
    """The columns of all actions, in file order."""

    def __init__(self, actions: Sequence[ActionSpec]) -> None:
        self.actions = tuple(actions)
        self.width = sum(len(action.names) for action in actions)
        self.slices = []
        start = 0
        for action in actions:
            self.slices.append(slice(start, start + len(action.names)))
            start += len(action.names)
        self._gross = np.concatenate([_gross(action) for action in actions], axis=1)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        return tuple(name for action in self.actions for name in action.names)

    @property
    def aligns(self) -> tuple[str, ...]:
        """How each column is compared (`blending`)."""
        return tuple(action.align for action in self.actions for _ in action.names)

    @property
    def rates(self) -> tuple[bool, ...]:
        """Whether each column is a velocity."""
        return tuple(action.kind in ("velocity", "twist") for action in self.actions for _ in action.names)

    def raw(self, outputs: Mapping[str, NDArray[Any]]) -> Floats:
        """Return what the model says of all columns [H, A], a copy.

        Raises:
            InputError: an output of another shape than the contract's, or that is not finite: the chunk is not played.
        """
        parts = [self._columns(action, outputs) for action in self.actions]
        if len({len(part) for part in parts}) > 1:
            raise InputError(f"the outputs must have equally many steps, got {[len(part) for part in parts]}")
        return np.concatenate(parts, axis=1)

    def _columns(self, action: ActionSpec, outputs: Mapping[str, NDArray[Any]]) -> Floats:
        given = outputs.get(action.output)
        if given is None:
            raise InputError(f"the model must give the output '{action.output}', it gave {sorted(outputs)}")
        array = np.asarray(given)
        if array.dtype.kind not in "fiu" or array.ndim > 3 or (array.ndim > 1 and array.shape[0] != 1):
            raise InputError(f"output '{action.output}' must be [1, steps, values], [1, values] or [values], it is "
                             f"{array.dtype} {list(array.shape)}")  # fmt: skip
        rows = np.asarray(array, np.float64).reshape(-1, array.shape[-1] if array.ndim else 1)
        start, stop = action.columns
        columns = rows[:, start:stop]
        if columns.shape[1] != len(action.names) or not len(columns):
            raise InputError(
                f"output '{action.output}' must have {len(action.names)} values a step for {', '.join(action.names)}, "
                f"got "
                f"{columns.shape[1]} of {list(array.shape)}"
            )
        if not np.isfinite(columns).all():
            raise InputError(f"output '{action.output}' must be finite: the chunk is not played")
        return columns

    def published(self, raw: Floats, base: Base) -> Floats:
        """Return the chunk in published units [H, A]; each step `repeat` times.

        Raises:
            InputError: a value far beyond its limits, or a delta of which nobody knows to what it is added.
        """
        chunk = np.concatenate(
            [self._mapped(i, raw[:, part], part, base) for i, part in enumerate(self.slices)], axis=1
        )  # fmt: skip
        low, high = self._gross
        outside = (chunk < low) | (chunk > high) | ~np.isfinite(chunk)
        if outside.any():
            column = int(np.argwhere(outside)[0][1])
            raise InputError(f"'{self.names[column]}' must be from {low[column]:.4g} to {high[column]:.4g}, the chunk "
                             f"has {chunk[outside][0]:.4g}: it is not played")  # fmt: skip
        repeat = self.actions[0].repeat
        return np.asarray(np.repeat(chunk, repeat, axis=0) if repeat > 1 else chunk)

    def _mapped(self, i: int, raw: Floats, part: slice, base: Base) -> Floats:
        action = self.actions[i]
        values = raw if action.clip is None else np.clip(raw, *action.clip)
        if action.unnormalize is not None:
            values = unnormalized(values, action.unnormalize)
        with np.errstate(over="ignore"):
            values = values * np.array(action.scale) + np.array(action.offset)
        if action.gripper is not None:
            return _gripped(action.gripper, values, None if base.previous is None else base.previous[part])
        if action.kind != "delta":
            return np.asarray(values)
        known = base.measured if action.delta_from == "state" else base.previous
        start = None if known is None else known[part]
        if start is None or not np.isfinite(start).all():
            raise InputError(f"a delta needs to know where {', '.join(action.names)} are, and nothing has said so yet")
        return np.asarray(start + (values if action.delta_from == "state" else np.cumsum(values, axis=0)))


def _gripped(gripper: Gripper, values: Floats, before: Floats | None) -> Floats:
    """Return the gripper's positions [H, 1]; with a hysteresis they go on from what was sent before."""
    if not gripper.hysteresis:
        return np.asarray(gripper.closed + np.clip(values, 0.0, 1.0) * (gripper.open - gripper.closed))
    middle, out = (gripper.closed + gripper.open) / 2, np.empty_like(values)
    is_open = before is not None and (float(before[0]) > middle) == (gripper.open > gripper.closed)
    for row, value in enumerate(values[:, 0].tolist()):
        is_open = value > 0.5 - gripper.hysteresis if is_open else value > 0.5 + gripper.hysteresis
        out[row, 0] = gripper.open if is_open else gripper.closed
    return out


def _gross(action: ActionSpec) -> Floats:
    """Return between which values [2, n] a chunk of a sane model lies."""
    count, limits = len(action.names), action.limits
    low, high = np.full(count, -GROSS), np.full(count, GROSS)
    if action.kind in ("velocity", "twist") and limits.velocity:
        high = np.minimum(high, _GROSS_SPANS * np.array(limits.velocity))
        low = -high
    elif limits.lower and limits.upper:
        lower, upper = np.array(limits.lower), np.array(limits.upper)
        width = np.where(np.isfinite(upper - lower), upper - lower, GROSS)
        low = np.maximum(low, np.where(np.isfinite(lower), lower - _GROSS_SPANS * width, -GROSS))
        high = np.minimum(high, np.where(np.isfinite(upper), upper + _GROSS_SPANS * width, GROSS))
    return np.stack([low, high])
