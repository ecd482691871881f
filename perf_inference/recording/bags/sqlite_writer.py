"""Writes a rosbag2 file of the sqlite3 storage, as Jazzy does, but for QoS in numbers, which Humble reads too."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from perf_inference.recording.bags.metadata import embedded_text
from perf_inference.recording.bags.sqlite_tables import DEFINITIONS, PUBLICATIONS
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.message import Attachment, BagMessage, Note, Topic, TopicKey
from perf_inference.recording.qos import format_qos

_SCHEMA_VERSION = 4
_TABLES = f"""
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
    offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
    encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
CREATE TABLE {PUBLICATIONS}(id INTEGER PRIMARY KEY, publish_time INTEGER, sequence INTEGER);
"""
_OWN_TABLE = f"CREATE TABLE IF NOT EXISTS {DEFINITIONS}(id INTEGER PRIMARY KEY, type TEXT, encoding TEXT, definition)"
_COMMIT_EVERY = 10_000
_END_NS = 1 << 63


class SqliteWriter:
    """One `.db3` file. Publication times and sequence numbers are in a table of our own, by the message's id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        self._database = sqlite3.connect(path, isolation_level=None)
        self.lost: list[str] = []
        self._topics: dict[TopicKey, int] = {}
        self._definitions: dict[str, dict[Definition | None, tuple[list[int], str]]] = {}  # by type: topics, hash
        self._beyond = 0  # messages whose times have more than 63 bits
        self._messages = 0
        # A file that is not complete is thrown away: it needs no journal.
        self._database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _TABLES)
        self._database.execute("BEGIN")

    def add(self, topic: Topic) -> None:
        type_hash = topic.type_hash or ""
        cursor = self._database.execute(
            "INSERT INTO topics(name, type, serialization_format, offered_qos_profiles, type_description_hash) "
            "VALUES(?, ?, ?, ?, ?)",
            (topic.name, topic.type, topic.encoding, format_qos(topic.qos), type_hash),
        )
        number = self._topics[topic.key] = cursor.lastrowid or 0
        of_type = self._definitions.setdefault(topic.type, {})
        of_type.setdefault(topic.definition, ([], type_hash))[0].append(number)
        if topic.metadata:
            names = ", ".join(name for name, _ in topic.metadata)
            self.lost.append(f"{topic.name}: metadata of its channel ({names}): sqlite3 has no place for it")

    def extra(self, extra: Note | Attachment) -> None:
        self.lost.append(f"{extra}: sqlite3 has no place for it")

    def write(self, topic: Topic, message: BagMessage) -> None:
        self._messages += 1
        self._database.execute(
            "INSERT INTO messages VALUES(?, ?, ?, ?)",
            (self._messages, self._topics[topic.key], _signed(message.t_ns), message.data),
        )
        self._beyond += message.t_ns >= _END_NS or (message.publish_ns or 0) >= _END_NS
        if message.publish_ns is not None or message.publish_seq is not None:
            self._database.execute(
                f"INSERT INTO {PUBLICATIONS} VALUES(?, ?, ?)",
                (self._messages, _signed(message.publish_ns), _signed(message.publish_seq)),
            )
        if self._messages % _COMMIT_EVERY == 0:
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")

    def close(self, about: dict[str, Any]) -> None:
        self._define()
        if self._beyond:
            self.lost.append(f"the times of {self._beyond} messages: sqlite3 has 63 bits, and makes them negative")
        self._database.execute("INSERT INTO schema VALUES(?, ?)", (_SCHEMA_VERSION, about["ros_distro"]))
        self._database.execute(
            "INSERT INTO metadata(metadata_version, metadata) VALUES(?, ?)", (about["version"], embedded_text(about))
        )
        self._database.execute("COMMIT")
        self._database.close()
        with open(self._path, "rb") as stream:
            os.fsync(stream.fileno())

    def _define(self) -> None:
        """Write the definitions: those of a type that has several, which rosbag2 cannot have, topic by topic."""
        for kind, definitions in self._definitions.items():
            if len(definitions) == 1:
                ((definition, (_, type_hash)),) = definitions.items()
                if definition is not None:
                    self._database.execute(
                        "INSERT INTO message_definitions(topic_type, encoding, encoded_message_definition, "
                        "type_description_hash) VALUES(?, ?, ?, ?)",
                        (kind, definition.encoding, _content(definition), type_hash),
                    )
                continue
            self._database.execute(_OWN_TABLE)
            for definition, (topics, _) in definitions.items():
                encoding, content = ("", "") if definition is None else (definition.encoding, _content(definition))
                rows = [(number, kind, encoding, content) for number in topics]
                self._database.executemany(f"INSERT INTO {DEFINITIONS} VALUES(?, ?, ?, ?)", rows)
            if kind:
                self.lost.append(
                    f"the {len(definitions)} definitions of {kind}, for other readers: sqlite3 has one a type "
                    f"(this package finds them in the table {DEFINITIONS})"
                )

    def abort(self) -> None:
        self._database.close()


def _content(definition: Definition) -> str | bytes:
    return definition.text if definition.is_text else definition.data


def _signed(number: int | None) -> int | None:
    """Return a number as 64 bits with sign: SQLite has no others."""
    return number if number is None or -(1 << 63) <= number < 1 << 63 else (number + (1 << 63)) % (1 << 64) - (1 << 63)
