"""What was sent to a joint, and how far it can have moved the joint in one direction.

A command that was sent at t is in force at some time from t to t + latency, and until the next one is. So the fastest
that may be in force at a time x is the largest of those sent within [x - latency, x]:

    sent      2 ------+ 0 ---------------
    fastest   2 ------------+ 0 ---------      the 2 may last for one latency more
                      |<--->| latency

Everything here is of one direction; for the other one the velocities are given with their sign turned.
"""

from __future__ import annotations

from bisect import bisect_right

_MANY = 4096  # pieces too old to be asked for, before they are forgotten: all at once, for moving a list up costs time


class SentVelocities:
    """The velocities sent to one joint [rad/s], and the fastest that may be in force at each time."""

    def __init__(self, latency_ns: int, keep_ns: int) -> None:
        """Begin at rest; nothing is asked of what is longer past than `keep_ns`."""
        self.newest = 0.0
        self._latency_ns = latency_ns
        self._keep_ns = keep_ns
        self._earlier: list[tuple[int, float]] = []  # (until when it may be in force, velocity), in this order
        # Pieces of constant velocity: start [ns], fastest [rad/s], the way up to the start [rad].
        self._starts, self._fastest, self._way = [0], [0.0], [0.0]

    def add(self, now_ns: int, velocity: float) -> None:
        """Note that this velocity was sent."""
        if velocity == self.newest:
            return
        tail = self._tail(now_ns)
        self._earlier = [*(e for e in self._earlier if e[0] > now_ns), (now_ns + self._latency_ns, self.newest)]
        self.newest = velocity
        self._cut(now_ns)
        start_ns = now_ns
        for until_ns, fastest in tail:
            if fastest <= velocity:
                break
            self._append(start_ns, fastest)
            start_ns = until_ns
        self._append(start_ns, velocity)

    def fastest(self, at_ns: int) -> float:
        """Return the fastest that may be in force at this time [rad/s]."""
        return self._fastest[self._piece(at_ns)]

    def pieces(self, from_ns: int, to_ns: int) -> list[tuple[float, float]]:
        """Return (duration [s], fastest [rad/s]) of each piece between two times."""
        if to_ns <= from_ns:
            return []
        first, last = self._piece(from_ns), self._piece(to_ns)
        times_ns = [from_ns, *self._starts[first + 1 : last + 1], to_ns]
        return [
            ((end_ns - start_ns) / 1e9, fastest)
            for start_ns, end_ns, fastest in zip(
                times_ns[:-1], times_ns[1:], self._fastest[first : last + 1], strict=True
            )
        ]

    def moved(self, from_ns: int, to_ns: int) -> float:
        """Return how far the joint can have moved between two times [rad]; below zero: it has moved back."""
        return self._way_until(to_ns) - self._way_until(from_ns)

    def ahead(self, now_ns: int) -> list[tuple[float, float]]:
        """Return (duration [s], fastest [rad/s]) of what was sent so far, from now until none of it is in force."""
        pieces, start_ns = [], now_ns
        for end_ns, fastest in self._tail(now_ns):
            pieces.append(((end_ns - start_ns) / 1e9, fastest))
            start_ns = end_ns
        return pieces

    def _tail(self, now_ns: int) -> list[tuple[int, float]]:
        """Return (end [ns], fastest) of what was sent so far, from now until the last of it is out of force."""
        pieces: list[tuple[int, float]] = [(now_ns + self._latency_ns, self.newest)]
        for until_ns, velocity in reversed(self._earlier):
            if until_ns <= now_ns:
                break
            if velocity > pieces[-1][1]:
                pieces.append((until_ns, velocity))
        return pieces[::-1]

    def _piece(self, at_ns: int) -> int:
        return max(bisect_right(self._starts, at_ns) - 1, 0)

    def _way_until(self, at_ns: int) -> float:
        piece = self._piece(at_ns)
        return self._way[piece] + self._fastest[piece] * (at_ns - self._starts[piece]) / 1e9

    def _cut(self, now_ns: int) -> None:
        """Forget what was foreseen from now on, and what is long past."""
        first = bisect_right(self._starts, now_ns - 1)
        for pieces in (self._starts, self._fastest, self._way):
            del pieces[max(first, 1) :]
        if len(self._starts) > _MANY and self._starts[_MANY] <= now_ns - self._keep_ns:
            for pieces in (self._starts, self._fastest, self._way):
                del pieces[:_MANY]

    def _append(self, start_ns: int, fastest: float) -> None:
        way = self._way_until(start_ns)
        self._starts.append(start_ns)
        self._fastest.append(fastest)
        self._way.append(way)


class SentPositions:
    """The positions sent to one joint [rad]."""

    def __init__(self, latency_ns: int) -> None:
        self._latency_ns = latency_ns
        self._sent: list[tuple[int, float]] = []  # (when, position)

    @property
    def newest(self) -> float | None:
        """What was sent last [rad]; None: nothing yet."""
        return self._sent[-1][1] if self._sent else None

    def add(self, now_ns: int, position: float) -> None:
        """Note that this position was sent."""
        if position != self.newest:
            self._sent.append((now_ns, position))
        if len(self._sent) > _MANY:
            del self._sent[: -_MANY // 2]

    def clear(self) -> None:
        """Forget them all: a joint that was led or moved elsewhere since is not where they say."""
        self._sent.clear()

    def since(self, from_ns: int) -> list[float]:
        """Return the positions that may have been in force since this time [rad]."""
        first = bisect_right(self._sent, (from_ns - self._latency_ns, float("inf"))) - 1
        return [position for _, position in self._sent[max(first, 0) :]]
