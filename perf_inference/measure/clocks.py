"""The two clocks: monotonic for durations, system for stamps. Both are arguments, so that a test can hold them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clocks:
    """Readings in integer nanoseconds."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    system_ns: Callable[[], int] = time.time_ns

    def pair(self) -> tuple[int, int]:
        """Return (monotonic, system) [ns] read together, to map a stamp of one clock to the other."""
        return self.monotonic_ns(), self.system_ns()


CLOCKS = Clocks()
