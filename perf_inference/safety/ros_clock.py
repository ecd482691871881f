"""How far the ROS clock can be trusted to tell the age of a sample.

It is the system's clock, which may be set, or with `use_sim_time` what comes on /clock, which may stand still, jump or
come in coarse steps. A clock that stands still makes what arrives late look young; so the age counts from the most that
the clock was ahead of the steady one a moment ago, and not at all when it has stood still for longer.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from perf_inference.errors import InputError

_AHEAD_NS = 100_000_000  # a stamp may lie so far in the future: clocks that differ a little, a coarse /clock
_STILL_NS = 250_000_000  # a clock that has not moved for so long stands still
_LONGEST_STEP_NS = 2_000_000_000  # of a clock back; nothing is on its way for longer than that and may be
_LEAD_NS = 1_000_000_000  # so far ahead is a wrong stamp and no other clock
_ANOTHER_CLOCK_NS = 3_600_000_000_000  # older by so much is a stamp of another clock, or none
_WRONG_NS, _LED_NS = 1_000_000_000, 60_000_000_000  # so long a lead is remembered: of refused stamps, of accepted ones


class StampError(InputError):
    """A stamp that is too old or lies ahead."""


class Instant(NamedTuple):
    """One moment on two clocks."""

    steady_ns: int
    ros_ns: int  # the clock of the header stamps


class RosClock:
    """Watches the ROS clock beside the steady one."""

    def __init__(self, max_age_ns: int) -> None:
        self._max_age_ns = max_age_ns
        self._before: Instant | None = None
        self._moved_ns = 0  # steady: when it was seen to move last
        self._ahead: deque[tuple[int, int]] = deque()  # (steady, ROS clock - steady), largest first
        self._distrust_until_ns = 0
        self._leads: dict[str, tuple[int, int]] = {}  # input: (steady, how far a stamp lay ahead)

    def look(self, now: Instant) -> bool:
        """Watch; return whether the clock has stepped back: what was stamped before means nothing then.

        Called in one thread, often: a step is seen at the next look.
        """
        before, self._before = self._before, now
        if before is None or now.ros_ns != before.ros_ns:
            self._moved_ns = now.steady_ns
        stepped_back = before is not None and now.ros_ns < before.ros_ns
        if stepped_back:
            # What was stamped before the step looks younger by the step for as long as it may still be on its way.
            step_ns = before.ros_ns - before.steady_ns - (now.ros_ns - now.steady_ns) if before is not None else 0
            self._ahead.clear()
            self._distrust_until_ns = now.steady_ns + self._max_age_ns + min(step_ns, _LONGEST_STEP_NS)
        ahead_ns = now.ros_ns - now.steady_ns
        while self._ahead and self._ahead[-1][1] <= ahead_ns:
            self._ahead.pop()
        self._ahead.append((now.steady_ns, ahead_ns))
        while self._ahead[0][0] < now.steady_ns - _STILL_NS:
            self._ahead.popleft()
        return stepped_back

    def age_ns(self, name: str, now: Instant, stamp_ns: int | None) -> int:
        """Return how old a sample is by now [ns]; one without a stamp is new.

        Raises:
            StampError: it is too old, or its stamp lies ahead.
            InputError: the clock cannot tell.
        """
        if now.steady_ns < self._distrust_until_ns:
            left_s = (self._distrust_until_ns - now.steady_ns) / 1e9
            raise InputError(f"the ROS clock has stepped back: no sample of {name} is used for another {left_s:.1f} s")
        if stamp_ns is None:
            return 0
        if now.ros_ns == 0:
            raise InputError(f"{name} cannot be judged: /clock has not come (use_sim_time is true)")
        if (
            self._before is not None
            and now.ros_ns == self._before.ros_ns
            and (now.steady_ns - self._moved_ns > _STILL_NS)
        ):
            raise InputError(f"{name} cannot be judged: the ROS clock stands still")
        behind_ns = now.ros_ns - stamp_ns
        most_ahead_ns = max(self._ahead[0][1] if self._ahead else 0, now.ros_ns - now.steady_ns)
        age_ns = max(now.steady_ns + most_ahead_ns - stamp_ns + self._lead_ns(name, now, -behind_ns), -behind_ns)
        if age_ns > self._max_age_ns or -behind_ns > _AHEAD_NS:
            raise StampError(f"{name} must be at most {self._max_age_ns / 1e9:g} s old, {_said(age_ns, behind_ns)}")
        return age_ns

    def _lead_ns(self, name: str, now: Instant, ahead_ns: int) -> int:
        """Return how far the clock that stamps this input is ahead of this one [ns], as far as it can be seen.

        A stamp that lies ahead shows that the clocks differ by so much at least: what comes late is older by that.
        """
        seen_ns, lead_ns = self._leads.get(name, (0, 0))
        kept_ns = _LED_NS if lead_ns <= _AHEAD_NS else _WRONG_NS
        if now.steady_ns - seen_ns > kept_ns or lead_ns <= ahead_ns <= _LEAD_NS:
            lead_ns = max(ahead_ns, 0) if ahead_ns <= _LEAD_NS else 0
            self._leads[name] = (now.steady_ns, lead_ns)
        return lead_ns


def _said(age_ns: int, behind_ns: int) -> str:
    """Return what is wrong with a stamp, and what may be the cause."""
    if behind_ns > _ANOTHER_CLOCK_NS:
        return "its stamp is zero, or of another clock: who publishes it must stamp it with this ROS time"
    if behind_ns < 0:
        return f"its stamp is {-behind_ns / 1e9:.3f} s ahead; are the clocks of both hosts synchronised?"
    return (
        f"its stamp is {age_ns / 1e9:.3f} s old: it came late, this machine is too busy, or the clocks of two hosts "
        "are not synchronised"
    )
