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
from perf_inference.recording.bags.bag_writer import BagWriter
from perf_inference.recording.bags.metadata import Contents, Metadata, read_metadata
from perf_inference.recording.bags.target import BagPart, Target
from perf_inference.recording.cdr.definition import builtin_definition
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.message import BagFile, BagMessage, Topic, merged
from perf_inference.recording.open import open_damaged

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
    part = BagPart(target, source)
    files, unreadable = open_damaged(source)
    try:
        about = read_metadata(source if source.is_dir() else source.parent) or Metadata()
        if about.problem:
            unreadable.append(about.problem)
        with part:
            copy = _Copy(files, part.writer, Contents(target.storage, part.file.name, about), about)
            copy.messages(progress, unreadable)
            part.complete(copy.contents.as_dict(copy.topics.values()))
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
    )


class _Copy:
    """Hands the messages on in the order in which they are stored."""

    def __init__(self, files: list[BagFile], writer: BagWriter, contents: Contents, about: Metadata) -> None:
        self.contents = contents
        self.topics: dict[tuple[str, str], Topic] = {}
        self._files, self._writer, self._about = files, writer, about
        self._expected = 0
        for topic in merged(topic for file in files for topic in file.topics):
            self._expected += topic.count
            self._add(topic)

    def messages(self, progress: Progress, unreadable: list[str]) -> None:
        """Hand on all messages; what cannot be read is added to `unreadable`."""
        topics, write, count, expected = self.topics, self._writer.write, self.contents.count, self._expected
        for file in self._files:
            for message in _readable(file, unreadable):
                topic = topics.get((message.topic, message.type)) or self._add(Topic(message.topic, message.type))
                count(message)
                write(topic, message)
                progress(self.contents.messages, expected)

    def _add(self, found: Topic) -> Topic:
        topic = self._about.completed(found)
        if topic.definition is None and topic.encoding == "cdr":
            topic = replace(topic, definition=builtin_definition(topic.type))
        self.topics[topic.name, topic.type] = topic
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
