"""Bounds on what is asked of a node: anybody in the domain may ask, and as often as he likes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from rclpy.task import Future

from perf_inference.errors import ConfigError
from perf_inference.measure.clocks import CLOCKS

MOST = 16
TOO_MANY = f"{MOST} callers wait already; ask again when they have been answered"


class Allowance:
    """So many wishes a second: each is looked at in the ROS thread, where what a node is for waits meanwhile."""

    def __init__(self, most: int = 50) -> None:
        self._times_ns: deque[int] = deque(maxlen=most)  # monotonic, of the newest ones

    def check(self) -> None:
        """Take a wish; raise ConfigError where it is one too many."""
        now_ns, most = CLOCKS.monotonic_ns(), self._times_ns.maxlen
        if len(self._times_ns) == most and now_ns - self._times_ns[0] < 1_000_000_000:
            raise ConfigError(f"{most} times within a second is too often; set it again later")
        self._times_ns.append(now_ns)


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
