"""What TensorRT says of its errors: its functions return only that they failed.

TensorRT keeps one pointer to a logger for all of the process (NVIDIA/TensorRT#4134): the first that it is given, which
every later engine uses. So there is one here for each of its libraries, and it is never freed.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

_KEPT = 100  # errors that nobody has asked for yet
_TOLD = 2  # of one failure: the first says why
_loggers: dict[str, Any] = {}
_lock = threading.Lock()


class Errors:
    """The errors of all engines of a process; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[int, int, str]] = deque(maxlen=_KEPT)
        self._count = 0

    def add(self, message: str) -> None:
        """Keep an error that is said on this thread."""
        with self._lock:
            self._count += 1
            self._kept.append((self._count, threading.get_ident(), message))

    def mark(self) -> int:
        """Return the place before a call, for `take`."""
        return self._count

    def take(self, since: int) -> str:
        """Return what was said since then, and forget it: on this thread, or on others where nothing was on it."""
        with self._lock:
            new = [entry for entry in self._kept if entry[0] > since]
            told = [entry for entry in new if entry[1] == threading.get_ident()] or new
            self._kept = deque((entry for entry in self._kept if entry not in told), maxlen=_KEPT)
        return "; ".join(entry[2] for entry in told[:_TOLD]) or "TensorRT does not say why"


def logger(trt: Any) -> Any:
    """Return the logger of these bindings, always the same; its `errors` are what it was told."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors = Errors()

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.add(message)

    with _lock:
        if trt.__name__ not in _loggers:
            _loggers[trt.__name__] = Log()
        return _loggers[trt.__name__]
