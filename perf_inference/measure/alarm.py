"""Thresholds that do not flicker, and what counters grew by in the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

OK, WARN, ERROR = range(3)


@dataclass(frozen=True)
class Limits:
    """From where a value is a warning and an error; on which side of `best` they lie says which way is worse."""

    warn: float
    error: float | None = None  # None: it is never an error
    margin: float = 0.0  # how far back behind a limit the value must come before the level is lowered
    best: float = 0.0  # the margin never asks for more than this


class Alarm:
    """The level of one value, with hysteresis.

    It is raised as soon as the value reaches a limit, and lowered when the value has come back behind that limit by
    the margin. An unknown value is no alarm.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sign = 1 if limits.warn >= limits.best else -1  # times a value: more is worse
        self.level = OK

    def update(self, value: float | None) -> int:
        """Take the newest value and return the level: OK, WARN or ERROR."""
        if value is None:
            self.level = OK
        else:
            over = [level for level, limit in self._by_level() if self._is_over(value, limit, level <= self.level)]
            self.level = max(over, default=OK)
        return self.level

    def ends(self, value: float | None) -> float | None:
        """Return what the value has to come behind until the level is lowered, where only the margin keeps it up."""
        reached = [limit for level, limit in self._by_level() if level <= self.level]
        if value is None or not reached or self._is_over(value, reached[-1], was_over=False):
            return None
        limit, best, margin = self._sign * reached[-1], self._sign * self._limits.best, self._limits.margin
        return self._sign * max(limit - margin, best)

    @property
    def more_is_worse(self) -> bool:
        """Whether a larger value is the worse one."""
        return self._sign > 0

    def _by_level(self) -> list[tuple[int, float]]:
        limits = [(WARN, self._limits.warn)]
        return limits if self._limits.error is None else [*limits, (ERROR, self._limits.error)]

    def _is_over(self, value: float, limit: float, was_over: bool) -> bool:
        worse, from_here, best = (self._sign * x for x in (value, limit, self._limits.best))
        if worse >= from_here:
            return True
        return was_over and worse > max(from_here - self._limits.margin, best)


class Growth:
    """What counters grew by in the last `window_s` [s]."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, tuple[int, ...]]] = deque()

    def add(self, now_s: float, counters: Sequence[int]) -> tuple[int, ...] | None:
        """Take a reading and return the growth since the newest one that is a window old, or else the oldest.

        None: there is no earlier reading. Counters that fell are another process's, and begin again.
        """
        newest = tuple(counters)
        if self._readings and any(a < b for a, b in zip(newest, self._readings[-1][1], strict=True)):
            self._readings.clear()
        self._readings.append((now_s, newest))
        while len(self._readings) > 1 and self._readings[1][0] <= now_s - self._window_s:
            self._readings.popleft()
        if len(self._readings) == 1:
            return None
        return tuple(a - b for a, b in zip(newest, self._readings[0][1], strict=True))


def share_pct(part: int, whole: int) -> float | None:
    """Return 100 * part / whole [%]; None: of nothing."""
    return 100 * part / whole if whole > 0 else None
