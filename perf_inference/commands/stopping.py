"""A flag that Ctrl-C and SIGTERM set."""

from __future__ import annotations

import signal


class StopFlag:
    """Catches SIGINT and SIGTERM from its making on; `name` tells which one came."""

    def __init__(self) -> None:
        self.name = ""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return bool(self.name)

    def _on_signal(self, number: int, frame: object) -> None:
        self.name = signal.Signals(number).name
