"""A contract and an engine, put together: which arrays go where, and whether they fit.

`bind` checks all that can be told before the first message. What it returns is pure, but for the recurrent states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec, EngineInfo
from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.chunks.commands import Commands
from perf_inference.tasks.policy.contract.contract import Contract, Term
from perf_inference.tasks.policy.images import prepare_of
from perf_inference.tasks.policy.observing.observer import Seen
from perf_inference.tasks.policy.observing.scaling import Scaling
from perf_inference.tasks.policy.widths import WidthOf, action_width, unknown, width_of

PREVIOUS, DELAY = "previous_chunk", "delay_steps"  # inputs of a model that is conditioned on what will have been sent
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Fit:
    """One line of what `check` says."""

    name: str
    what: str


class Binding:
    """What a contract means for one engine."""

    def __init__(self, contract: Contract, inputs: tuple[ArraySpec, ...], outputs: tuple[ArraySpec, ...],
                 info: EngineInfo, width_at: WidthOf = unknown) -> None:  # fmt: skip
        """Check that they fit.

        Args:
            width_at: what is known of message types.

        Raises:
            ConfigError: one sentence on what does not.
        """
        self.contract, self.info = contract, info
        self.commands = Commands(contract.actions)
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = {spec.name: spec for spec in outputs}
        self.conditioned = PREVIOUS in self._inputs
        self._check_names()
        self.horizon = self._horizon()
        self.widths: dict[int, int] = {}
        for name in contract.inputs:
            self._check_input(name, width_at)
        self.prepare = {
            term.input: prepare_of(term, self._inputs[term.input], info)
            for term in contract.observations
            if term.is_image
        }
        self._states: dict[str, NDArray[Any]] = {}
        self.reset()

    # checks ----------------------------------------------------------------------------------------------------------

    def _fail(self, what: str) -> ConfigError:
        return ConfigError(f"{self.contract.where} does not fit '{self.info.name}': {what}")

    def _check_names(self) -> None:
        contract = self.contract
        states = [state.input for state in contract.state]
        given = [*contract.inputs, *states]
        for name in given:
            if name not in self._inputs:
                raise self._fail(f"the model has no input '{name}'; its inputs are {', '.join(self._inputs)}")
        optional = {PREVIOUS, DELAY}
        if left := [name for name in self._inputs if name not in given and name not in optional]:
            raise self._fail(f"no observation gives the model's input '{left[0]}'; add one with input: {left[0]}")
        if DELAY in self._inputs and not self.conditioned:
            raise self._fail(f"a model with the input {DELAY} must have {PREVIOUS} too")
        for name in [*(a.output for a in contract.actions), *(state.output for state in contract.state)]:
            if name not in self._outputs:
                raise self._fail(f"the model has no output '{name}'; its outputs are {', '.join(self._outputs)}")
        for state in contract.state:
            shape = self._inputs[state.input].shape
            if None in shape[1:]:
                raise self._fail(f"the state '{state.input}' must have a fixed shape, the model says {list(shape)}")

    def _horizon(self) -> int | None:
        """Return the steps of a chunk; None: the model does not say."""
        found: set[int | None] = set()
        for action in self.contract.actions:
            shape = self._outputs[action.output].shape
            if not 1 <= len(shape) <= 3:
                raise self._fail(
                    f"output '{action.output}' must be [1, steps, values] or [1, values], it is {list(shape)}"  # X
                )
            width, start, stop = shape[-1], *action.columns
            if width is not None and len(range(width)[start:stop]) != len(action.names):
                raise self._fail(
                    f"output '{action.output}' must have {len(action.names)} values for {', '.join(action.names)}, not "
                    f"{list(shape)}"
                    + ("" if action.columns == (0, None) else f", of which slice takes {len(range(width)[start:stop])}")
                )
            found.add(shape[1] if len(shape) == 3 else 1)
        if len(found) > 1:
            raise self._fail(f"all outputs must have equally many steps, they have {sorted(map(str, found))}")
        steps = found.pop()
        return None if steps is None else steps * self.contract.actions[0].repeat

    def _check_input(self, name: str, width_at: WidthOf) -> None:
        terms, spec = self.contract.terms(name), self._inputs[name]
        if terms[0].is_image or terms[0].source == "text":
            return
        widths = [width_of(term, self.commands.width, width_at) for term in terms]
        free = [i for i, width in enumerate(widths) if width is None]
        windows = [term.window for term in terms]
        shaped = [w for w in windows if w is not None and w.flatten != "term"]
        if shaped and (len(shaped) < len(terms) or len({(w.length, w.flatten) for w in shaped}) > 1):
            raise self._fail(f"all observations of the input '{name}' must have windows of one length and flatten, or "
                             "flatten: term")  # fmt: skip
        lengths = [1 if w is None else w.length for w in windows]
        total = spec.shape[-1] if spec.shape else 1
        if free and len(free) == 1 and total is not None:
            rest = sum(width * length for width, length in zip(widths, lengths, strict=True) if width is not None)
            share = lengths[free[0]] if not shaped or shaped[0].flatten == "time" else 1
            rest = rest if not shaped or shaped[0].flatten == "time" else sum(w for w in widths if w is not None)
            if (total - rest) > 0 and (total - rest) % share == 0:
                widths[free[0]] = (total - rest) // share
        for term, width in zip(terms, widths, strict=True):
            if width is not None:
                Scaling(term).check(width)
                self.widths[self.contract.observations.index(term)] = width
        if any(width is None for width in widths):
            return
        known = [width for width in widths if width is not None]
        if shaped and shaped[0].flatten == "none":
            have: tuple[int, ...] = (1, shaped[0].length, sum(known))
        else:
            have = (1, sum(width * length for width, length in zip(known, lengths, strict=True)))
        if not _fits(have, spec.shape):
            counts = ", ".join(f"{term.label} {w}" for term, w in zip(terms, known, strict=True))
            raise self._fail(
                f"input '{name}' must be {list(spec.shape)}, the observations give {list(have)} ({counts})"
            )

    # work ------------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin the recurrent states anew."""
        for state in self.contract.state:
            spec = self._inputs[state.input]
            shape = tuple(1 if n is None else n for n in spec.shape)
            self._states[state.input] = np.full(shape, state.initial, spec.dtype)

    def inputs(self, seen: Seen, prefix: NDArray[np.float64] | None = None, delay_steps: int = 0) -> dict[str, Any]:
        """Return the engine's arrays of an observation.

        Args:
            prefix: [n, A] steps that will have been sent when the answer comes, for a model that takes them.

        Raises:
            InputError: an array that does not fit.
        """
        arrays: dict[str, Any] = {}
        for name, value in seen.arrays.items():
            arrays[name] = self._array(self._inputs[name], value)
        arrays |= self._states
        if self.conditioned:
            spec = self._inputs[PREVIOUS]
            shape = tuple(1 if n is None else n for n in spec.shape)
            whole = np.zeros(shape, spec.dtype)
            rows = whole.reshape(-1, shape[-1])
            if prefix is not None and len(prefix):
                count = min(len(rows), len(prefix))
                rows[:count] = prefix[:count]
                rows[count:] = prefix[count - 1]
            arrays[PREVIOUS] = whole
            if (delay := self._inputs.get(DELAY)) is not None:
                arrays[DELAY] = np.full(tuple(1 if n is None else n for n in delay.shape), delay_steps, delay.dtype)
        return arrays

    def keep(self, outputs: Arrays) -> None:
        """Take over the recurrent states of an inference."""
        for state in self.contract.state:
            value = np.asarray(outputs[state.output])
            if not np.isfinite(value.astype(np.float64)).all():
                raise InputError(f"the state '{state.output}' must be finite: it begins anew")
            self._states[state.input] = value.astype(self._inputs[state.input].dtype).reshape(
                self._states[state.input].shape
            )

    def _array(self, spec: ArraySpec, value: Any) -> NDArray[Any]:
        if isinstance(value, str):
            return _text(spec, value)
        if value is None:
            return np.zeros(tuple(1 if n is None else n for n in spec.shape), spec.dtype)
        if not _fits(value.shape, spec.shape):
            raise InputError(
                f"input '{spec.name}' must be {list(spec.shape)}, the observations give {list(value.shape)}"
            )
        shape = tuple(
            n if want is None else want for n, want in zip(_like(value.shape, spec.shape), spec.shape, strict=True)
        )
        return np.ascontiguousarray(value.reshape(shape), dtype=spec.dtype)


def _fits(have: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    """Return whether a shape fits a spec; axes of length 1 may be there or not."""
    try:
        like = _like(have, want)
    except ValueError:
        return False
    return all(w is None or n == w for n, w in zip(like, want, strict=True))


def _like(have: tuple[int, ...], want: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return `have` with as many axes as `want`, axes of length 1 added or taken out in front.

    Raises:
        ValueError: that cannot be done.
    """
    axes = list(have)
    while len(axes) > len(want) and 1 in axes:
        axes.remove(1)
    while len(axes) < len(want):
        axes.insert(min(1, len(axes)) if len(axes) > 1 else 0, 1)
    if len(axes) != len(want):
        raise ValueError
    return tuple(axes)


def _text(spec: ArraySpec, text: str) -> NDArray[Any]:
    """Return a text as the engine takes it: as such, or as UTF-8 bytes with zeros after them."""
    if spec.dtype.kind in "OUS":
        return np.array([text] if len(spec.shape) < 2 else [[text]], object)
    data = np.frombuffer(text.encode(), np.uint8)
    length = next((n for n in reversed(spec.shape) if n not in (None, 1)), None)
    if length is not None and len(data) > length:
        raise InputError(
            f"the task must have at most {length} bytes, as the model's input '{spec.name}' has, got {len(data)}"
        )
    padded = np.zeros(length or len(data), np.uint8)
    padded[: len(data)] = data
    return padded.astype(spec.dtype).reshape((1,) * (len(spec.shape) - 1) + (-1,))


def described(term: Term) -> str:
    """Return what a term subscribes to, for people."""
    parts = [f"{term.topic} ({term.type})" if term.source == "topic" else term.source]
    if term.names:
        parts.append("of " + ", ".join(term.names))
    if term.transform:
        parts.append(f"as {term.transform}")
    if term.window:
        parts.append(f"{term.window.length} samples at {term.window.rate_hz:g} Hz")
    return " ".join(parts)


__all__ = ["Binding", "Fit", "action_width", "described"]
