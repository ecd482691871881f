"""What waits for a worker: the newest message, or the newest few."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from perf_inference.measure.ledger import Ledger

T = TypeVar("T")


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

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

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
