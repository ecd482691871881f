"""A benchmark's report as text: for a terminal, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from perf_inference.printable import printable
from perf_inference.report.document import (
    Document,
    Histograms,
    Printed,
    Table,
    TimeLines,
    Words,
    figure,
    summary_header,
    summary_row,
)

_NUMBER = re.compile(r"[-+<>=~]*[0-9].*|-|")


def terminal(document: Document) -> str:
    """Return the report for a terminal; distributions and time lines are in the files."""
    lines = [document.title]
    for part in document.parts:
        if isinstance(part, Words) or (isinstance(part, Printed) and not part.at_length):
            lines += ["", part.title, *(f"  {line}" for line in part.lines)] if part.lines else []
        elif isinstance(part, Table) and not part.at_length:
            lines += ["", part.title, *_columns(part.header, part.rows), *([part.note] if part.note else [])]
    return "\n".join(printable(line) for line in [*lines, "", document.verdict])


def markdown(document: Document, by: str) -> str:
    """Return the report as Markdown; a distribution is the table of its figures."""
    lines = [f"# {_md(document.title)}", "", f"**{_md(document.verdict)}**"]
    for part in document.parts:
        lines += ["", f"## {_md(part.title)}", ""]
        if isinstance(part, Words):
            lines += [f"- {_md(line)}" for line in part.lines]
        elif isinstance(part, Printed):
            lines += [f"    {printable(line)}".rstrip() for line in part.lines]
        else:
            lines += _markdown_table(_as_table(part))
    return "\n".join([*lines, "", f"Made by `{printable(by)}`.", ""])


def _as_table(part: Table | Histograms | TimeLines) -> Table:
    if isinstance(part, Table):
        return part
    if isinstance(part, Histograms):
        rows = [(name, *summary_row(values)) for name, values in part.series.items()]
        return Table(part.title, ("", *summary_header(part.unit)), rows)
    rows = [
        (name, str(len(values)), figure(min(values)), figure(sum(values) / len(values)), figure(max(values)))
        for name, (_, values) in part.series.items()
        if len(values)
    ]
    return Table(part.title, ("", "n", f"min {part.unit}", "mean", "max"), rows)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    whole = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    right = [bool(index) and all(_NUMBER.fullmatch(row[index]) for row in rows) for index in range(len(header))]
    for row in whole:
        cells = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        yield f"  {'  '.join(cells)}".rstrip()


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_md(cell) for cell in cells)} |"

    return [line(table.header), line(["---"] * len(table.header)), *map(line, table.rows)] + (
        ["", _md(table.note)] if table.note else []
    )


def _md(words: str) -> str:
    return re.sub(r"([|<>`*_\[\]\\])", r"\\\1", printable(words).replace("\n", " ")) if words != "---" else words
