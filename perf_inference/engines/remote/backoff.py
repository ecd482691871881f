"""When to ask a server again that failed."""

from __future__ import annotations

import time
from collections.abc import Callable

from perf_inference.errors import EngineError


class Backoff:
    """After failures in a row, lets a request through only now and then: a dead host costs a deadline each time."""

    FIRST_NS, LONGEST_NS = 50_000_000, 1_000_000_000

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._failures = self._next_ns = 0
        self._last = ""

    def succeeded(self) -> None:
        self._failures = self._next_ns = 0

    def failed(self, why: str) -> None:
        self._failures += 1
        self._last = why
        if self._failures > 1:  # the first may be the connection's, and another is at hand
            wait_ns = min(self.FIRST_NS << min(self._failures - 2, 16), self.LONGEST_NS)
            self._next_ns = self._clock_ns() + wait_ns

    def check(self, url: str) -> None:
        """Raise EngineError until it is time to try again."""
        left_ns = self._next_ns - self._clock_ns()
        if left_ns > 0:
            raise EngineError(
                f"'{url}' was not asked: it failed {self._failures} times in a row (the last time: {self._last}), "
                f"and is tried again in {left_ns / 1e6:.0f} ms"
            )
