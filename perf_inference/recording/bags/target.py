"""What a conversion writes, and its name as long as it is not complete."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.files.whole import claimed, sync_folder, whole_file
from perf_inference.recording.bags.bag_writer import BagWriter, open_writer
from perf_inference.recording.bags.metadata import FILE_NAME, file_text
from perf_inference.recording.message import About
from perf_inference.recording.parquet.library import pyarrow

STORAGES = {"mcap": ".mcap", "sqlite3": ".db3"}
PARQUET = "parquet"
_FILES = {".jsonl": "jsonl", ".mcap": "mcap", ".db3": "sqlite3"}
_METADATA = re.compile(rf"\.{re.escape(FILE_NAME)}\.[0-9]+\.part")  # not complete
_OTHER_FILES = (".bag", ".csv", ".gz", ".json", ".tar", ".txt", ".yaml", ".yml", ".zip", ".zst", ".zstd")


@dataclass(frozen=True)
class Target:
    """What is written."""

    path: Path
    storage: str  # jsonl, mcap, sqlite3, parquet
    folder: bool


def target_of(path: Path, storage: str | None = None, to: str | None = None) -> Target:
    """Return what `path` stands for: its suffix decides.

    Args:
        storage: of a rosbag2 folder.
        to: parquet: a folder of tables, whatever the suffix; None: a recording.

    Raises:
        ConfigError: it stands for something else, or contradicts `storage`.
    """
    path = Path(os.path.abspath(path.expanduser()))
    kind = _FILES.get(path.suffix)
    if to == PARQUET:
        if kind is not None or storage is not None:
            raise ConfigError(f"--to parquet makes a folder of tables, and takes no --storage; '{path}' is to be none")
        return Target(path, PARQUET, folder=True)
    if kind is None:
        if path.suffix in _OTHER_FILES:
            raise ConfigError(
                f"DST must end with .jsonl, .mcap or .db3, or be a folder to be made (without suffix), got '{path}'"
            )
        return Target(path, storage or "mcap", folder=True)
    if storage not in (None, kind):
        raise ConfigError(f"--storage {storage} is for folders; '{path.name}' is a file of {kind}")
    return Target(path, kind, folder=False)


class BagPart:
    """The target as long as it is not complete: under a name of its own, removed when something goes wrong.

    What a conversion that was killed has left there is removed by the next one to the same target.
    """

    def __init__(self, target: Target, source: Path, about: About | None = None) -> None:
        """Check that the target can be made.

        Args:
            about: what the recording says of itself.

        Raises:
            ConfigError: it is there already, lies within the source, has no folder to be in, or needs a library that is
                not installed.
        """
        self.bytes = 0
        self._target, self._about = target, about
        self._path = target.path.with_name(f"{target.path.name}.part")
        self.file = self._path
        if target.storage in STORAGES and target.folder:
            self.file = self._path / f"{target.path.name}_0{STORAGES[target.storage]}"
        self.writer: BagWriter
        self._claim = ExitStack()
        _check(target, source)
        if target.storage == PARQUET:
            pyarrow()

    def __enter__(self) -> BagPart:
        left = self._claim.enter_context(claimed(self._target.path))
        try:
            if left:
                self._remove()
            if os.path.lexists(self._path):
                raise ConfigError(f"'{self._path}' is there, and is not known to be left of a conversion; move it away")
            if self._target.folder:
                self._path.mkdir()
            self.writer = open_writer(self.file, self._target.storage, self._about)
        except BaseException as error:
            if not isinstance(error, ConfigError):
                self._remove()
            self._claim.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.writer.abort()
            self._remove()
        self._claim.close()

    def complete(self, about: dict[str, Any]) -> None:
        """Close the file and give the target its name; a folder's metadata comes last."""
        self.writer.close(about)
        made = self._path.iterdir() if self._target.storage == PARQUET else [self.file]
        self.bytes = sum(file.stat().st_size for file in made)
        if self._target.storage == PARQUET:
            sync_folder(self._path)
        elif self._target.folder:
            with whole_file(self._path / FILE_NAME) as file:
                file.write(file_text(about).encode())
        if os.path.lexists(self._target.path):
            raise RecordingError(f"'{self._target.path}' has come into being meanwhile; it was left as it is")
        self._path.rename(self._target.path)
        sync_folder(self._target.path.parent)

    def _remove(self) -> None:
        """Remove what a conversion makes, and nothing else."""
        if self._path.is_symlink() or self._path.is_dir() != self._target.folder:
            return
        if not self._target.folder:
            for suffix in ("", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            return
        for file in list(self._path.iterdir()):
            if self._target.storage == PARQUET and file.suffix == f".{PARQUET}":
                file.unlink()
            if file.name in (FILE_NAME, self.file.name, f"{self.file.name}-journal") or _METADATA.fullmatch(file.name):
                file.unlink()
        with suppress(OSError):  # something else is in it
            self._path.rmdir()


def _check(target: Target, source: Path) -> None:
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
