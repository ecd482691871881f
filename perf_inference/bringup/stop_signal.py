"""Ctrl-C and SIGTERM, as an exception while things are being started and as a flag later."""

from __future__ import annotations

import signal


class Stopped(BaseException):
    """Raised where the main thread is when a signal comes during the start."""


class StopFlag:
    """Catches SIGINT and SIGTERM from its making on; `name` tells which one came.

    As long as `at_once` is set, a signal also raises `Stopped`.
    """

    def __init__(self) -> None:
        self.name = ""
        self.at_once = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return bool(self.name)

    def _on_signal(self, number: int, frame: object) -> None:
        first = not self.name
        self.name = signal.Signals(number).name
        if self.at_once and first:
            raise Stopped
