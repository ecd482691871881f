"""Callers of a service who wait for something, as many as there is room for: anybody in the domain may call."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.task import Future

MOST = 16
TOO_MANY = f"{MOST} callers wait already; ask again when they have been answered"


class Waiting:
    """Futures that are all resolved at once; any thread."""

    def __init__(self) -> None:
        self._futures: list[Future] = []
        self._lock = threading.Lock()

    def add(self, executor: Any) -> Future | None:
        """Return what the caller awaits; None: too many wait."""
        future = Future(executor=executor)
        with self._lock:
            if len(self._futures) >= MOST:
                return None
            self._futures.append(future)
        return future

    def take(self) -> Waiting:
        """Return those who wait now; who comes later waits for the next time."""
        taken = Waiting()
        with self._lock:
            taken._futures, self._futures = self._futures, []
        return taken

    def answer(self, result: Any) -> None:
        """Give each who waits the result."""
        for future in self.take()._futures:
            future.set_result(result)
