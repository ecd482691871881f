"""What a policy sees at a tick: the terms of a contract, put together for the engine's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.contract.contract import Contract, Term
from perf_inference.tasks.policy.observing.fields import Floats
from perf_inference.tasks.policy.observing.scaling import Scaling
from perf_inference.tasks.policy.observing.series import Series, Taken, series_of

Prepare = Callable[[Any], NDArray[Any]]  # a camera's image -> the model's [1, ...]


@dataclass(frozen=True)
class Context:
    """What a tick has besides messages."""

    raw: Floats | None = None  # the model's newest action [A], as it said it
    sent: Floats | None = None  # the newest command [A], as it was sent
    task: str = ""
    phase_s: float = 0.0  # since the policy was let drive


@dataclass(frozen=True)
class Seen:
    """An observation, and what it rests on."""

    arrays: Mapping[str, Any]  # input -> float64 [1, ...], an image in the model's own dtype, or a text
    taken: Mapping[int, Taken] = field(default_factory=dict)  # by the term's place in the contract
    measured: Floats | None = None  # [A]: positions of the joints that a delta is added to
    skew_ns: int = 0  # between the oldest and the newest of the cameras' images

    def ages_ms(self, contract: Contract, end_ns: int) -> dict[str, float]:
        """Return how old the newest sample of each term was, by its topic."""
        ages = {contract.observations[i].label: (end_ns - taken.stamp_ns) / 1e6 for i, taken in self.taken.items()}
        return {label: round(age, 3) for label, age in ages.items()}


class Observer:
    """Collects the samples of all terms; one thread at a time."""

    def __init__(
        self,
        contract: Contract,
        prepare: Mapping[str, Prepare],
        disorder_ns: int,
        max_age_ns: int,
        action_width: int,
        widths: Mapping[int, int] = MappingProxyType({}),
        ever: bool = False,
    ) -> None:
        """Begin with no sample.

        Args:
            prepare: by input, for those that are images.
            disorder_ns: a sample that is older than the newest of its source by no more is put in order.
            max_age_ns: of a term's newest sample, where the contract has none.
            action_width: values of all actions together.
            ever: no sample is too old, whatever the contract says: they were chosen before.
            widths: values of a sample by the term's place, as far as they are known; for what stands in.
        """
        self.contract = contract
        self._disorder_ns, self._max_age_ns, self._action_width = disorder_ns, max_age_ns, action_width
        self._widths, self._ever = widths, ever
        pair_ns = None if contract.max_skew_s is None else round(contract.max_skew_s * 1e9)
        self._pair_ns = pair_ns
        self.series: dict[int, Series] = {
            i: series_of(term, disorder_ns, prepare.get(term.input), pair_ns)
            for i, term in enumerate(contract.observations)
            if term.source in ("topic", "tf")
        }
        self._scalings = [Scaling(term) for term in contract.observations]
        self._bases = _bases(contract, disorder_ns)
        self._names = [name for action in contract.actions for name in action.names]

    def add(self, place: int, stamp_ns: int, message: Any, tag: Any = None) -> bool:
        """Take a message for one term; False: it has nothing of it.

        Raises:
            InputError: it cannot be used.
        """
        ours = self.series[place].add(stamp_ns, message, tag)
        if ours and place in self._bases:
            self._bases[place].add(stamp_ns, message, tag)
        return ours

    def clear(self) -> None:
        """Drop all samples."""
        for series in (*self.series.values(), *self._bases.values()):
            series.clear()

    def missing(self, now_ns: int) -> str:
        """Return why there is no observation at this time, or nothing."""
        for series in self.series.values():
            if series.term.stand_in is None and (why := self._unfit(series, now_ns)):
                return why
        return ""

    def _unfit(self, series: Series, now_ns: int) -> str:
        newest_ns = series.newest_ns()
        if newest_ns is None:
            return f"no accepted sample yet: {series.missing()}"
        age_ns, most_ns = now_ns - newest_ns, self.max_age_ns(series.term)
        return f"the newest sample of {series.term.label} is {age_ns / 1e9:.2f} s old" if age_ns > most_ns else ""

    def max_age_ns(self, term: Term) -> int:
        """Return how old the newest sample of a term may be."""
        return self._max_age_ns if term.max_age_s is None or self._ever else round(term.max_age_s * 1e9)

    def look(self, end_ns: int, context: Context) -> Seen:
        """Return the observation of a tick.

        Raises:
            InputError: a sample is missing or too old, or the cameras are too far apart.
        """
        taken: dict[int, Taken] = {}
        pictures_ns = self._images_end(end_ns)
        arrays: dict[str, list[Any]] = {}
        for place, term in enumerate(self.contract.observations):
            if place in self.series:
                at_ns = pictures_ns if term.is_image and term.window is None else end_ns
                values = self._of_messages(place, end_ns, at_ns, taken)
            else:
                values = self._of_context(place, term, context)
            arrays.setdefault(term.input, []).append((term, values))
        skew_ns = self._skew(taken)
        joined = {name: _joined(parts) for name, parts in arrays.items()}
        return Seen(joined, taken, self._measured(end_ns), skew_ns)

    def _of_messages(self, place: int, end_ns: int, at_ns: int, taken: dict[int, Taken]) -> Any:
        series = self.series[place]
        if why := self._unfit(series, end_ns):
            if series.term.stand_in is None:
                raise InputError(why)
            return None if series.term.is_image else self._stand_in(place, series.term)
        taken[place] = series.take(at_ns)
        return taken[place].values

    def _stand_in(self, place: int, term: Term) -> Floats:
        values = np.array(term.stand_in)
        if len(values) == 1:
            values = np.repeat(values, self._widths.get(place, 1))
        return np.repeat(values[None], 1 if term.window is None else term.window.length, axis=0)

    def _of_context(self, place: int, term: Term, context: Context) -> Any:
        if term.source == "text":
            return context.task
        if term.source == "constant":
            values = np.array(term.value)
        elif term.source == "phase":
            turn = 2 * math.pi * context.phase_s / term.period_s
            values = np.array([math.sin(turn), math.cos(turn)])
        else:
            known = context.sent if term.sent else context.raw
            values = np.zeros(self._action_width) if known is None else known
        return self._scalings[place].apply(values[None])

    def _images_end(self, end_ns: int) -> int:
        """Return the time to which all cameras have come, where they are to be of one time."""
        if self._pair_ns is None:
            return end_ns
        newest = [series.newest_ns() for series in self.series.values() if series.term.is_image]
        return min((stamp for stamp in newest if stamp is not None), default=end_ns)

    def _skew(self, taken: Mapping[int, Taken]) -> int:
        stamps = {i: t.stamp_ns for i, t in taken.items() if self.contract.observations[i].is_image}
        skew_ns = max(stamps.values(), default=0) - min(stamps.values(), default=0)
        if self._pair_ns is not None and skew_ns > self._pair_ns:
            first, last = (self.contract.observations[pick(stamps, key=lambda i: stamps[i])].label
                           for pick in (min, max))  # fmt: skip
            raise InputError(f"images of {first} and {last} are {skew_ns / 1e6:.0f} ms apart, max_skew_s allows "
                             f"{self._pair_ns / 1e6:.0f} ms")  # fmt: skip
        return skew_ns

    def _measured(self, end_ns: int) -> Floats | None:
        if not self._bases:
            return None
        found = np.full(self._action_width, np.nan)
        for series in self._bases.values():
            if series.newest_ns() is not None:
                places = [self._names.index(name) for name in series.term.names]
                found[places] = series.take(end_ns).values[0]
        return found


def _bases(contract: Contract, disorder_ns: int) -> dict[int, Series]:
    """Return what keeps the positions that deltas are added to, by the term whose messages have them.

    Raises:
        ConfigError: an action is a delta of the state, and no observation has the positions of its joints.
    """
    bases: dict[int, Series] = {}
    for action in contract.actions:
        if action.kind != "delta" or action.delta_from != "state" or action.gripper is not None:
            continue
        for place, term in enumerate(contract.observations):
            if term.type == "sensor_msgs/msg/JointState" and set(action.names) <= set(term.names):
                names = (*(bases[place].term.names if place in bases else ()), *action.names)
                base = Term(input=term.input, topic=term.topic, type=term.type, fields=("position",), names=names)
                bases[place] = series_of(base, disorder_ns)
                break
        else:
            raise ConfigError(
                f"{contract.where}: the delta of {', '.join(action.names)} is added to the state, so that an "
                "observation of sensor_msgs/msg/JointState must name them; add one, or write delta_from: previous"
            )
    return bases


def _joined(parts: list[tuple[Term, Any]]) -> Any:
    """Return one input of its terms: a text, an image, [1, n], or [1, L, n]; None: of an image that is not there."""
    first, values = parts[0]
    if isinstance(values, str):
        return values
    if first.is_image:
        return None if values is None else _images(first, values)
    windows = [term.window for term, _ in parts if term.window is not None and term.window.flatten != "term"]
    if not windows:
        return np.concatenate([values.reshape(-1) for _, values in parts])[None]
    rows = np.concatenate([values for _, values in parts], axis=1)
    return rows.reshape(1, -1) if windows[0].flatten == "time" else rows[None]


def _images(term: Term, images: NDArray[Any]) -> NDArray[Any]:
    """Return [1, ...] of images [L, ...]: with an axis of time, or one after the other along the channels."""
    if term.window is None:
        return images
    if term.window.flatten == "none":
        return images[None]
    axis = 0 if images.shape[1] in (1, 3) else -1
    return np.concatenate(list(images), axis=axis)[None]
