"""A rosbag2 file of the sqlite3 storage, read without a trace."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from perf_inference.errors import RecordingError, in_one_line
from perf_inference.recording.bags.packed_file import unpacked
from perf_inference.recording.bags.sqlite_guard import Budget, check_journal, check_tables, connect
from perf_inference.recording.bags.sqlite_tables import DEFINITIONS, PUBLICATIONS, about, columns, start_ns, topics
from perf_inference.recording.damage import Damage
from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic, collected

_SIDE_FILES = ("-wal", "-journal")  # what is in them is not in the file yet
_HEADS = "SELECT messages.id, topic_id, timestamp, NULL, NULL, NULL FROM messages"
_LAST_ID = (1 << 63) - 1
# What damaged pages make of SQLite and of Python's module: an id that is no number, a value that has no room, ...
_DAMAGE = (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError, MemoryError)


class SqliteFile:
    """One `.db3` file.

    A plain open of a file in WAL mode, even a read-only one, leaves `-shm` and `-wal` beside it; `immutable` does not,
    but does not see what a non-empty `-wal` holds. Such a file is read from a temporary copy.
    """

    def __init__(self, path: Path, data: Path | None = None, packed: bool | None = None) -> None:
        """Read the topics.

        Args:
            data: where the content is, if `path` is packed.
            packed: whether each message is packed with zstd; None: not known, so they are looked at.

        Raises:
            RecordingError: it is not a rosbag2 file, or damaged.
        """
        self.path = path
        self._packed = packed
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._topics: dict[int, Topic] = {}
        self.about = About()
        data = data or path
        self._uri = data.as_uri() + "?immutable=1"
        side_files = [
            side for suffix in _SIDE_FILES if (side := Path(f"{data}{suffix}")).exists() and side.stat().st_size
        ]
        try:
            if side_files:
                self._copy = tempfile.TemporaryDirectory(prefix="perf_inference_")
                for file in (data, *side_files):
                    shutil.copyfile(file, Path(self._copy.name, file.name))
                    if file.name.endswith("-journal"):
                        check_journal(Path(self._copy.name, file.name))
                self._uri = Path(self._copy.name, data.name).as_uri()
            self._size_bytes = sum(file.stat().st_size for file in (data, *side_files))
            with closing(self._connect()) as database:
                check_tables(
                    database, ("topics", "messages", "message_definitions", "metadata", PUBLICATIONS, DEFINITIONS)
                )
                self._topics = topics(database)
                self._publications = bool(columns(database, PUBLICATIONS))
                self.start_ns = start_ns(database)
                self.about = about(database)
        except (*_DAMAGE, OSError) as error:
            self.close()
            raise RecordingError(
                f"{path} must be a rosbag2 sqlite3 file, but cannot be read as one: {_said(error)}"
            ) from error
        if self._topics and not any(topic.count for topic in self._topics.values()):
            self._count()
        self.topics = collected(self._topics.values())

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages by log time, those of one moment as they were written.

        Raises:
            RecordingError: at the end, when parts of it are damaged.
        """
        damage = Damage()
        last: tuple[int, int] | None = None
        try:
            with closing(self._connect()) as database:
                for row in database.execute(f"{self._select()} ORDER BY timestamp, messages.id"):
                    if said := self._wrong(row):
                        damage.add(said)
                    else:
                        yield self._message(row)
                        last = row[2], row[0]
        except _DAMAGE:  # said by who goes around it
            damage = Damage()
            yield from self._around_damage(last, damage)
        damage.check(self.path)

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written.

        Raises:
            RecordingError: at the end, when parts of it are damaged.
        """
        damage = Damage()
        for row in self._rows(self._select(), damage):
            yield self._message(row)
        damage.check(self.path)

    def extras(self) -> Iterator[Note | Attachment]:
        """Yield nothing: there is no more in it."""
        yield from ()

    def remarks(self) -> list[str]:
        """Return nothing: what it says of itself is compared nowhere."""
        return []

    def close(self) -> None:
        """Remove the temporary copy, if there is one."""
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _count(self) -> None:
        """Count the messages one by one: a damaged file has no counts."""
        counts = Counter(row[1] for row in self._rows(_HEADS, Damage()))
        self._topics = {key: replace(topic, count=counts[key]) for key, topic in self._topics.items()}

    def _rows(self, select: str, damage: Damage) -> Iterator[Any]:
        """Yield the rows of messages by their ids, around what is damaged."""
        try:
            budget = Budget(self._size_bytes)
            with closing(self._connect(budget)) as database:
                start: int | None = -_LAST_ID - 1
                while start is not None:
                    start = yield from self._rows_from(database, select, start, damage, budget)
        except _DAMAGE as error:
            damage.add(_said(error))

    def _rows_from(
        self, database: sqlite3.Connection, select: str, start: int, damage: Damage, budget: Budget
    ) -> Generator[Any, None, int | None]:
        """Yield the rows from an id on; return where to go on after damage."""
        try:
            for row in database.execute(f"{select} WHERE messages.id >= ? ORDER BY messages.id", (start,)):
                if type(row[0]) is not int or row[0] < start:
                    raise sqlite3.DatabaseError("the ids are not in order")
                start = row[0] + 1
                if said := self._wrong(row):
                    damage.add(said)
                else:
                    yield row
        except _DAMAGE as error:
            damage.add(f"message {start}: {_said(error)}")
            return self._readable_after(database, start, budget)
        return None

    def _around_damage(self, last: tuple[int, int] | None, damage: Damage) -> Iterator[BagMessage]:
        """Yield what can be read of the messages after one (its time and id), by their times."""
        places = ((row[2], row[0]) for row in self._rows(self._select(), damage))
        after = sorted(place for place in places if last is None or place > last)
        try:
            with closing(self._connect()) as database:
                for _, number in after:
                    row = database.execute(f"{self._select()} WHERE messages.id = ?", (number,)).fetchone()
                    if row is not None and not self._wrong(row):
                        yield self._message(row)
        except _DAMAGE as error:
            damage.add(_said(error))

    def _wrong(self, row: Any) -> str:
        """Return what is wrong with a row of messages: SQLite lets every column hold every type."""
        key, topic, t_ns, data, publish_ns, publish_seq = row
        if type(t_ns) is not int or not isinstance(data, bytes | str | None):
            return f"message {key} has no time, or no contents"
        if not isinstance(publish_ns, int | None) or not isinstance(publish_seq, int | None):
            return f"message {key} has a time of publication or a number that is none"
        return "" if topic in self._topics else f"message {key} belongs to topic {topic}, which is not described"

    def _connect(self, budget: Budget | None = None) -> sqlite3.Connection:
        return connect(self._uri, self._size_bytes, budget or Budget(self._size_bytes))

    def _select(self) -> str:
        if self._publications:
            return (
                "SELECT messages.id, topic_id, timestamp, data, publish_time, sequence FROM messages "
                f"LEFT JOIN {PUBLICATIONS} ON {PUBLICATIONS}.id = messages.id"
            )
        return "SELECT messages.id, topic_id, timestamp, data, NULL, NULL FROM messages"

    def _message(self, row: Any) -> BagMessage:
        _, number, t_ns, data, publish_ns, publish_seq = row
        topic = self._topics[number]
        if isinstance(data, str):  # SQLite lets every column hold every type
            data = data.encode()
        data = unpacked(data or b"", topic.encoding, self._packed)
        return BagMessage(t_ns, topic.name, topic.type, data, publish_ns, publish_seq, topic)

    def _readable_after(self, database: sqlite3.Connection, damaged: int, budget: Budget) -> int | None:
        """Return where reading can go on: a page holds the messages of a range of ids, and only some are damaged."""

        def readable(start: int) -> bool:
            query = f"{self._select()} WHERE messages.id >= ? ORDER BY messages.id LIMIT 1"
            if budget.spend():
                return False
            try:
                row = database.execute(query, (start,)).fetchone()
            except _DAMAGE:
                return False
            return row is None or (type(row[0]) is int and row[0] >= start)

        step = 1
        while not readable(damaged + step):
            step *= 2
            if damaged + step > _LAST_ID:
                return None
        low, high = damaged + step // 2, damaged + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if readable(middle) else (middle, high)
        return high


def _said(error: BaseException) -> str:
    if str(error) == "interrupted":
        return "reading it takes more steps than a file of its size can need"
    return in_one_line(error)
