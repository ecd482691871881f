"""What a node says of itself twice a second, and which counters of it are losses.

A heartbeat comes from anybody on the network: a value that is not of its key's kind, or larger than it can be, leaves
its field None and is kept in `others`, to be shown as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeGuard

from perf_inference.measure.record import is_count
from perf_inference.measure.stamps import Scalar

TEXTS = frozenset({"engine", "runtime", "precision", "device", "driven_by", "directory", "state"})
"""Keys whose values are texts, whatever they look like."""
TICK = "tick"
"""What drives an engine that no input drives; in the heartbeat its ledger has the place of an input's."""
_LOSSES = ("lost_before", "rejected", "failed")
_MOST = 1e15  # of a rate or a time: others are divided by it
_Values = dict[str, Scalar]


@dataclass(frozen=True)
class InputState:
    """What a node says of one input; of its ticks, which come on no topic, there is the ledger alone."""

    ledger: Mapping[str, Scalar] = field(default_factory=dict)  # `measure.ledger.Counts.as_dict`, as far as it was said
    topic: str | None = None
    problem: str | None = None
    age_s: float | None = None  # of its newest message
    lost_unknown: str | None = None  # why it is not known what was lost
    figures: Mapping[str, Scalar] = field(default_factory=dict)  # rates and delay

    def count(self, counter: str) -> int:
        """Return a counter of the ledger; 0 where it is not known."""
        value = self.ledger.get(counter)
        return value if is_count(value) else 0

    def figure(self, name: str) -> float | None:
        """Return a figure that others can be divided by; None: it is not known."""
        value = self.figures.get(name)
        return value if _is_number(value) else None

    def as_values(self, name: str) -> _Values:
        """Return the values of the input of this name."""
        values: _Values = {f"ledger.{name}.{counter}": value for counter, value in self.ledger.items()}
        if self.lost_unknown is not None:
            values[f"{name}_lost_unknown"] = self.lost_unknown
        if self.topic is not None:
            values[f"{name}_age_s"] = self.age_s
            values[f"input.{name}.topic"] = self.topic
            values[f"input.{name}.problem"] = self.problem
        return {**values, **{f"input.{name}.{key}": value for key, value in self.figures.items()}}


@dataclass(frozen=True)
class Heartbeat:
    """What a node says of itself; one without an engine has `others` alone."""

    engine: str | None = None
    runtime: str | None = None
    precision: str | None = None
    device: str | None = None
    driven_by: str | None = None  # the inputs that the engine runs on each message of, with commas, or `tick`
    inferences: int | None = None
    rate_hz: float | None = None
    expected_hz: float | None = None
    deadline_ms: float | None = None
    deadlines: int | None = None  # inferences that had one
    deadline_misses: int | None = None  # those of them that came after it
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_max_ms: float | None = None
    total_p50_ms: float | None = None
    total_p90_ms: float | None = None
    total_max_ms: float | None = None
    samples: int | None = None  # that these rest on
    inputs: Mapping[str, InputState] = field(default_factory=dict)
    others: Mapping[str, Scalar] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Scalar]) -> Heartbeat:
        """Return what these values say; none of them raises."""
        own: dict[str, Any] = {}
        others: _Values = {}
        found: dict[str, tuple[_Values, _Values]] = {}  # input: its ledger, and what else is said of it
        for key, value in values.items():
            room, _, rest = key.partition(".")
            name, _, what = rest.rpartition(".")
            if name and (room == "input" or (room == "ledger" and not isinstance(value, str))):
                found.setdefault(name, ({}, {}))[room == "input"][what] = value
            elif key in _KINDS and _KINDS[key](value):
                own[key] = value
            else:
                others[key] = value
        inputs = {name: _input_of(name, ledger, said, others) for name, (ledger, said) in found.items()}
        return cls(**own, inputs=inputs, others=others)

    def as_values(self) -> _Values:
        """Return the values to be published; of a node with an engine, a rate or a time that is not known is null."""
        known = {key: getattr(self, key) for key in _KINDS}
        nulls = self.engine is not None
        values: _Values = {
            key: value
            for key, value in known.items()
            if value is not None or (nulls and _KINDS[key] is _is_number_or_null)
        }
        for name, state in self.inputs.items():
            values.update(state.as_values(name))
        return {**values, **self.others}  # as they came, in place of the nulls

    def loss_counters(self, name: str) -> tuple[str, ...]:
        """Return the counters of what an input lost; where nobody waits for each message, being replaced is no loss."""
        return (*_LOSSES, "replaced") if self._is_driver(name) else _LOSSES

    def of_node(self) -> Heartbeat:
        """Return this without what is said of single topics; the ledger of what drives the engine is the node's."""
        kept = {
            name: state if state.topic is None else InputState(state.ledger)
            for name, state in self.inputs.items()
            if state.topic is None or self._is_driver(name)
        }
        return replace(self, inputs=kept)

    def _is_driver(self, name: str) -> bool:
        return name in (self.driven_by or "").split(",")

    @property
    def residual(self) -> int:
        """The ledgers' largest residual; anything but 0 is a bug in the accounting."""
        residuals = [value for state in self.inputs.values() if isinstance(value := state.ledger.get("residual"), int)]
        return max(residuals, key=abs, default=0)


@dataclass(frozen=True)
class Beat:
    """A heartbeat as it was heard."""

    heard_s: float  # monotonic
    start: str  # HOST/START: of one process of the node
    ok: bool
    message: str
    said: Heartbeat

    @property
    def host(self) -> str:
        return self.start.partition("/")[0]


def _input_of(name: str, ledger: _Values, said: _Values, others: _Values) -> InputState:
    """Return the state of an input, and take what belongs to it from `said` and `others`."""
    if not isinstance(said.get("topic"), str):
        return InputState(ledger, figures=said)

    def taken(values: _Values, key: str, fits: Callable[[object], bool]) -> Any:
        return values.pop(key) if key in values and fits(values[key]) else None

    return InputState(
        ledger,
        topic=taken(said, "topic", _is_text),
        problem=taken(said, "problem", _is_text_or_null),
        age_s=taken(others, f"{name}_age_s", _is_number_or_null),
        lost_unknown=taken(others, f"{name}_lost_unknown", _is_text),
        figures=said,
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _is_number_or_null(value: object) -> bool:
    return value is None or _is_number(value)


_FITS: dict[str, Callable[[object], bool]] = {
    "str | None": _is_text,
    "int | None": is_count,
    "float | None": _is_number_or_null,
}
_KINDS = {each.name: _FITS[str(each.type)] for each in fields(Heartbeat) if str(each.type) in _FITS}
