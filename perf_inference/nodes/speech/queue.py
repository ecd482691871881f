"""What waits to be spoken: the newest captions, and before them what is to be said at once."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from perf_inference.measure.ledger import Ledger
from perf_inference.measure.mailbox import Mailbox
from perf_inference.measure.stamps import Arrival

CAPTION, SAY = "caption", "say"


@dataclass(frozen=True, eq=False)
class Wish:
    """A text that somebody wants to be spoken."""

    text: str
    kind: str  # caption | say
    arrival: Arrival


class Queue:
    """A mailbox for each kind, with its ledger; `say` goes first."""

    def __init__(self, captions: int) -> None:
        """Start empty.

        Args:
            captions: that may wait.
        """
        self.ledgers = {CAPTION: Ledger(), SAY: Ledger()}
        self._boxes: dict[str, Mailbox[Wish]] = {
            SAY: Mailbox(self.ledgers[SAY], 1),
            CAPTION: Mailbox(self.ledgers[CAPTION], captions),
        }
        self._again: deque[Wish] = deque(maxlen=1)  # what no message has brought: no ledger has it
        self._there = threading.Event()
        self._closed = False

    def put(self, wish: Wish) -> None:
        """Add a wish (ROS thread)."""
        self._boxes[wish.kind].put(wish)
        self._there.set()

    def again(self, wish: Wish) -> None:
        """Add what was said before, and is to be said once more."""
        self._again.append(wish)
        self._there.set()

    def take(self) -> tuple[Wish, int] | None:
        """Return the next one, and how many newer ones have replaced; None: closed. Waits (the worker's thread)."""
        while True:
            self._there.wait()
            self._there.clear()
            if self._closed:
                return None
            taken = self._next()
            if taken is not None:
                self._there.set()  # there may be more
                return taken

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def is_urgent(self) -> bool:
        """Whether something waits that is to be said at once."""
        return bool(self._again) or self.ledgers[SAY].snapshot().waiting > 0

    def done(self, wish: Wish, outcome: str) -> None:
        """Count what became of it in its ledger."""
        if wish.arrival.message is not None:
            self._boxes[wish.kind].done(outcome)

    def close(self) -> None:
        """Wake the worker for the last time."""
        self._closed = True
        self._there.set()

    def _next(self) -> tuple[Wish, int] | None:
        if self._again:
            return self._again.popleft(), 0
        for box in self._boxes.values():
            taken = box.take(timeout_s=0)
            if taken is not None:
                return taken[0], taken[1]
        return None
