"""A folder of WAV files, numbered; the oldest go when there are too many."""

from __future__ import annotations

import contextlib
import re
import stat
from pathlib import Path

from perf_inference.errors import RecordingError
from perf_inference.files.names import natural_order
from perf_inference.files.private import PRIVATE, own_folder, replace_file

_NAME = re.compile(r"[0-9]{6,}\.wav")


class SoundFiles:
    """Writes `000001.wav` and on into a folder that is made with the first of them."""

    def __init__(self, folder: Path, most: int) -> None:
        """Write nothing yet.

        Args:
            most: files that are kept.
        """
        self.folder, self._most = folder, most
        self._files: list[Path] | None = None  # None: not looked at yet
        self.written = 0

    def write(self, wav: bytes) -> Path:
        """Write the next file; return its path.

        Raises:
            RecordingError: it cannot be written.
        """
        try:
            if self._files is None:
                parent = self.folder.parent
                mode = stat.S_IMODE(parent.stat().st_mode) & 0o777 if parent.is_dir() else PRIVATE
                own_folder(self.folder, mode)
                found = (path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
                self._files = sorted(found, key=natural_order)
            number = int(self._files[-1].stem) + 1 if self._files else 1
            path = self.folder / f"{number:06d}.wav"
            replace_file(path, wav)
        except OSError as error:
            raise RecordingError(
                f"a sound cannot be written into {self.folder}: {error.strerror or error}; make room, or name another "
                "folder by the parameter sound_dir"
            ) from error
        self._files.append(path)
        self.written += 1
        while len(self._files) > self._most:
            with contextlib.suppress(OSError):
                self._files.pop(0).unlink()
        return path
