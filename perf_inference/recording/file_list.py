"""Which of the files at a path make a recording: each content once."""

from __future__ import annotations

from collections.abc import Iterable
from glob import glob
from pathlib import Path

import zstandard

from perf_inference.errors import ConfigError
from perf_inference.files.names import IMAGE_SUFFIXES, natural_order
from perf_inference.recording.run_directory import is_timings, segment_number, timings_in

LINES = (".jsonl", ".jsonl.zst")
"""How the names of files of JSON lines end."""
_BAGS = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")
_PACKED = (".zstd", ".zst")
_RECOVERED = "_recovered"  # what `recover`, and others' tools, name what they bring back of a damaged file
_FRAME_HEAD_BYTES = 18
_RECORDING = "a rosbag2 folder, a .db3 or .mcap file, a recorder's directory or topics_<n>.jsonl"
_WITH_IMAGES = f"{_RECORDING}, or a folder or pattern (*.jpg) of images (.jpg, .png)"


class FileList:
    """The files at a path: of a folder, of a pattern, or the one."""

    def __init__(self, path: Path, or_images: bool = False) -> None:
        """Look at their names.

        Raises:
            ConfigError: there is nothing, or it cannot be looked at.
        """
        self._path, self._expected = path, _WITH_IMAGES if or_images else _RECORDING
        self._files = self._found()
        self.left_out: list[str] = []
        """Why files are not read that seem to belong to the recording."""
        self.recordings = self._once([file for file in self._files if file.name.endswith(_BAGS)] or self._segments())

    @property
    def images(self) -> tuple[Path, ...]:
        return tuple(file for file in self._files if file.suffix.lower() in IMAGE_SUFFIXES)

    def none(self) -> ConfigError:
        """Return the error that says that nothing here is what was expected."""
        found = ", ".join(file.name for file in self._files[:5]) or "an empty folder"
        return ConfigError(f"source must be {self._expected}; '{self._path}' is {found}")

    def _found(self) -> list[Path]:
        path = self._path
        matched = [] if path.exists() else [Path(name) for name in glob(str(path))]
        if not path.exists() and not matched:
            raise ConfigError(f"source must be {self._expected}; there is nothing at '{path}'")
        try:
            return sorted(matched or (path.iterdir() if path.is_dir() else [path]), key=natural_order)
        except OSError as error:
            raise ConfigError(f"source '{path}' cannot be read: {error.strerror}") from error

    def _segments(self) -> list[Path]:
        """Return the files of JSON lines; in a folder only the segments."""
        lines = [file for file in self._files if file.name.endswith(LINES)]
        return [file for file in lines if not self._path.is_dir() or segment_number(_original(file)) is not None]

    def _once(self, files: Iterable[Path]) -> list[Path]:
        """Return the files, of those with the same content one."""
        alike: dict[Path, list[Path]] = {}
        for file in files:
            alike.setdefault(_original(file), []).append(file)
        chosen = []
        for same in alike.values():
            best = min(same, key=_rank)
            if best.suffix not in _PACKED and any(_says_another_size(file, best) for file in same):
                best = next(file for file in same if _says_another_size(file, best))
            chosen.append(best)
            self.left_out += [f"{file.name} is not read: {best.name} beside it is" for file in same if file != best]
        return chosen


def is_recording(path: Path) -> bool:
    """Return whether there are files of a recording at a path."""
    return bool(FileList(path).recordings) and not is_timings(path)


def timings_of(path: Path) -> list[Path]:
    """Return the timings of the run at a path: of its directory, or the file itself."""
    if path.is_dir():
        return timings_in(path)
    return [path] if is_timings(path) and path.is_file() else []


def _plain(path: Path) -> Path:
    """Return the path of what is packed in a file."""
    return path.with_suffix("") if path.suffix in _PACKED else path


def _original(path: Path) -> Path:
    """Return the path that a file had before it was packed, or brought back."""
    plain = _plain(path)
    return plain.with_name(plain.stem.removesuffix(_RECOVERED) + plain.suffix)


def _rank(path: Path) -> tuple[bool, bool]:
    """Return what files of one content are chosen by: what was brought back, then what is not packed.

    `ros2 bag play` unpacks a file beside the packed one; what the recorder packs may not be complete yet.
    """
    return not _plain(path).stem.endswith(_RECOVERED), path.suffix in _PACKED


def _says_another_size(packed: Path, plain: Path) -> bool:
    """Return whether a file packs another number of bytes than its plain twin has: that was not unpacked to its end."""
    if packed.suffix not in _PACKED or _plain(packed) != plain:
        return False
    try:
        with packed.open("rb") as file:
            size = zstandard.frame_content_size(file.read(_FRAME_HEAD_BYTES))
        return size > 0 and size != plain.stat().st_size
    except (OSError, zstandard.ZstdError):
        return False
