"""Read-only sources to play back: recordings of rosbag2 (sqlite3, MCAP; split, with or without metadata) and of
recorder_node (JSON lines), and images.

A source is never written to, not even SQLite's side files. What counts are the files that are there: the metadata's
names go stale when a folder is renamed. Messages stream; nothing is loaded as a whole.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from perf_inference.errors import RecordingError
from perf_inference.recording.bags.mcap_file import McapFile
from perf_inference.recording.bags.metadata import Metadata, read_metadata
from perf_inference.recording.bags.packed_file import PackedFile
from perf_inference.recording.bags.sqlite_file import SqliteFile
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.versions import fitting_definition, is_ambiguous
from perf_inference.recording.file_list import LINES, FileList
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.message import About, BagFile, BagMessage, Topic, joined

_LOOKED_AT = 20  # messages of a topic


class Bag:
    """A recording of one or several files."""

    def __init__(self, path: Path, files: list[BagFile], failed: Iterable[str] = ()) -> None:
        """Take the files that could be opened, and what is wrong with the others."""
        self.path = path
        self._files, self._failed = files, list(failed)
        self._metadata = read_metadata(path if path.is_dir() else path.parent) or Metadata()
        self.about = said_of(files, self._metadata)
        self._joined = joined(topic for file in files for topic in file.topics)
        self.topics = sorted(dict.fromkeys(self._joined.values()), key=lambda topic: topic.name)

    @property
    def count(self) -> int:
        return sum(topic.count for topic in self.topics)

    @property
    def failed(self) -> list[str]:
        """What is wrong with the files that could not be opened."""
        return self._failed

    @property
    def left_out(self) -> list[str]:
        """Why files are not read that seem to belong to it."""
        return FileList(self.path).left_out

    def topic_of(self, message: BagMessage) -> Topic | None:
        """Return which of the topics a message belongs to."""
        return None if message.source is None else self._joined.get(message.source.key)

    def definition_of(self, topic: Topic) -> Definition | None:
        """Return the definition by which the messages of a topic were made; None: it is not known."""
        if topic.definition is not None or topic.encoding != "cdr":
            return topic.definition
        looked_at = messages_of(self._files, topic) if is_ambiguous(topic.type) else ()
        return fitting_definition(topic.type, looked_at, self.about.ros_distro)

    def problems(self) -> list[str]:
        """Return a sentence about what is not used of the metadata, and each kind of lines that are skipped."""
        return [
            *([self._metadata.problem] if self._metadata.problem else []),
            *self._failed,
            *(
                f"{file.path.name}: {said}"
                for file in self._files
                for said in [*(file.problems() if isinstance(file, JsonlFile) else ()), *file.remarks()]
            ),
        ]

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages of all files in time order; a file is opened when its time has come.

        Raises:
            RecordingError: at the end, when something could not be read; all that could be has been yielded.
        """
        damage: list[str] = []
        count = 0
        for message in self._by_time(damage):
            count += 1
            yield message
        if self.path.is_dir() and not damage and not self._failed:
            damage.extend(missing(self._metadata, count))
        if damage:
            raise RecordingError("; ".join(damage))

    def _by_time(self, damage: list[str]) -> Iterator[BagMessage]:
        """Yield the messages of all files; what cannot be read is added to `damage`."""
        waiting = sorted(enumerate(self._files), key=lambda entry: (entry[1].start_ns, entry[0]), reverse=True)
        heap: list[tuple[int, int, int, BagMessage, Iterator[BagMessage]]] = []
        serial = 0
        while waiting or heap:
            while waiting and (not heap or waiting[-1][1].start_ns <= heap[0][0]):
                index, file = waiting.pop()
                rest = _readable(file, damage)
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


def _readable(file: BagFile, damage: list[str]) -> Iterator[BagMessage]:
    try:
        yield from file.messages()
    except RecordingError as error:
        damage.append(str(error))
    except OSError as error:
        damage.append(f"{file.path} cannot be read on: {error.strerror}")


def said_of(files: Iterable[BagFile], metadata: Metadata) -> About:
    """Return what a recording says of itself: its `metadata.yaml`, or its files in their order."""
    abouts = [About(metadata.ros_distro, metadata.custom_data, metadata.messages), *(file.about for file in files)]
    distro = next((about.ros_distro for about in abouts if about.ros_distro), "")
    custom = {key: value for about in reversed(abouts) for key, value in about.custom_data.items()}
    return About(distro, custom, metadata.messages)


def missing(metadata: Metadata, count: int) -> list[str]:
    """Return a sentence where a folder's metadata tell of more messages than were read of it."""
    told = metadata.messages
    return (
        [f"metadata.yaml tells of {told} messages, but there are {count}"] if told is not None and told > count else []
    )


def messages_of(files: Iterable[BagFile], topic: Topic) -> list[bytes]:
    """Return some messages of a topic, by which its definition can be found."""
    found: list[bytes] = []
    for file in files:
        if not any(other.key == topic.key and other.count for other in file.topics):
            continue
        with suppress(RecordingError, OSError):
            of_topic = (m.data for m in file.stored() if (m.topic, m.type) == (topic.name, topic.type))
            found += islice(of_topic, _LOOKED_AT - len(found))
        if len(found) >= _LOOKED_AT:
            break
    return found


def open_source(path: str | Path) -> Bag | ImageFolder:
    """Return the recording or the images at `path`.

    Raises:
        ConfigError: there is nothing, or nothing that can be played.
        RecordingError: it is damaged.
    """
    given = Path(path).expanduser().absolute()
    files = FileList(given, or_images=True)
    if files.recordings:
        return Bag(given, *open_damaged(given))
    if files.images:
        return ImageFolder(given, files.images)
    raise files.none()


def open_damaged(path: Path) -> tuple[list[BagFile], list[str]]:
    """Return the files of the recording at `path` that can be opened, and what is wrong with the others.

    Raises:
        ConfigError: there is no recording.
        RecordingError: no file can be opened.
    """
    files = FileList(path)
    if not files.recordings:
        raise files.none()
    results = [_file_or_error(file) for file in files.recordings]
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


def _open_file(path: Path) -> BagFile:
    try:
        if path.stat().st_size == 0:
            raise RecordingError(f"{path} must be a recording, but is empty")
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    if path.name.endswith(LINES):
        return JsonlFile(path)
    if path.suffix == ".zstd":
        return PackedFile(path, _open_content)
    return _open_content(path, path)


def _open_content(path: Path, data: Path) -> BagFile:
    """Open a file whose content is at `data`."""
    about = read_metadata(path.parent)
    packed = None if about is None or about.problem else about.compression_mode == "message"
    return (McapFile if data.suffix == ".mcap" else SqliteFile)(path, data, packed)
