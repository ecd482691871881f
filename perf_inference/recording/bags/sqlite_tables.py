"""What the tables of a rosbag2 file of the sqlite3 storage say, but for the messages."""

from __future__ import annotations

import sqlite3
from typing import Any

from perf_inference.recording.bags.metadata import embedded_about
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.message import About, Topic
from perf_inference.recording.qos import parse_qos

PUBLICATIONS = "perf_inference_publications"
"""Our own table: what rosbag2's messages have no column for."""
DEFINITIONS = "perf_inference_definitions"
"""Our own: the definitions of topics whose type has several, of which rosbag2 has one."""


def topics(database: sqlite3.Connection) -> dict[int, Topic]:
    """Return the topics by their ids; of a damaged file without counts."""
    there = columns(database, "topics")
    qos, hashes = (
        name if name in there else "''" for name in ("offered_qos_profiles", "type_description_hash")
    )  # since Foxy, since Iron
    rows = database.execute(f"SELECT id, name, type, serialization_format, {qos}, {hashes} FROM topics ORDER BY id")
    counts, by_type, by_topic = _counts(database), _definitions(database), _own_definitions(database)
    found = {}
    for key, name, kind, encoding, profiles, type_hash in ((row[0], *map(_text, row[1:])) for row in rows):
        of_type = by_type.get(kind, {})
        only = next(iter(set(of_type.values()))) if len(set(of_type.values())) == 1 else None
        definition = by_topic[key] if key in by_topic else of_type.get(type_hash, only)
        qos_ = parse_qos(profiles)
        found[key] = Topic(name, kind, counts.get(key, 0), encoding, qos_, type_hash or None, definition)
    return found


def columns(database: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns; none: it is not there."""
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _counts(database: sqlite3.Connection) -> dict[int, int]:
    try:
        rows = database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id")
        return {key: count for key, count in rows if type(key) is int}
    except sqlite3.Error:  # damaged: the reader counts around it
        database.execute("SELECT topic_id FROM messages LIMIT 0")
        return {}


def _definitions(database: sqlite3.Connection) -> dict[str, dict[str, Definition]]:
    """Return the definitions of each type, by its hash: a type may have several."""
    there = columns(database, "message_definitions")
    if not there:
        return {}
    hashes = "type_description_hash" if "type_description_hash" in there else "''"
    rows = database.execute(
        f"SELECT topic_type, {hashes}, encoding, encoded_message_definition FROM message_definitions"
    )
    found: dict[str, dict[str, Definition]] = {}
    for kind, type_hash, encoding, content in rows:
        if (definition := _definition(_text(kind), _text(encoding), content)) is not None:
            of_type = found.setdefault(definition.type, {})
            name = _text(type_hash)
            while of_type.get(name, definition) != definition:  # without hashes: nobody knows which is whose
                name += " again"
            of_type[name] = definition
    return found


def _own_definitions(database: sqlite3.Connection) -> dict[Any, Definition | None]:
    """Return the definitions of topics whose type has several."""
    if not columns(database, DEFINITIONS):
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


def about(database: sqlite3.Connection) -> About:
    """Return what the file says of its recording."""
    if "metadata" not in columns(database, "metadata"):
        return About()
    row = database.execute("SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1").fetchone()
    return About() if row is None else embedded_about(_text(row[0]))


def _text(value: Any) -> str:
    """Return what should be a text: SQLite lets every column hold every type."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def start_ns(database: sqlite3.Connection) -> int:
    """Return the first log time; 0: none, or it is not known."""
    try:
        first = database.execute("SELECT min(timestamp) FROM messages").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0
    return first if type(first) is int else 0
