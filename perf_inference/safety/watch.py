"""The thread in which the gate looks: nothing that the node is busy with may hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Watch:
    """Calls `look` again and again in a thread of its own until it is closed."""

    def __init__(self, look: Callable[[], None], period_s: float, failed: Callable[[Exception], None]) -> None:
        """Start at once; `failed` hears of an exception of `look`, after which it goes on."""
        self._look, self._period_s, self._failed = look, period_s, failed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gate watch", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 0.2) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._ended.wait(self._period_s):
            self._once()

    def _once(self) -> None:
        try:
            self._look()
        except Exception as error:  # whatever it is: a gate that no longer looks is worse
            self._failed(error)
