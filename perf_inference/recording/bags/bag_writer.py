"""What writes a recording of one file: JSON lines, MCAP or SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic


class BagWriter(Protocol):
    """Writes one file. Who has it hands over every topic before its first message."""

    lost: list[str]
    """What this form cannot hold of what it was handed, by name; complete after `close`."""

    def add(self, topic: Topic) -> None:
        """Take a topic, once."""

    def extra(self, extra: Note | Attachment) -> None:
        """Take what is beside the messages."""

    def write(self, topic: Topic, message: BagMessage) -> None:
        """Take a message of a topic that was added."""

    def close(self, about: dict[str, Any]) -> None:
        """Complete the file and hand it to the disk; `about` is rosbag2's metadata."""

    def abort(self) -> None:
        """Let go of the file as it is; also after `close`."""


@runtime_checkable
class TakesTimings(Protocol):
    """A writer that has a place for the timings of a run."""

    def timings(self, paths: Sequence[Path]) -> list[str]:
        """Take the timings; return a sentence about each file of which not all could be read."""


def open_writer(path: Path, storage: str, source: About | None = None) -> BagWriter:
    """Return the writer of a new file.

    Args:
        storage: jsonl, mcap or sqlite3; parquet: `path` is a folder that is there.
        source: what the recording says of itself that is written.

    Raises:
        OSError: it cannot be made, or is there already.
        ConfigError: what it needs is not installed.
    """
    if storage == "jsonl":
        from perf_inference.recording.jsonl.jsonl_writer import JsonlWriter

        return JsonlWriter(path, source)
    if storage == "parquet":
        from perf_inference.recording.parquet.parquet_writer import ParquetWriter

        return ParquetWriter(path, source)
    if storage == "mcap":
        from perf_inference.recording.bags.mcap_writer import McapWriter

        return McapWriter(path)
    from perf_inference.recording.bags.sqlite_writer import SqliteWriter

    return SqliteWriter(path)
