"""What a conversion writes, and its name as long as it is not complete."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.recording.bags.bag_writer import BagWriter, open_writer
from perf_inference.recording.bags.metadata import FILE_NAME, file_text

STORAGES = {"mcap": ".mcap", "sqlite3": ".db3"}
_FILES = {".jsonl": "jsonl", ".mcap": "mcap", ".db3": "sqlite3"}
_OTHER_FILES = (".bag", ".csv", ".gz", ".json", ".tar", ".txt", ".yaml", ".yml", ".zip", ".zst", ".zstd")


@dataclass(frozen=True)
class Target:
    """What is written."""

    path: Path
    storage: str  # jsonl, mcap, sqlite3
    folder: bool


def target_of(path: Path, storage: str | None = None) -> Target:
    """Return what `path` stands for: its suffix decides.

    Raises:
        ConfigError: it stands for something else, or contradicts `storage`.
    """
    path = Path(os.path.abspath(path.expanduser()))
    kind = _FILES.get(path.suffix)
    if kind is None:
        if path.suffix in _OTHER_FILES:
            raise ConfigError(
                f"DST must end with .jsonl, .mcap or .db3, or be a folder to be made (without suffix), got '{path}'"
            )
        return Target(path, storage or "mcap", folder=True)
    if storage not in (None, kind):
        raise ConfigError(f"--storage {storage} is for folders; '{path.name}' is a file of {kind}")
    return Target(path, kind, folder=False)


class Part:
    """The target as long as it is not complete: under a name of its own, removed when something goes wrong."""

    def __init__(self, target: Target, source: Path) -> None:
        """Check that the target can be made.

        Raises:
            ConfigError: it is there already, lies within the source, or has no folder to be in.
        """
        self.bytes = 0
        self._target = target
        self._path = target.path.with_name(f"{target.path.name}.part")
        self.file = self._path / f"{target.path.name}_0{STORAGES[target.storage]}" if target.folder else self._path
        self.writer: BagWriter
        _check(target, source, self._path)

    def __enter__(self) -> Part:
        try:
            if self._target.folder:
                self._path.mkdir()
            self.writer = open_writer(self.file, self._target.storage)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.writer.abort()
            self._remove()

    def complete(self, about: dict[str, Any]) -> None:
        """Close the file and give the target its name; a folder's metadata comes last."""
        self.writer.close(about)
        self.bytes = self.file.stat().st_size
        if self._target.folder:
            beside = self._path / f"{FILE_NAME}.part"
            beside.write_text(file_text(about), encoding="utf-8")
            _sync(beside)
            beside.rename(self._path / FILE_NAME)
            _sync(self._path)
        if os.path.lexists(self._target.path):
            raise RecordingError(f"'{self._target.path}' has come into being meanwhile; it was left as it is")
        self._path.rename(self._target.path)
        _sync(self._target.path.parent)

    def _remove(self) -> None:
        if self._target.folder:
            shutil.rmtree(self._path, ignore_errors=True)
        else:
            for suffix in ("", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)


def _check(target: Target, source: Path, part: Path) -> None:
    path, parent = target.path, target.path.parent
    real = source.resolve()
    if real.is_dir() and real in (path.resolve(), *path.resolve().parents):
        raise ConfigError(f"DST must lie outside of SRC, which is never written to, got '{path}'")
    if os.path.lexists(path):
        raise ConfigError(f"DST must not be there yet, but '{path}' is; give another name, or remove it")
    if not parent.is_dir():
        raise ConfigError(f"DST must be in a folder that is there, but '{parent}' is none")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"DST must be in a folder that can be written, but '{parent}' cannot")
    if os.path.lexists(part):
        raise ConfigError(f"'{part}' is there: another conversion is at work, or was killed; if so, remove it")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
