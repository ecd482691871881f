"""The clock of a plan's steps: a thread of its own on a steady grid, so that inference delays no command."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SPIN_NS = 200_000  # at the end of a wait, a sleep may overshoot by as much


class Stepper:
    """Calls `step` on a grid that no lateness shifts; a step that is missed is not made up for."""

    def __init__(self, period_s: float, step: Callable[[int], None], failed: Callable[[Exception], None]) -> None:
        """Begin.

        Args:
            step: called with the time at which it was due [ns, steady] (own thread).
            failed: called with what it raises; the grid goes on.
        """
        self._period_ns, self._step, self._failed = round(period_s * 1e9), step, failed
        self._ended = threading.Event()
        self.late_ns = 0  # the latest of all steps
        self._thread = threading.Thread(target=self._run, name="policy steps", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Step no more."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _run(self) -> None:
        due_ns = time.monotonic_ns() + self._period_ns
        while not self._ended.is_set():
            left_ns = due_ns - time.monotonic_ns()
            if left_ns > 0:
                time.sleep(max(left_ns - _SPIN_NS, 0) / 1e9 if left_ns > _SPIN_NS else 0)
                continue
            self.late_ns = max(self.late_ns, -left_ns)
            try:
                self._step(due_ns)
            except Exception as error:  # of whatever is called: the grid must not end in silence
                self._failed(error)
            behind = (time.monotonic_ns() - due_ns) // self._period_ns
            due_ns += self._period_ns * max(1, behind)
