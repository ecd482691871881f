"""Mutations: of bytes, of values, and of what has a structure of its own."""

from __future__ import annotations

import random
import sqlite3
import struct
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import orjson
import yaml
import zstandard

from perf_inference.recording.jsonl.line import sealed

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 127, 255, 65535, -32769, 2**31 - 1, -(2**31), 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 10**18,
    0.5, -0.0, 1e308, -1e308, 1e-320, 9e12, 1e15,
)  # fmt: skip
TEXTS = (
    "", "²", "0", "null", "nan", "inf", "-inf", "1e400", "1e308", "../../x", "/", "a" * 300, "\x1b[31m", "\u202e",
    "\0", "ü" * 50, "{}", "%s", "9" * 5000, "cuda:²", "1_000:60", "2001-99-99", "True", "topics_²", "\U0001f600",
)  # fmt: skip
YAML_BITS = (
    "&a [*a]", "*nowhere", "!!python/object/apply:os.system [echo]", "!!binary '//'", "2001-99-99", "1_000:60", "1e400",
    "1.0e+999", ".nan", "-.inf", "0x" + "f" * 900, "9" * 5000, "<<: {a: 1}", "? [a]\n: b", "!!int x", "!!float ''", "=",
    "!!timestamp 9999-99-99", "[" * 200, "{a: " * 200, "- " * 300, "%YAML 9.9", "--- 1\n--- 2", "\t", "'", '"\\x',
    "|\n x", "&a a: *a", "!!set {a}", "!!omap [a: 1]", "0o8", "0b", "190:20:30.15", "\x00", "\x85", "\ufeff",
    "? ", ": ", "- - -",
)  # fmt: skip
BLOCKS = (
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"{",
    b'"',
    b"\xff\xd9",
    b"\x28\xb5\x2f\xfd",
    b"\x89MCAP0\r\n",
    b"IEND",
    b"\0" * 64,
)


def mutated(chance: random.Random, data: bytes, other: bytes = b"") -> bytes:
    """Return the bytes after one to eight changes."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _change(chance, made, other or data)
    return bytes(made)


def _change(chance: random.Random, made: bytearray, other: bytes) -> None:
    size = len(made)
    at = chance.randrange(size + 1)
    length = min(chance.choice((1, 2, 4, 8, 32, 300, size)), size - at)
    kind = chance.randrange(9)
    if kind == 0 and size:
        for _ in range(chance.choice((1, 1, 2, 8, 30))):
            made[chance.randrange(size)] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del made[at:]
    elif kind == 2:
        del made[at : at + length]
    elif kind == 3:
        made[at:at] = made[at : at + length] * chance.choice((1, 2, 20))
    elif kind == 4:
        start = chance.randrange(len(other) + 1)
        made[at : at + length] = other[start : start + length]
    elif kind == 5:
        made[at : at + length] = bytes((chance.choice((0, 255, 32, 48)),)) * length
    elif kind == 6:
        made[at:at] = chance.choice(BLOCKS) or chance.randbytes(chance.randrange(64))
    elif kind == 7:
        _overwrite_number(chance, made, at)
    else:
        made[at : at + length] = chance.randbytes(length)


def _overwrite_number(chance: random.Random, made: bytearray, at: int) -> None:
    """Overwrite what may be a length."""
    bits = chance.choice((8, 16, 32, 64))
    value = chance.choice((0, 1, (1 << bits) - 1, 1 << (bits - 1), len(made), len(made) * 2, 1 << (bits // 2)))
    order = chance.choice(("little", "big"))
    made[at : at + bits // 8] = (value & ((1 << bits) - 1)).to_bytes(bits // 8, order)  # type: ignore[arg-type]


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return any value that JSON has."""
    kind = chance.randrange(8 if depth < 3 else 6)
    if kind < 2:
        return chance.choice(NUMBERS)
    if kind < 4:
        return chance.choice(TEXTS)
    if kind == 4:
        return chance.choice((None, True, False))
    if kind == 5:
        return chance.choice(([], {}))
    if kind == 6:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(TEXTS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def changed(chance: random.Random, content: Any) -> Any:
    """Return the same nest of lists and mappings with one place in it changed; the argument is changed too."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            walk(node[key])

    walk(content)
    if not places or chance.random() < 0.03:
        return value(chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        node, key = chance.choice(places)
        with suppress(KeyError, IndexError):
            _change_place(chance, node, key, places)
    return content


def _change_place(chance: random.Random, node: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
    kind = chance.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, there = chance.choice(places)
        node[key] = orjson.loads(orjson.dumps(other[there], option=orjson.OPT_NON_STR_KEYS))
    elif kind == 2 and isinstance(node, dict):
        node[chance.choice(TEXTS)] = node.pop(key)
    else:
        node[key] = value(chance)


def json_lines(chance: random.Random, text: bytes, seal: bool) -> bytes:
    """Return JSON lines of which some have other values; `seal`: with checksums that fit."""
    lines = text.splitlines(keepends=True)
    for _ in range(chance.choice((1, 2, 5))):
        at = chance.randrange(len(lines))
        with suppress(ValueError, TypeError):
            record = changed(chance, orjson.loads(lines[at]))
            if isinstance(record, dict):
                record.pop("crc", None) if seal else None
                lines[at] = sealed(record) if seal else orjson.dumps(record) + b"\n"
            else:
                lines[at] = orjson.dumps(record) + b"\n"
    if chance.random() < 0.2:
        chance.shuffle(lines)
    return b"".join(lines)


def yaml_text(chance: random.Random, text: str) -> bytes:
    """Return YAML with another value somewhere, or with what only YAML has."""
    kind = chance.randrange(4)
    if kind == 0:
        content = changed(chance, yaml.safe_load(text))
        with suppress(yaml.YAMLError, ValueError):
            return yaml.safe_dump(content, allow_unicode=chance.random() < 0.5).encode()
    if kind == 1:
        lines = text.splitlines()
        at = chance.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        bit = chance.choice(YAML_BITS)
        lines[at] = f"{key}: {bit}" if colon and chance.random() < 0.8 else f"{bit}\n{lines[at]}"
        return "\n".join(lines).encode()
    if kind == 2 and chance.random() < 0.1:
        return laughs(chance.randrange(2, 12), chance.randrange(2, 12)) + text.encode()
    return mutated(chance, text.encode())


def laughs(levels: int, each: int) -> bytes:
    """Return aliases of aliases: each ** levels values when they are followed."""
    rows = [f"l0: &l0 [{', '.join(['x'] * each)}]"]
    rows += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * each)}]" for n in range(1, levels)]
    return "\n".join(rows).encode() + b"\n"


def png(chance: random.Random, data: bytes) -> bytes:
    """Return a PNG with changed, repeated or new chunks, whose checksums fit."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(chance.choice((1, 2, 3))):
        if not chunks:
            break
        at = chance.randrange(len(chunks))
        kind, contents = chunks[at]
        choice = chance.randrange(6)
        if choice == 0:
            sides = [chance.choice((0, 1, 100, 5000, 40_000, 65_535, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
            rest = bytes(
                (chance.choice((1, 2, 4, 8, 16, 3)), chance.choice((0, 2, 3, 4, 6, 7)), 0, 0, chance.randrange(3))
            )
            chunks[0] = b"IHDR", struct.pack(">II", *sides) + rest
        elif choice == 1:
            chunks[at] = kind, mutated(chance, contents)
        elif choice == 2:
            del chunks[at]
        elif choice == 3:
            chunks.insert(at, chance.choice(chunks))
        elif choice == 4:
            extra = chance.choice(
                (b"acTL", b"fcTL", b"fdAT", b"tEXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS", b"IDAT", b"eXIf")
            )
            chunks.insert(at, (extra, chance.choice((chance.randbytes(40), bytes(8), zlib.compress(bytes(1 << 20))))))
        else:
            chunks[at] = chance.choice((b"IHDR", b"IDAT", b"IEND", b"abcd")), contents
    return data[:8] + b"".join(
        struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))
        for kind, contents in chunks
    )


SQL = (
    "UPDATE {table} SET {column} = {value} WHERE rowid % 3 = 0",
    "UPDATE {table} SET {column} = {value}",
    "DELETE FROM {table}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO x",
    "ALTER TABLE {table} RENAME TO other; CREATE VIEW {table} AS SELECT * FROM other",
    "ALTER TABLE {table} RENAME TO other; CREATE VIEW {table} AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL "
    "SELECT x + 1 FROM n) SELECT x AS id, 1 AS topic_id, x AS timestamp, x'00' AS data, '/a' AS name, 'a' AS type, "
    "'cdr' AS serialization_format FROM n",
    "ALTER TABLE {table} RENAME TO other; CREATE VIEW {table} AS SELECT a.* FROM other a, other b, other c, other d",
    "DROP TABLE {table}; CREATE TABLE {table}(id, topic_id, timestamp, name, type, serialization_format, data BLOB AS "
    "(zeroblob(900000000))); INSERT INTO {table}(id, topic_id, timestamp) VALUES(1, 1, 1)",
    "DROP TABLE {table}; CREATE VIRTUAL TABLE {table} USING fts5(id, topic_id, timestamp, data, name, type)",
    "CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM topics; END",
    "INSERT INTO {table}({column}) VALUES({value})",
    "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = {text}",
    "PRAGMA writable_schema=ON; UPDATE sqlite_master SET rootpage = {number}",
    "PRAGMA writable_schema=ON; UPDATE sqlite_master SET type = {text}, name = {text}",
)
COLUMNS = {
    "messages": ("id", "topic_id", "timestamp", "data"),
    "topics": ("id", "name", "type", "serialization_format", "offered_qos_profiles", "type_description_hash"),
    "perf_inference_publications": ("id", "publish_time", "sequence"),
    "message_definitions": ("id", "topic_type", "encoding", "encoded_message_definition"),
}
VALUES = ("NULL", "0", "-1", "1.5", "9e999", "'²'", "'text'", "x'ff00fe'", "9223372036854775807", "-9e18",
          "zeroblob(3000)", "CAST(x'ffc0' AS TEXT)", "'- depth: 1e400'", "1e300")  # fmt: skip


def database(chance: random.Random, path: Path) -> None:
    """Change a .db3 file by SQL: other types in its columns, views, triggers, a false schema."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=OFF")
        for _ in range(chance.choice((1, 1, 2, 3))):
            table = chance.choice(list(COLUMNS))
            words = {
                "table": table,
                "column": chance.choice(COLUMNS[table]),
                "value": chance.choice(VALUES),
                "text": "'"
                + chance.choice((*TEXTS[:9], "CREATE TABLE messages(id)", "table", "view")).replace("\0", "")
                + "'",
                "number": chance.choice((0, 1, 2, 3, 99, -1)),
            }
            with suppress(sqlite3.Error):
                connection.executescript(chance.choice(SQL).format(**words))


def zstd_bomb(megabytes: int, piece: bytes = bytes(1 << 20)) -> bytes:
    """Return what unpacks to so much, without saying how much it is."""
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join([*(packer.compress(piece) for _ in range(megabytes)), packer.flush()])
