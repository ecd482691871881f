"""The frame ledger: what became of every message that reached a subscription.

    received = processed + replaced + rejected + failed + ignored + waiting + in_work + residual

Every counter is incremented where its event happens; none is derived from the others, so a residual other than
zero is a bug in the accounting and not a rounding.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
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


class Mailbox(Generic[T]):
    """A keep-last queue between the ROS thread and the worker: the newest wins, and what it replaces is counted."""

    def __init__(self, ledger: Ledger, depth: int = 1, age_ns: Callable[[T], int] = lambda item: 0) -> None:
        """Make an empty box.

        Args:
            age_ns: asked of each item that a newer one pushes out (the putting thread, under the lock).
        """
        self._ledger, self._age_ns = ledger, age_ns
        self._items: deque[object] = deque()
        self._depth = depth
        self._changed = threading.Condition(ledger.lock)
        self._replaced_since_take, self._oldest_ns = 0, 0
        self._closed = False
        ledger.watch(self._items)

    def put(self, item: T) -> None:
        """Add the newest item; the oldest goes when the box is full."""
        with self._changed:
            self._ledger.count("received")
            if len(self._items) >= self._depth:
                age_ns = self._age_ns(self._items.popleft())  # type: ignore[arg-type]
                self._oldest_ns = max(age_ns, self._oldest_ns) if self._replaced_since_take else age_ns
                self._ledger.count("replaced")
                self._replaced_since_take += 1
            self._items.append(item)
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> tuple[T, int, int | None] | None:
        """Return the oldest item, which is in work from now on; None: closed, or out of time.

        With it come the number of items replaced since the last take, and the age of the oldest of them [ns].
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, timeout_s) or self._closed:
                return None
            item: T = self._items.popleft()  # type: ignore[assignment]
            self._ledger.count("in_work")
            replaced, self._replaced_since_take = self._replaced_since_take, 0
            return item, replaced, self._oldest_ns if replaced else None

    def done(self, outcome: str) -> None:
        """Clear `in_work` and count the outcome (`processed`, `rejected` or `failed`) as one step."""
        with self._changed:
            self._ledger.count("in_work", -1)
            self._ledger.count(outcome)

    def close(self) -> None:
        """Wake the taker for the last time; what still waits stays counted as waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


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
