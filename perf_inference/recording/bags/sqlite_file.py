"""A rosbag2 file of the sqlite3 storage, read without a trace."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from perf_inference.errors import RecordingError, in_one_line
from perf_inference.recording.bags.message_packing import unpacked
from perf_inference.recording.bags.metadata import embedded_about
from perf_inference.recording.bags.sqlite_guard import Budget, check_journal, check_tables, connect
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.damage import Damage
from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic, collected
from perf_inference.recording.qos import parse_qos

PUBLICATIONS = "perf_inference_publications"  # our own table: what rosbag2's messages have no column for
DEFINITIONS = "perf_inference_definitions"  # our own: rosbag2 has one definition a type
_SIDE_FILES = ("-wal", "-journal")  # what is in them is not in the file yet
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
                self._topics = _topics(database)
                self._publications = bool(_columns(database, PUBLICATIONS))
                self.start_ns = _start_ns(database)
                self.about = _about(database)
        except (*_DAMAGE, OSError) as error:
            self.close()
            raise RecordingError(
                f"{path} must be a rosbag2 sqlite3 file, but cannot be read as one: {_said(error)}"
            ) from error
        self.topics = collected(self._topics.values())

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order, those of one moment as they were written.

        Raises:
            RecordingError: the file is damaged from here on.
        """
        try:
            with closing(self._connect()) as database:
                for row in database.execute(f"{self._select()} ORDER BY timestamp, messages.id"):
                    if row[1] in self._topics:
                        if wrong := _wrong(row):
                            raise sqlite3.DatabaseError(wrong)
                        yield self._message(row)
        except _DAMAGE as error:
            raise RecordingError(f"{self.path} is damaged: {_said(error)}") from error

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written.

        Raises:
            RecordingError: at the end, when parts of it are damaged.
        """
        damage = Damage()
        try:
            budget = Budget(self._size_bytes)
            with closing(self._connect(budget)) as database:
                start: int | None = -_LAST_ID - 1
                while start is not None:
                    start = yield from self._stored_from(database, start, damage, budget)
        except _DAMAGE as error:
            damage.add(_said(error))
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

    def _stored_from(
        self, database: sqlite3.Connection, start: int, damage: Damage, budget: Budget
    ) -> Generator[BagMessage, None, int | None]:
        """Yield the messages from an id on; return where to go on after damage."""
        try:
            for row in database.execute(f"{self._select()} WHERE messages.id >= ? ORDER BY messages.id", (start,)):
                if type(row[0]) is not int or row[0] < start:
                    raise sqlite3.DatabaseError("the ids are not in order")
                start = row[0] + 1
                if wrong := _wrong(row):
                    damage.add(wrong)
                elif row[1] in self._topics:
                    yield self._message(row)
                else:
                    damage.add(f"message {row[0]} belongs to topic {row[1]}, which is not described")
        except _DAMAGE as error:
            damage.add(f"message {start}: {_said(error)}")
            return self._readable_after(database, start, budget)
        return None

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


def _topics(database: sqlite3.Connection) -> dict[int, Topic]:
    columns = _columns(database, "topics")
    qos, hashes = (
        name if name in columns else "''" for name in ("offered_qos_profiles", "type_description_hash")
    )  # since Foxy, since Iron
    rows = database.execute(f"SELECT id, name, type, serialization_format, {qos}, {hashes} FROM topics ORDER BY id")
    counts, by_type, by_topic = _counts(database), _definitions(database), _own_definitions(database)
    found = {}
    for key, name, kind, encoding, profiles, type_hash in ((row[0], *map(_text, row[1:])) for row in rows):
        definition = by_topic[key] if key in by_topic else by_type.get(kind)
        found[key] = Topic(
            name, kind, counts.get(key, 0), encoding, parse_qos(profiles), type_hash or None, definition
        )  # fmt: skip
    return found


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _counts(database: sqlite3.Connection) -> dict[int, int]:
    try:
        rows = database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id")
        return {key: count for key, count in rows if type(key) is int}
    except sqlite3.Error:  # damaged: `stored` reports it
        database.execute("SELECT topic_id FROM messages LIMIT 0")
        return {}


def _definitions(database: sqlite3.Connection) -> dict[str, Definition]:
    """Return the definition of each type, if it has a single one."""
    if not _columns(database, "message_definitions"):
        return {}
    rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
    found: dict[str, Definition | None] = {}
    for kind, encoding, content in rows:
        definition = _definition(_text(kind), _text(encoding), content)
        if definition is not None:
            known = found.setdefault(definition.type, definition)
            found[definition.type] = definition if known == definition else None
    return {kind: definition for kind, definition in found.items() if definition is not None}


def _own_definitions(database: sqlite3.Connection) -> dict[Any, Definition | None]:
    """Return the definitions of topics whose type has several."""
    if not _columns(database, DEFINITIONS):
        return {}
    rows = database.execute(f"SELECT id, type, encoding, definition FROM {DEFINITIONS}")
    return {key: _definition(_text(kind), _text(encoding), content) for key, kind, encoding, content in rows}


def _definition(kind: str, encoding: str, content: Any) -> Definition | None:
    """Return a definition: one without a text is of a type without fields, if it says its encoding."""
    if not (content or encoding):
        return None
    if isinstance(content, bytes):
        return Definition.of_bytes(kind, encoding, content)
    return Definition(kind, encoding, _text(content))


def _about(database: sqlite3.Connection) -> About:
    if "metadata" not in _columns(database, "metadata"):
        return About()
    row = database.execute("SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1").fetchone()
    return About() if row is None else embedded_about(_text(row[0]))


def _wrong(row: Any) -> str:
    """Return what is wrong with a row of messages: SQLite lets every column hold every type."""
    key, _, t_ns, data, publish_ns, publish_seq = row
    if type(t_ns) is not int or not isinstance(data, bytes | str | None):
        return f"message {key} has no time, or no contents"
    if not isinstance(publish_ns, int | None) or not isinstance(publish_seq, int | None):
        return f"message {key} has a time of publication or a number that is none"
    return ""


def _said(error: BaseException) -> str:
    if str(error) == "interrupted":
        return "reading it takes more steps than a file of its size can need"
    return in_one_line(error)


def _text(value: Any) -> str:
    """Return what should be a text: SQLite lets every column hold every type."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def _start_ns(database: sqlite3.Connection) -> int:
    try:
        first = database.execute("SELECT min(timestamp) FROM messages").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0
    return first if type(first) is int else 0
