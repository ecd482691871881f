"""When a live message should have come: the grid of its promised rate."""

from __future__ import annotations

from collections import deque

_WINDOW_NS = 10_000_000_000
_NO_BACKLOG = 10  # messages in a row that do not catch up


class DueGrid:
    """A grid of the expected period, held against the earliest arrivals of the last 10 s.

    The k-th message is due at the grid's k-th point, so that one which comes late is late by what it was held up,
    whatever came before it. A source whose clock is a little off the promised rate does not drift away from the grid:
    the earliest arrivals of the window fix it; one that is 0.1 % slow looks late by 10 ms at most, one that is fast by
    nothing. A source that was silent and does not catch up has skipped those periods: after ten messages they count no
    longer.
    """

    def __init__(self, rate_hz: float) -> None:
        self.period_ns = round(1e9 / rate_hz)
        self._index = -1
        self._last_ns = 0
        self._late, self._least_ns = 0, 0  # messages in a row that are over a period late, and by how much
        self._earliest: deque[tuple[int, int]] = deque()  # (received, received - index * period), offsets rising

    def due(self, received_ns: int, lost: int | None = 0) -> int:
        """Return when this message was due [ns], in the clock of `received_ns`.

        Args:
            lost: messages that the publisher sent before this one and that did not arrive; None: not known, then every
                whole period without a message counts as one.
        """
        if lost is None:
            lost = max(0, round((received_ns - self._last_ns) / self.period_ns) - 1) if self._index >= 0 else 0
        if self._index >= 0 and received_ns - self._last_ns > _WINDOW_NS:
            self._earliest.clear()
        self._last_ns = received_ns
        self._index += 1 + lost
        offset = received_ns - self._index * self.period_ns
        while self._earliest and self._earliest[-1][1] >= offset:
            self._earliest.pop()
        self._earliest.append((received_ns, offset))
        while self._earliest[0][0] < received_ns - _WINDOW_NS:
            self._earliest.popleft()
        due_ns = self._index * self.period_ns + self._earliest[0][1]
        self._skip_what_never_comes(received_ns - due_ns)
        return due_ns

    def restart(self) -> None:
        """Begin a new grid with the next message: another publisher, with another phase."""
        self._index, self._late = -1, 0
        self._earliest.clear()

    def _skip_what_never_comes(self, late_ns: int) -> None:
        if late_ns < self.period_ns:
            self._late = 0
        elif not self._late or late_ns < self._least_ns - self.period_ns // 2:  # a backlog catches up
            self._late, self._least_ns = 1, late_ns
        else:
            self._late += 1
        if self._late > _NO_BACKLOG:
            self._index += late_ns // self.period_ns
            self._late = 0
