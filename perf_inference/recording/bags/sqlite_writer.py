"""Writes a rosbag2 file of the sqlite3 storage, as Jazzy does, but for QoS in numbers, which Humble reads too."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from perf_inference.recording.bags.metadata import embedded_text
from perf_inference.recording.bags.sqlite_file import PUBLICATIONS
from perf_inference.recording.message import BagMessage, Topic
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
_COMMIT_EVERY = 10_000


class SqliteWriter:
    """One `.db3` file. Publication times and sequence numbers are in a table of our own, by the message's id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        self._database = sqlite3.connect(path, isolation_level=None)
        self._topics: dict[tuple[str, str], int] = {}
        self._defined: set[str] = set()
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
        self._topics[topic.name, topic.type] = cursor.lastrowid or 0
        definition = topic.definition
        if definition is not None and topic.type not in self._defined:
            self._defined.add(topic.type)
            self._database.execute(
                "INSERT INTO message_definitions(topic_type, encoding, encoded_message_definition, "
                "type_description_hash) VALUES(?, ?, ?, ?)",
                (topic.type, definition.encoding, definition.text, type_hash),
            )

    def write(self, topic: Topic, message: BagMessage) -> None:
        self._messages += 1
        self._database.execute(
            "INSERT INTO messages VALUES(?, ?, ?, ?)",
            (self._messages, self._topics[topic.name, topic.type], _signed(message.t_ns), message.data),
        )
        if message.publish_ns is not None or message.publish_seq is not None:
            self._database.execute(
                f"INSERT INTO {PUBLICATIONS} VALUES(?, ?, ?)",
                (self._messages, _signed(message.publish_ns), _signed(message.publish_seq)),
            )
        if self._messages % _COMMIT_EVERY == 0:
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")

    def close(self, about: dict[str, Any]) -> None:
        self._database.execute("INSERT INTO schema VALUES(?, ?)", (_SCHEMA_VERSION, about["ros_distro"]))
        self._database.execute(
            "INSERT INTO metadata(metadata_version, metadata) VALUES(?, ?)", (about["version"], embedded_text(about))
        )
        self._database.execute("COMMIT")
        self._database.close()
        with open(self._path, "rb") as stream:
            os.fsync(stream.fileno())

    def abort(self) -> None:
        self._database.close()


def _signed(number: int | None) -> int | None:
    """Return a number as 64 bits with sign: SQLite has no others."""
    return number if number is None or -(1 << 63) <= number < 1 << 63 else (number + (1 << 63)) % (1 << 64) - (1 << 63)
