"""A policy with a contract, as the pipeline runs it: pure functions but for what a recurrent model remembers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.chunks.commands import Base
from perf_inference.tasks.policy.chunks.player import Ask, Seam
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.observing.observer import Context, Seen
from perf_inference.tasks.policy.observing.used import as_text
from perf_inference.tasks.policy.widths import WidthOf, unknown

Floats = NDArray[np.float64]
_LARGE_BYTES = 1 << 18


@dataclass
class Tick:
    """One observation on its way, and what its timing will say."""

    seen: Seen
    ask: Ask
    end_ns: int  # at which the windows end, in the ROS clock
    observed_ns: int  # steady: when the oldest of the newest samples was taken
    context: Context
    previous: Floats | None = None  # sent last [A]
    figures: dict[str, Scalar] = field(default_factory=dict)


class Answer(NamedTuple):
    """What the model says."""

    raw: Floats  # [H, A]
    chunk: Floats  # [H, A] in published units


class ContractTask:
    """For any model that fits the contract."""

    def __init__(self, contract: Contract, engine: Engine, width_at: WidthOf = unknown) -> None:
        """Put the two together.

        Raises:
            ConfigError: they do not fit.
        """
        self.contract, self.info = contract, engine.info
        self.binding = Binding(contract, engine.inputs, engine.outputs, engine.info, width_at)
        self.labels = labels_of(contract)
        self._specs = engine.inputs

    def blank(self) -> Tick:
        """Return a tick of nothing, to warm the engine up."""
        arrays = {
            spec.name: self.contract.task
            if any(term.source == "text" for term in self.contract.terms(spec.name))
            else np.zeros(tuple(1 if n is None else n for n in spec.shape))
            for spec in self._specs
            if spec.name in self.contract.inputs
        }
        return Tick(Seen(arrays), Ask(0, 0, np.zeros((0, self.binding.commands.width)), 0, 0), 0, 0, Context())

    def preprocess(self, frame: Tick) -> tuple[Mapping[str, NDArray[Any]], Tick]:
        """Return the engine's inputs."""
        inputs = self.binding.inputs(frame.seen, frame.ask.prefix, frame.ask.delay_steps)
        frame.figures["observation_crc32"] = crc_of(inputs)
        return inputs, frame

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Tick) -> Answer:
        """Return the chunk, if it may be played.

        Raises:
            InputError: it must not be.
        """
        raw = self.binding.commands.raw(outputs)
        chunk = self.binding.commands.published(raw, Base(context.seen.measured, context.previous))
        self.binding.keep(outputs)
        context.figures["action_crc32"] = crc_of({"actions": chunk})
        return Answer(raw, chunk)

    def extra(self, result: Answer, context: Tick) -> Mapping[str, Scalar]:
        """Return the timing's own figures; what becomes of the chunk is added when it is played."""
        context.figures.update(self._observed(context))
        return context.figures

    def _observed(self, tick: Tick) -> dict[str, Scalar]:
        said: dict[str, Scalar] = {"tick_ns": tick.end_ns, "skew_ms": tick.seen.skew_ns / 1e6}
        for place, label in self.labels.items():
            taken = tick.seen.taken.get(place)
            said[f"fill.{label}"] = None if taken is None else taken.filled
            said[f"age_ms.{label}"] = None if taken is None else round((tick.end_ns - taken.stamp_ns) / 1e6, 3)
            said[f"used.{label}"] = None if taken is None else as_text(taken.tags)
        sources = {term.source for term in self.contract.observations}
        if "phase" in sources:
            said["phase_s"] = tick.context.phase_s
        if "text" in sources:
            said["task"] = tick.context.task
        if "previous_action" in sources:
            said["previous_raw"] = numbers_text(tick.context.raw)
        said["epoch"], said["delay_estimate"] = tick.ask.epoch, tick.ask.delay_steps
        said["previous_sent"] = numbers_text(tick.previous)
        if self.binding.conditioned:
            said["prefix"] = numbers_text(tick.ask.prefix.reshape(-1))
        return said


def crc_of(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the CRC-32 of arrays, in the order of their names; of large ones of every 16th byte."""
    crc = 0
    for name in sorted(arrays):
        data = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8) if arrays[name].dtype != object else (
            np.frombuffer(repr(arrays[name].tolist()).encode(), np.uint8)
        )  # fmt: skip
        crc = zlib.crc32((data if data.size <= _LARGE_BYTES else data[::16]).tobytes(), crc)
    return crc


def joined(seam: Seam, sent: int) -> dict[str, Scalar]:
    """Return what became of a chunk, for its timing; `sent`: steps so far."""
    return {
        "chunk_dropped": seam.dropped or None,
        "delay_steps": seam.delay_steps,
        "frozen_steps": seam.frozen_steps,
        "seam_jump": seam.jump,
        "seam_jump_rate": seam.jump_rate,
        "steps_left": seam.left,
        "steps_sent": sent,
    }


def labels_of(contract: Contract) -> dict[int, str]:
    """Return a name for each term that comes from messages: its topic, with its place where several share that."""
    from_messages = {i: t.label for i, t in enumerate(contract.observations) if t.source in ("topic", "tf")}
    names = list(from_messages.values())
    return {i: name if names.count(name) == 1 else f"{name}.{i}" for i, name in from_messages.items()}


def numbers_text(values: Floats | None) -> str | None:
    """Return numbers as a text that gives each bit back."""
    return None if values is None else " ".join(map(repr, np.asarray(values, np.float64).reshape(-1).tolist()))


def numbers_of(text: object, what: str) -> Floats | None:
    """Return the numbers of such a text.

    Raises:
        InputError: it is none.
    """
    if text is None or text == "":
        return None
    try:
        return np.array([float(part) for part in str(text).split()])
    except ValueError as error:
        raise InputError(f"'{what}' of a timing must be numbers, got {str(text)[:60]!r}") from error


def require_same(before: Contract, after: Contract, model: str) -> None:
    """Raise ConfigError where another model carries another contract: what an action means must not change."""
    if (before.observations, before.actions, before.rate_hz) != (after.observations, after.actions, after.rate_hz):
        raise ConfigError(f"'{model}' carries another contract than this node runs; start the node again with it")
