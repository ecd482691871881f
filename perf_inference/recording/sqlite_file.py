"""A rosbag2 file of the sqlite3 storage, read without a trace."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import starmap
from pathlib import Path

from perf_inference.errors import RecordingError
from perf_inference.recording.bag_file import BagMessage, Topic
from perf_inference.recording.qos import parse_qos

_SIDE_FILES = ("-wal", "-journal")  # what is in them is not in the file yet


class SqliteFile:
    """One `.db3` file.

    A plain open of a file in WAL mode, even a read-only one, leaves `-shm` and `-wal` beside it; `immutable` does not,
    but does not see what a non-empty `-wal` holds. Such a file is read from a temporary copy.
    """

    def __init__(self, path: Path) -> None:
        """Read the topics.

        Raises:
            RecordingError: it is not a rosbag2 file, or damaged.
        """
        self.path = path
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._uri = path.as_uri() + "?immutable=1"
        side_files = [
            side for suffix in _SIDE_FILES if (side := Path(f"{path}{suffix}")).exists() and side.stat().st_size
        ]
        try:
            if side_files:
                self._copy = tempfile.TemporaryDirectory(prefix="perf_inference_")
                for file in (path, *side_files):
                    shutil.copyfile(file, Path(self._copy.name, file.name))
                self._uri = Path(self._copy.name, path.name).as_uri()
            with closing(sqlite3.connect(self._uri, uri=True)) as database:
                self.topics = _topics(database)
                self.start_ns = database.execute("SELECT min(timestamp) FROM messages").fetchone()[0] or 0
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise RecordingError(
                f"{path} must be a rosbag2 sqlite3 file, but cannot be read as one: {error}"
            ) from error

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order, those of one moment as they were written.

        Raises:
            RecordingError: the file is damaged from here on.
        """
        return self._select("ORDER BY timestamp, messages.id")

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written.

        Raises:
            RecordingError: the file is damaged from here on.
        """
        return self._select("ORDER BY messages.id")

    def close(self) -> None:
        """Remove the temporary copy, if there is one."""
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _select(self, order: str) -> Iterator[BagMessage]:
        query = "SELECT timestamp, name, type, data FROM messages JOIN topics ON topics.id = messages.topic_id "
        try:
            with closing(sqlite3.connect(self._uri, uri=True)) as database:
                yield from starmap(BagMessage, database.execute(query + order))
        except sqlite3.Error as error:
            raise RecordingError(f"{self.path} is damaged: {error}") from error


def _topics(database: sqlite3.Connection) -> list[Topic]:
    columns = {row[1] for row in database.execute("PRAGMA table_info(topics)")}
    qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
    counts = dict(database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
    rows = database.execute(f"SELECT id, name, type, serialization_format, {qos} FROM topics")
    return [
        Topic(name, kind, counts.get(key, 0), encoding, parse_qos(text)) for key, name, kind, encoding, text in rows
    ]
