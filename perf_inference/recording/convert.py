"""Converts a recording between JSON lines and rosbag2, message by message."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from perf_inference.errors import RecordingError
from perf_inference.recording.bags.bag_writer import BagWriter, TakesTimings
from perf_inference.recording.bags.metadata import Contents, Metadata, read_metadata
from perf_inference.recording.bags.target import PARQUET, BagPart, Target
from perf_inference.recording.cdr.versions import fitting_definition, is_ambiguous
from perf_inference.recording.file_list import FileList, is_recording, timings_of
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.message import BagFile, BagMessage, Topic, TopicKey, joined
from perf_inference.recording.open import messages_of, missing, open_damaged, said_of

Progress = Callable[[int, int], None]


class Kept(NamedTuple):
    """Messages that JSON lines keep serialized."""

    undecoded: int = 0  # alone: the type is not known here
    refused: int = 0  # alone: the bytes are not what the type says
    inexact: int = 0  # too: the fields alone would not give the bytes back


@dataclass(frozen=True)
class Conversion:
    """What became of a recording."""

    messages: int
    topics: int
    bytes: int
    seconds: float
    kept: Kept
    unreadable: tuple[str, ...] = ()  # what could not be read
    lost: tuple[str, ...] = ()  # what was read, and the target's form cannot hold
    remarks: tuple[str, ...] = ()  # what is odd about the source though nothing is lost


def convert(source: Path, target: Target, progress: Progress = lambda done, total: None) -> Conversion:
    """Write the recording at `source` into `target`, which is there when it is complete and not before.

    Args:
        progress: called after each message with the messages done and expected (0: not known).

    Raises:
        ConfigError: there is no recording at `source`, or `target` cannot be made.
        RecordingError: nothing can be read, or the target cannot be written.
    """
    started = time.monotonic()
    source = Path(os.path.abspath(source.expanduser()))
    timings = timings_of(source) if target.storage == PARQUET else []
    files, unreadable = ([], []) if timings and not is_recording(source) else open_damaged(source)
    try:
        metadata = read_metadata(source if source.is_dir() else source.parent) or Metadata()
        if metadata.problem:
            unreadable.append(metadata.problem)
        about = said_of(files, metadata)
        part = BagPart(target, source, about)
        with part:
            copy = _Copy(files, part.writer, Contents(target.storage, part.file.name, about), metadata)
            copy.messages(progress, unreadable)
            copy.extras()
            if timings and isinstance(part.writer, TakesTimings):
                unreadable.extend(part.writer.timings(timings))
            if source.is_dir():
                unreadable.extend(missing(metadata, copy.contents.messages) if not unreadable else ())
            part.complete(copy.contents.as_dict(copy.topics))
    except (OSError, sqlite3.Error) as error:  # those of the source are in `unreadable`
        raise RecordingError(f"'{target.path}' cannot be written: {_reason(error)}; nothing is left of it") from error
    finally:
        for file in files:
            file.close()
    return Conversion(
        messages=copy.contents.messages,
        topics=len(copy.topics),
        bytes=part.bytes,
        seconds=time.monotonic() - started,
        kept=Kept(*(getattr(part.writer, name, 0) for name in ("undecoded", "refused", "inexact"))),
        unreadable=tuple(unreadable),
        lost=tuple(part.writer.lost),
        remarks=(
            *(FileList(source).left_out if files else ()),
            *(f"{file.path}: {said}" for file in files for said in file.remarks()),
        ),
    )


class _Copy:
    """Hands the messages on in the order in which they are stored."""

    def __init__(self, files: list[BagFile], writer: BagWriter, contents: Contents, metadata: Metadata) -> None:
        self.contents = contents
        self.topics: list[Topic] = []
        self._files, self._writer, self._metadata = files, writer, metadata
        self._distro = contents.ros_distro
        self._targets: dict[TopicKey, Topic] = {}  # by the source's key
        found = joined(topic for file in files for topic in file.topics)
        self._expected = sum(topic.count for topic in set(found.values()))
        made: dict[TopicKey, Topic] = {}
        for key, topic in found.items():
            if topic.key not in made:
                made[topic.key] = self._add(topic)
            self._targets[key] = made[topic.key]

    def messages(self, progress: Progress, unreadable: list[str]) -> None:
        """Hand on all messages; what cannot be read is added to `unreadable`."""
        write, count, expected = self._writer.write, self.contents.count, self._expected
        for file in self._files:
            source: Topic | None = None
            topic = Topic("", "")
            targets: dict[int, tuple[Topic, Topic]] = {}  # by the source's id; with the source, so that it stays
            for message in _readable(file, unreadable):
                if message.source is None or message.source is not source:
                    source = message.source if message.source is not None else Topic(message.topic, message.type)
                    if id(source) not in targets:
                        targets[id(source)] = source, self._target(source)
                    topic = targets[id(source)][1]
                count(message, topic)
                write(topic, message)
                progress(self.contents.messages, expected)

    def extras(self) -> None:
        """Hand on what is beside the messages."""
        for file in self._files:
            for extra in file.extras():
                self._writer.extra(extra)

    def _target(self, source: Topic) -> Topic:
        if source.key not in self._targets:
            self._targets[source.key] = self._add(source)
        return self._targets[source.key]

    def _add(self, found: Topic) -> Topic:
        topic = self._metadata.completed(found)
        if topic.definition is None and topic.encoding == "cdr":
            looked_at = messages_of(self._files, topic) if is_ambiguous(topic.type) and topic.count else ()
            definition = fitting_definition(topic.type, looked_at, self._distro)
            topic = replace(topic, definition=definition)
        self.topics.append(topic)
        self._writer.add(topic)
        return topic


def _readable(file: BagFile, unreadable: list[str]) -> Iterator[BagMessage]:
    try:
        yield from file.stored()
    except RecordingError as error:
        unreadable.append(str(error))
    except OSError as error:
        unreadable.append(f"{file.path} cannot be read on: {error.strerror}")
    if isinstance(file, JsonlFile):
        unreadable.extend(f"{file.path}: {problem}" for problem in file.problems())


def _reason(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
