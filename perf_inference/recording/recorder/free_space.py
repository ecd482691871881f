"""Keeps a part of the disk free for the rest of the robot."""

from __future__ import annotations

import os
from pathlib import Path


class FreeSpace:
    """Tells when too little is left; a later look may find that there is room again."""

    def __init__(self, directory: Path, min_free_bytes: int) -> None:
        """Watch the file system that holds `directory`."""
        self._directory, self._min_free_bytes = directory, min_free_bytes
        self.left_bytes: int | None = None  # until recording stops, as of the last look

    def problem(self) -> str:
        """Return what is wrong, or nothing."""
        try:
            found = os.statvfs(self._directory)
        except OSError as error:  # taken away, or a server that does not answer
            self.left_bytes = None
            if not self._min_free_bytes:
                return ""
            return f"recording has stopped: {self._directory} cannot be looked at: {error.strerror}"
        free_bytes = found.f_bavail * found.f_frsize
        self.left_bytes = max(0, free_bytes - self._min_free_bytes)
        if free_bytes >= self._min_free_bytes:
            return ""
        return (
            f"recording has stopped: {free_bytes / 1e6:.1f} MB are free at {self._directory}, and min_free_bytes keeps "
            f"{self._min_free_bytes / 1e6:.1f} MB; it goes on when there is room"
        )
