"""A connection to an SQLite file of anybody's: it is read, and neither its size nor what it defines runs away with us.

A file can define views that never end, columns that are computed, and pages that lead in circles; its journal can name
another file, which SQLite deletes. So: plain tables only, and a budget of steps that follows from the size of the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

_STEPS = 1000  # of SQLite's machine between two looks at the budget
_STEPS_PER_BYTE = 5  # a row of messages has 20 bytes at least, and takes some 30 steps to read, count or sort
_LEAST_STEPS = 2_000_000  # a quarter of a second
_LENGTH = 0  # SQLITE_LIMIT_LENGTH, of one value
_MORE_BYTES = 1 << 20
_SUPER_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"  # at the end of a journal that names another one


class Budget:
    """The steps that the reading of a file may take in all."""

    def __init__(self, size_bytes: int) -> None:
        self.left = max(_LEAST_STEPS, _STEPS_PER_BYTE * size_bytes) // _STEPS

    def spend(self) -> bool:
        """Take a step's share; return whether there is none left, which ends the query."""
        self.left -= 1
        return self.left < 0


def connect(uri: str, size_bytes: int, budget: Budget) -> sqlite3.Connection:
    """Return a connection whose queries end with the budget.

    Raises:
        sqlite3.Error: the file is not one of SQLite's.
    """
    database = sqlite3.connect(uri, uri=True)
    database.set_progress_handler(budget.spend, _STEPS)
    database.execute("PRAGMA writable_schema=ON")  # else a file that was cut off is not opened; nothing is written
    database.execute("PRAGMA trusted_schema=OFF")
    if hasattr(database, "setlimit"):  # Python 3.11
        database.setlimit(_LENGTH, size_bytes + _MORE_BYTES)
    database.text_factory = lambda text: text.decode(errors="replace")
    return database


def check_tables(database: sqlite3.Connection, names: Sequence[str]) -> None:
    """Accept tables that are there and hold what they say.

    Raises:
        sqlite3.Error: one is a view, a module's, or has computed columns.
    """
    for name in names:
        rows = database.execute("SELECT type, sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (name,)).fetchall()
        kinds = [(str(kind), str(sql).upper().split()[:2]) for kind, sql in rows if kind != "index"]
        if kinds and kinds != [("table", ["CREATE", "TABLE"])]:
            raise sqlite3.DatabaseError(f"{name} must be a plain table")
        if any(row[6] for row in database.execute(f"PRAGMA table_xinfo({name})")):
            raise sqlite3.DatabaseError(f"{name} must have no computed columns")


def check_journal(path: Path) -> None:
    """Accept a journal of one file alone.

    Raises:
        sqlite3.Error: it names another journal, which SQLite would delete after it.
    """
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) >= len(_SUPER_JOURNAL):
            file.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
            if file.read() == _SUPER_JOURNAL:
                raise sqlite3.DatabaseError("its journal belongs to several databases")
