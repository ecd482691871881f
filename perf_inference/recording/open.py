"""Read-only sources to play back: recordings of rosbag2 (sqlite3, MCAP; split, with or without metadata) and of
recorder_node (JSON lines), and images.

A source is never written to, not even SQLite's side files. What counts are the files that are there: the metadata's
names go stale when a folder is renamed. Messages stream; nothing is loaded as a whole.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.files.names import NaturalKey, natural_key
from perf_inference.recording.bags.mcap_file import McapFile
from perf_inference.recording.bags.metadata import read_metadata
from perf_inference.recording.bags.packed_file import PackedFile
from perf_inference.recording.bags.sqlite_file import SqliteFile
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.message import BagFile, BagMessage, merged

PICTURES = (".jpg", ".jpeg", ".png")
_BAGS = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")
_LINES = (".jsonl", ".jsonl.zst")
_SEGMENT = re.compile(r"topics_[0-9]+\.jsonl(\.zst)?$")
_RECORDING = "a rosbag2 folder, a .db3 or .mcap file, a recorder's directory or topics_<n>.jsonl"
_EXPECTED = f"{_RECORDING}, or a folder or pattern (*.jpg) of images (.jpg, .png)"


class Bag:
    """A recording of one or several files."""

    def __init__(self, path: Path, files: list[BagFile]) -> None:
        self.path = path
        self._files = files
        topics = merged(topic for file in files for topic in file.topics)
        self.topics = sorted(topics, key=lambda topic: topic.name)

    @property
    def count(self) -> int:
        return sum(topic.count for topic in self.topics)

    def problems(self) -> list[str]:
        """Return a sentence about what is not used of the metadata, and each kind of lines that are skipped."""
        about = read_metadata(self.path if self.path.is_dir() else self.path.parent)
        metadata = [about.problem] if about is not None and about.problem else []
        return metadata + [
            f"{file.path.name}: {said}"
            for file in self._files
            if isinstance(file, JsonlFile)
            for said in file.problems()
        ]

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages of all files in time order; a file is opened when its time has come.

        Raises:
            RecordingError: a file is damaged; what lies before the damage has been yielded.
        """
        waiting = sorted(enumerate(self._files), key=lambda entry: (entry[1].start_ns, entry[0]), reverse=True)
        heap: list[tuple[int, int, int, BagMessage, Iterator[BagMessage]]] = []
        serial = 0
        while waiting or heap:
            while waiting and (not heap or waiting[-1][1].start_ns <= heap[0][0]):
                index, file = waiting.pop()
                rest = file.messages()
                if (first := next(rest, None)) is not None:
                    heapq.heappush(heap, (first.t_ns, index, serial, first, rest))
                    serial += 1
            if not heap:
                continue
            _, index, number, message, rest = heap[0]
            yield message
            if (following := next(rest, None)) is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following.t_ns, index, number, following, rest))

    def close(self) -> None:
        """Remove temporary copies."""
        for file in self._files:
            file.close()


@dataclass(frozen=True)
class ImageFolder:
    """Image files in the order of their names."""

    path: Path
    files: tuple[Path, ...]

    def close(self) -> None:
        """Nothing is held open."""


def open_source(path: str | Path) -> Bag | ImageFolder:
    """Return the recording or the images at `path`.

    Raises:
        ConfigError: there is nothing, or nothing that can be played.
        RecordingError: it is damaged.
    """
    given = Path(path).expanduser().absolute()
    files = _files(given, _EXPECTED)
    if bags := _bags(files, whole_folder=given.is_dir()):
        return Bag(given, [_open_file(file) for file in bags])
    images = tuple(file for file in files if file.suffix.lower() in PICTURES)
    if images:
        return ImageFolder(given, images)
    raise _not_a_source(given, files, _EXPECTED)


def open_damaged(path: Path) -> tuple[list[BagFile], list[str]]:
    """Return the files of the recording at `path` that can be opened, and what is wrong with the others.

    Raises:
        ConfigError: there is no recording.
        RecordingError: no file can be opened.
    """
    files = _files(path, _RECORDING)
    bags = _bags(files, whole_folder=path.is_dir())
    if not bags:
        raise _not_a_source(path, files, _RECORDING)
    results = [_file_or_error(file) for file in bags]
    opened = [result for result in results if not isinstance(result, RecordingError)]
    failed = [str(result) for result in results if isinstance(result, RecordingError)]
    if not opened:
        raise RecordingError(failed[0])
    return opened, failed


def _file_or_error(path: Path) -> BagFile | RecordingError:
    try:
        return _open_file(path)
    except RecordingError as error:
        return error


def _files(given: Path, expected: str) -> list[Path]:
    matched = [] if given.exists() else [Path(name) for name in glob(str(given))]
    if not given.exists() and not matched:
        raise ConfigError(f"source must be {expected}; there is nothing at '{given}'")
    try:
        return sorted(matched or (given.iterdir() if given.is_dir() else [given]), key=_natural)
    except OSError as error:
        raise ConfigError(f"source '{given}' cannot be read: {error.strerror}") from error


def _bags(files: list[Path], whole_folder: bool) -> list[Path]:
    return [file for file in files if file.name.endswith(_BAGS)] or _segments(files, whole_folder)


def _segments(files: list[Path], whole_folder: bool) -> list[Path]:
    """Return the files of JSON lines: in a folder only the segments; of one that is there twice, the plain one."""
    lines = [file for file in files if file.name.endswith(_LINES) and (not whole_folder or _SEGMENT.match(file.name))]
    return [file for file in lines if file.suffix != ".zst" or file.with_suffix("") not in lines]


def _not_a_source(given: Path, files: list[Path], expected: str) -> ConfigError:
    found = ", ".join(file.name for file in files[:5]) or "an empty folder"
    return ConfigError(f"source must be {expected}; '{given}' is {found}")


def _open_file(path: Path) -> BagFile:
    try:
        if path.stat().st_size == 0:
            raise RecordingError(f"{path} must be a recording, but is empty")
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    if path.name.endswith(_LINES):
        return JsonlFile(path)
    if path.suffix == ".zstd":
        return PackedFile(path, _open_content)
    return _open_content(path, path)


def _open_content(path: Path, data: Path) -> BagFile:
    """Open a file whose content is at `data`."""
    about = read_metadata(path.parent)
    packed = None if about is None or about.problem else about.compression_mode == "message"
    return (McapFile if data.suffix == ".mcap" else SqliteFile)(path, data, packed)


def _natural(path: Path) -> NaturalKey:
    return natural_key(path.name)
