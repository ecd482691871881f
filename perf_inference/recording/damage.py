"""What was found to be damaged while a file is read on."""

from __future__ import annotations

from pathlib import Path

from perf_inference.errors import RecordingError


class Damage:
    """Keeps the first finding, and counts the rest."""

    def __init__(self) -> None:
        self.count = 0
        self._first = ""

    def add(self, what: str) -> None:
        """Take a finding."""
        self._first = self._first or what
        self.count += 1

    def check(self, path: Path) -> None:
        """Raise what was found.

        Raises:
            RecordingError: something was.
        """
        if self.count:
            more = f" (and {self.count - 1} more)" if self.count > 1 else ""
            raise RecordingError(f"{path} is damaged or was cut off: {self._first}{more}")
