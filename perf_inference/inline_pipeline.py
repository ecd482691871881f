"""A pipeline without a worker: whoever offers a message works it off, unless somebody does that already."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from perf_inference.pipeline import Pipeline


def _nobody_waits() -> None:
    pass


class InlinePipeline(Pipeline):
    """For one source whose messages come on threads that may take their time (`nodes/ros/reader_thread.py`).

    A worker's thread would have to be woken for each message, which is a tenth of the host's share of a frame. And the
    thread that reads the next one begins while the engine runs: before, both would want the interpreter.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        """Wire the stages, as in `Pipeline`."""
        super().__init__(*given, **named)
        self._working = threading.Lock()
        self._may_read: Callable[[], None] = _nobody_waits

    def start(self) -> None:
        """Do nothing: there is no worker."""

    def work(self, may_read: Callable[[], None] = _nobody_waits) -> None:
        """Work off what waits, unless another thread does, which then works off this too (any thread).

        Args:
            may_read: called as soon as only the engine works; another thread may read the next message from then on.
        """
        box = self.lanes[""].mailbox
        # Asked again after the lock was given up: what came just before was left to this thread.
        while len(box) and not box.is_closed and self._working.acquire(blocking=False):
            self._may_read = may_read
            try:
                self.step(0)
            finally:
                self._may_read = _nobody_waits
                self._working.release()
            may_read()  # where nothing came to the engine

    def _prepared(self) -> None:
        self._may_read()

    def close(self, timeout_s: float = 1.0) -> bool:
        """Finish the message in work, and take no other; False if it is still in work after the time."""
        super().close()
        if not self._working.acquire(timeout=timeout_s):
            return False
        self._working.release()
        return True
