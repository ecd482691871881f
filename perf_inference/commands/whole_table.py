"""Tables whose figures are never cut: side by side where there is room for all of them, else row by row."""

from __future__ import annotations

import os
import textwrap
from math import floor, log10
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_INDENT = "  "


def console_of(width: int) -> Console:
    """Return the standard output: as wide as the terminal, or as COLUMNS says; in a pipe of this width."""
    console = Console()
    return console if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal() else Console(width=width)


def print_whole(console: Console, table: Table) -> None:
    """Print a table, each cell of it in full."""
    needed = Measurement.get(console, console.options.update(width=10_000), table).maximum
    if needed <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title if isinstance(table.title, Text) else Text(str(table.title)))
    headers = [_plain(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = map(_plain, row)
        pairs = [f"{header} {value}".strip() for header, value in zip(headers[1:], others, strict=True) if value]
        console.print(Text(f"{headers[0]} {first}".strip()), soft_wrap=True)
        for line in _packed(pairs, console.width - len(_INDENT)):
            console.print(Text(_INDENT + line), soft_wrap=True)


def significant(value: Any, digits: int = 3) -> str:
    """Return a number with so many digits that count, and without an exponent; a dash for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    size = floor(log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits - 1 - size, 0), 9)}f}"


def _packed(pairs: list[str], width: int) -> list[str]:
    """Return lines of whole pairs; one that is longer than a line is broken at its words."""
    lines: list[str] = []
    for pair in pairs:
        if lines and len(lines[-1]) + 2 + len(pair) <= width:
            lines[-1] += f", {pair}"
        else:
            lines += textwrap.wrap(pair, width, break_long_words=False, break_on_hyphens=False)
    return lines


def _plain(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
