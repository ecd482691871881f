"""The frame ledger: what became of every message that reached a subscription.

    received = processed + replaced + rejected + failed + ignored + waiting + in_work + residual

Every counter is incremented where its event happens; none is derived from the others, so a residual other than
zero is a bug in the accounting and not a rounding.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass

_MOST_PUBLISHERS = 1000  # of a topic that are told apart: each start of one is another


@dataclass(frozen=True)
class Counts:
    """One locked snapshot of a ledger."""

    received: int = 0
    processed: int = 0
    replaced: int = 0  # by a newer message, in the mailbox
    rejected: int = 0  # bad input
    failed: int = 0  # engine
    ignored: int = 0  # not meant for this node
    waiting: int = 0  # in the mailbox
    in_work: int = 0
    published: int = 0
    implausible_stamps: int = 0  # source latency negative or over an hour
    lost_before: int | None = None  # sequence gaps before the callback; None: not known here
    message_lost: int = 0  # the middleware's own events; never added to the gaps

    @property
    def residual(self) -> int:
        done = self.processed + self.replaced + self.rejected + self.failed + self.ignored
        accounted = done + self.waiting + self.in_work
        return self.received - accounted

    def as_dict(self) -> dict[str, int | None]:
        return {**asdict(self), "residual": self.residual}


class Ledger:
    """Thread-safe counters of one subscription; `lock` is shared with its mailbox so that a snapshot is one moment."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._counts: dict[str, int] = {}
        self._waiting: deque[object] | None = None
        self._lost: int | None = None

    def count(self, event: str, by: int = 1) -> None:
        """Add `by` to the counter of that name (a field of `Counts`)."""
        with self.lock:
            self._counts[event] = self._counts.get(event, 0) + by

    def lost(self, messages: int | None) -> None:
        """Add messages that the transport or the reader's queue lost before the callback; None: it cannot be known."""
        with self.lock:
            if messages is not None:
                self._lost = (self._lost or 0) + messages

    def forget_lost(self) -> None:
        """From now on it is not known what was lost."""
        with self.lock:
            self._lost = None

    def snapshot(self) -> Counts:
        """Return all counters as of one moment."""
        with self.lock:
            waiting = len(self._waiting) if self._waiting is not None else 0
            return Counts(**self._counts, waiting=waiting, lost_before=self._lost)

    def watch(self, queue: deque[object]) -> None:
        """Read `waiting` from this queue, which changes only under `lock`."""
        self._waiting = queue


class GapCounter:
    """Messages lost before the callback, from the publication sequence numbers of each publisher."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def lost(self, gid: bytes, sequence: int) -> int | None:
        """Return how many messages of this publisher are missing before this one; None: its first since its start."""
        last = self._last.pop(gid, None)
        self._last[gid] = sequence  # at the end: the first is the one that has been silent for longest
        if len(self._last) > _MOST_PUBLISHERS:
            del self._last[next(iter(self._last))]
        return sequence - last - 1 if last is not None and sequence > last else None
