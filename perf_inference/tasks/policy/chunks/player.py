"""Plays chunks of actions on a steady grid, while the next one is computed.

A step k is sent at a time; row i of a chunk that was asked for at step o belongs to step o + i. The plan holds what is
to be sent from k to `end`. Nothing here reads a clock or knows what a value means.

    ask     at a tick: what the model is to be asked for now, if anything
    answer  its chunk: where it joins the plan, and how well they fit
    step    the next values to send; `sent` says what really left, and only then k moves on

    k      0   1   2   3   4   5   6   7
    plan   [-------- a --------]                a ends at 6; d^ = 2, margin 1
    ask                o=3                      three steps are left
    answer                     k=5, d=2         b[2:] is step 5 on; it is bent to meet a[5], and the offset fades
    plan   [---- a ----------][-- b --------
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.tasks.policy.chunks.blending import Columns, ensemble_share
from perf_inference.tasks.policy.chunks.delays import Delays
from perf_inference.tasks.policy.chunks.tail import Tail

Floats = NDArray[np.float64]
DROPS = ("epoch", "late", "refused")


@dataclass(frozen=True)
class PlayerSettings:
    """What is fixed for a policy."""

    step_s: float  # of the grid
    columns: tuple[str, ...]  # of each value: linear, angle or none (`blending`)
    rates: tuple[bool, ...]  # of each value: it is a velocity, so that braking is to let it fade to 0
    merge: str = "align"
    fade_s: float = 0.2
    margin: int = 1
    sync: bool = False  # asked for when the plan has ended, and never before
    conditioned: bool = False  # the model takes the prefix that will have been sent, and continues it
    acceleration: tuple[float, ...] = ()  # of the braking tail; empty: it takes `fade_s`


class Ask(NamedTuple):
    """A question to the model."""

    epoch: int
    origin: int  # step of the observation
    prefix: Floats  # [n, A]: the steps from `origin` on that will have been sent when the answer comes
    delay_steps: int  # estimated
    at_ns: int


class Seam(NamedTuple):
    """What became of an answer."""

    dropped: str  # one of DROPS; empty: it is played
    delay_steps: int  # steps sent meanwhile
    frozen_steps: int  # of the plan before, that go on being played
    jump: float  # largest difference of values where the plans meet, before it is bent
    jump_rate: float  # the same of the velocity, per second
    left: int  # steps of the plan from now on


class Step(NamedTuple):
    """What is to be sent now."""

    values: Floats  # [A]
    rates: Floats  # [A] per second: how fast they change at this step
    cause: str  # empty: of the plan; "starved": the braking tail, for want of a newer chunk


@dataclass
class Counts:
    """What has happened so far."""

    asked: int = 0
    played: int = 0
    epoch: int = 0
    late: int = 0
    refused: int = 0
    starved: int = 0
    sent: int = 0


class Player:
    """The plan, and what has been sent of it; one thread at a time."""

    def __init__(self, settings: PlayerSettings, delays: Delays) -> None:
        """Begin with no plan."""
        self.settings, self.delays, self.counts = settings, delays, Counts()
        self._columns = Columns(settings.columns)
        self._width = len(settings.columns)
        self._tail = Tail(
            settings.rates, self._columns.aligned, settings.acceleration, settings.fade_s, settings.step_s
        )
        self._epoch = self._k = 0
        self._asked: Ask | None = None
        self._clear(None)

    def _clear(self, at: Floats | None) -> None:
        self._plan = np.zeros((0, self._width))  # from step k on
        self._ages = np.zeros(0, np.int64)  # chunks that each step is the mean of, but one
        self._last, self._before = at, at  # sent
        self._braking: list[Floats] | None = None

    # what others look at ---------------------------------------------------------------------------------------------

    @property
    def k(self) -> int:
        """Steps sent so far."""
        return self._k

    @property
    def epoch(self) -> int:
        """Grows with each `reset`."""
        return self._epoch

    @property
    def left(self) -> int:
        """Steps that the plan still has."""
        return len(self._plan)

    @property
    def last(self) -> Floats | None:
        """What was sent last [A]; None: nothing in this epoch."""
        return self._last

    @property
    def in_flight(self) -> bool:
        """Whether an answer is waited for."""
        return self._asked is not None

    def ahead(self, count: int) -> Floats:
        """Return the next steps of the plan, `count` at most [n, A]."""
        return np.array(self._plan[:count])

    # the verbs -------------------------------------------------------------------------------------------------------

    def reset(self, at: Floats | None = None) -> None:
        """Begin anew (disabled, reset, another task or model, safe action): what is in flight will be dropped.

        Args:
            at: where the values are now [A], from which the next plan is to begin; None: it is not known.
        """
        self._epoch += 1
        self._asked = None
        self._clear(None if at is None else np.array(at, np.float64))

    def ask(self, now_ns: int) -> Ask | None:
        """Return what to ask the model for at this tick; None: nothing is due, or an answer is waited for."""
        delay = self.delays.steps
        due = not self.left if self.settings.sync else self.left <= delay + self.settings.margin
        if self._asked is not None or not due:
            return None
        self._asked = Ask(self._epoch, self._k, self.ahead(delay), delay, now_ns)
        self.counts.asked += 1
        return self._asked

    def forget(self) -> None:
        """Forget a question that could not be put, for want of an observation: another one may be asked."""
        self._asked = None

    def answer(self, ask: Ask, chunk: Floats | None, now_ns: int) -> Seam:
        """Take the model's answer.

        Args:
            chunk: [H, A]; None: it was refused at admission, or the model failed.
        """
        if ask.epoch != self._epoch:
            self.counts.epoch += 1
            return self._dropped("epoch", 0)
        self._asked = None
        delay = self._k - ask.origin
        self.delays.add((now_ns - ask.at_ns) / 1e9)
        if chunk is None:
            self.counts.refused += 1
            return self._dropped("refused", delay)
        start = delay  # row of the chunk that is played first
        if self.settings.conditioned:
            start = max(delay, min(ask.delay_steps, len(ask.prefix)))
        if start >= len(chunk):
            self.counts.late += 1
            return self._dropped("late", delay)
        self.counts.played += 1
        return self._join(chunk, start, delay)

    def step(self) -> Step | None:
        """Return what is to be sent at this step; None: there is no plan, and all has come to rest."""
        if self.left:
            values = self._plan[0]
            return Step(values.copy(), self._rate(values), "")
        if self._last is None:
            return None
        if self._braking is None:
            assert self._before is not None
            speed = self._columns.difference(self._last, self._before) / self.settings.step_s
            self._braking = self._tail.steps(self._last, speed)
            self.counts.starved += bool(self._braking) and not self.settings.sync
        if not self._braking:
            return None
        return Step(self._braking[0].copy(), self._rate(self._braking[0]), "starved")

    def sent(self, values: Floats) -> None:
        """Note what really left of the last `step`: the grid moves on."""
        self._before, self._last = (values if self._last is None else self._last), np.array(values, np.float64)
        if self.left:
            self._plan, self._ages = self._plan[1:], self._ages[1:]
            self._braking = None
            self._k += 1
            self.counts.sent += 1
        elif self._braking:
            self._braking.pop(0)

    # joining ---------------------------------------------------------------------------------------------------------

    def _join(self, chunk: Floats, start: int, delay: int) -> Seam:
        kept = min(start - delay, self.left)  # steps of the plan that stay
        start = delay + kept
        new, old = chunk[start:], self._plan[kept:]
        offset, drift = self._seam(new, kept)
        both = min(len(old), len(new))
        ages = np.zeros(len(new), np.int64)
        merge = self.settings.merge
        if merge == "align":
            new = self._columns.align(new, offset, drift, self.settings.step_s, self.settings.fade_s)
        elif merge == "average":
            new = np.concatenate([self._columns.mixed(old[:both], new[:both], 0.5), new[both:]])
        elif merge == "ensemble" and both:
            ages[:both] = self._ages[kept : kept + both] + 1
            share = ensemble_share(ages[:both])[:, None]
            new = np.concatenate([self._columns.mixed(old[:both], new[:both], share), new[both:]])
        self._plan = np.concatenate([self._plan[:kept], new])
        self._ages = np.concatenate([self._ages[:kept], ages])
        self._braking = None
        jump, jump_rate = (float(np.max(np.abs(v), initial=0.0)) for v in (offset, drift))
        return Seam("", delay, kept, jump, jump_rate, self.left)

    def _seam(self, new: Floats, kept: int) -> tuple[Floats, Floats]:
        """Return old - new of the values and of their velocity where the new steps begin [A]."""
        step_s, aligned = self.settings.step_s, self._columns.aligned
        before = self._plan[kept - 1] if kept else self._last
        if before is None:  # nothing has been sent: there is nothing to meet
            return np.zeros(self._width), np.zeros(self._width)
        new_rate = self._columns.difference(new[1], new[0]) / step_s if len(new) > 1 else np.zeros(self._width)
        rest = self._plan[kept:]
        if len(rest) > 1:
            old, rate = rest[0], self._columns.difference(rest[1], rest[0]) / step_s
        elif len(rest):
            old, rate = rest[0], self._columns.difference(rest[0], before) / step_s
        elif kept:
            earlier = self._plan[kept - 2] if kept > 1 else self._last
            rate = np.zeros(self._width) if earlier is None else self._columns.difference(before, earlier) / step_s
            old = before + rate * step_s
        else:
            old, rate = before, self._sent_rate()
            old = old + rate * step_s
        offset = self._columns.difference(old, new[0])
        return np.where(aligned, offset, 0.0), np.where(aligned, rate - new_rate, 0.0)

    def _sent_rate(self) -> Floats:
        """Return how fast the values changed when they were sent last; 0 once they have come to rest [A]."""
        if self._last is None or self._before is None or self._braking == []:
            return np.zeros(self._width)
        return self._columns.difference(self._last, self._before) / self.settings.step_s

    def _rate(self, values: Floats) -> Floats:
        following = self._plan[1] if self.left > 1 else None
        if following is not None:
            return self._columns.difference(following, values) / self.settings.step_s
        if self._last is None:
            return np.zeros(self._width)
        return self._columns.difference(values, self._last) / self.settings.step_s

    def _dropped(self, why: str, delay: int) -> Seam:
        return Seam(why, delay, 0, 0.0, 0.0, self.left)
