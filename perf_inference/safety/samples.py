"""The newest accepted sample of each input, and how old it is.

An input is as fresh as its newest *accepted* sample: messages that keep coming but cannot be used do not count. The
age is the larger of the steady time since the sample was taken and what its stamp says, so that neither a ROS clock
that stands still nor a sample that came late makes it look younger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from perf_inference.errors import InputError
from perf_inference.safety.ros_clock import Instant, RosClock, StampError

_SAME = "{} must have a new stamp in each message, got the one before again: is it frozen?"


class Taken(NamedTuple):
    """When a sample was taken."""

    measured_ns: int  # steady, as its stamp says
    accepted_ns: int  # steady
    stamp_ns: int | None  # the header's


class Samples:
    """Judges the samples of some inputs by their time."""

    def __init__(self, topics: Mapping[str, str], max_age_s: float) -> None:
        """Begin with none; `topics` are by the input's name."""
        self._topics, self._max_age_ns = dict(topics), round(max_age_s * 1e9)
        self._clock = RosClock(self._max_age_ns)
        self._newest: dict[str, Taken] = {}
        self._stamps: dict[str, int] = {}  # the newest of an input, accepted or not
        self._refusals: dict[str, str] = {}  # why the newest message of an input was not accepted

    def __getitem__(self, name: str) -> Taken | None:
        """The newest accepted sample of an input; None: none."""
        return self._newest.get(name)

    def accept(self, name: str, newest: Taken) -> None:
        """Take a sample that was found good."""
        self._newest[name] = newest
        self._refusals.pop(name, None)

    def refuse(self, name: str, why: str, forget: bool = False) -> None:
        """Note why a message was not accepted; `forget`: the sample that was accepted is none either."""
        self._refusals[name] = why
        if forget:
            self._newest.pop(name, None)

    def look(self, now: Instant) -> bool:
        """Watch the ROS clock; return whether it has stepped back, after which no sample is left."""
        stepped_back = self._clock.look(now)
        if stepped_back:
            self._newest.clear()
        return stepped_back

    def taken(self, name: str, now: Instant, stamp_ns: int | None) -> Taken:
        """Return when a sample was taken; one without a stamp counts from now.

        Raises:
            InputError: a stamp that is too old or lies ahead, or a ROS clock that cannot tell.
        """
        before = self._stamps.get(name)
        if stamp_ns is not None:
            self._stamps[name] = stamp_ns
        try:
            age_ns = self._clock.age_ns(name, now, stamp_ns)
        except StampError as error:
            if stamp_ns is not None and stamp_ns == before:  # it is old by now, and that is not why
                raise InputError(_SAME.format(name)) from error
            raise
        return Taken(now.steady_ns - age_ns, now.steady_ns, stamp_ns)

    def stale(self, now: Instant, but: Iterable[str] = ()) -> str:
        """Return which input, but those named, has nothing fresh to offer; or nothing."""
        for name, topic in self._topics.items():
            if name in but:
                continue
            newest, refusal = self._newest.get(name), self._refusals.get(name)
            if newest is None:
                return (
                    f"no accepted sample on {topic} yet: {refusal}" if refusal else f"nothing has come on {topic} yet"
                )
            why = f" that can be used: {refusal}" if refusal else ""
            age_ns = self.age_ns(newest, now)
            if age_ns > self._max_age_ns:
                return f"nothing on {topic} for {age_ns / 1e9:.1f} s{why}"
        return ""

    def age_ns(self, newest: Taken, now: Instant) -> int:
        """Return how old a sample is by now [ns]."""
        steady_ns = now.steady_ns - newest.measured_ns
        return steady_ns if newest.stamp_ns is None else max(steady_ns, now.ros_ns - newest.stamp_ns)

    def oldest_ns(self) -> int:
        """Return when the oldest of the newest samples was taken [ns, steady].

        Raises:
            InputError: nothing has been accepted on an input.
        """
        for name in self._topics:
            if name not in self._newest:
                raise InputError(f"nothing has been accepted on {name}")
        return min(newest.measured_ns for newest in self._newest.values())


def check_newer(name: str, before: Taken, sample: Taken) -> None:
    """Check that a sample was taken after the one before it.

    Raises:
        InputError: the same stamp again, or an older one.
    """
    if sample.stamp_ns is not None and sample.stamp_ns == before.stamp_ns:
        raise InputError(_SAME.format(name))
    if sample.measured_ns <= before.measured_ns:
        late_s = (before.measured_ns - sample.measured_ns) / 1e9
        raise InputError(f"a sample of {name} came that is {late_s:.3f} s older than the one before it")
