"""A benchmark's report as text: for a terminal, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from perf_inference.printable import folded, printable
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


def terminal(document: Document, width: int | None = None) -> str:
    """Return the report for a terminal; distributions and time lines are in the files.

    Args:
        width: of the terminal [columns]: a wider table goes on below, its first column again, and no figure is cut.
            None: each row is one line, however long.
    """

    def prose(words: str) -> list[str]:
        return folded(printable(words), width)

    lines = prose(document.title)
    for part in document.parts:
        if isinstance(part, Words) and part.lines:
            lines += ["", part.title, *(row for line in part.lines for row in prose(f"  {line}"))]
        elif isinstance(part, Printed) and part.lines and not part.at_length:
            lines += ["", part.title, *(printable(f"  {line}") for line in part.lines)]
        elif isinstance(part, Table) and not part.at_length:
            lines += [
                "",
                part.title,
                *_columns(part.header, part.rows, width),
                *(prose(part.note) if part.note else []),
            ]
    return "\n".join([*lines, "", *prose(document.verdict)])


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


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    whole = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    right = [bool(index) and all(_NUMBER.fullmatch(row[index]) for row in rows) for index in range(len(header))]
    for number, block in enumerate(_blocks(widths, right, width)):
        if number:
            yield ""
        for row in whole:
            cells = (row[i].rjust(widths[i]) if right[i] else row[i].ljust(widths[i]) for i in block)
            yield f"  {'  '.join(cells)}".rstrip()


def _blocks(widths: Sequence[int], right: Sequence[bool], width: int | None) -> list[list[int]]:
    """Return which columns stand beside one another: those that name a row come again where a table goes on."""
    if width is None or sum(widths) + 2 * len(widths) <= width:
        return [list(range(len(widths)))]
    names = list(range(next((i for i, flush in enumerate(right) if flush), 1)))
    while len(names) > 1 and sum(widths[i] + 2 for i in names) > width // 2:
        names.pop()
    blocks = [list(names)]
    for i in range(len(names), len(widths)):
        if len(blocks[-1]) > len(names) and sum(widths[j] + 2 for j in [*blocks[-1], i]) > width:
            blocks.append(list(names))
        blocks[-1].append(i)
    return blocks


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_md(cell) for cell in cells)} |"

    return [line(table.header), line(["---"] * len(table.header)), *map(line, table.rows)] + (
        ["", _md(table.note)] if table.note else []
    )


def _md(words: str) -> str:
    return re.sub(r"([|<>`*_\[\]\\])", r"\\\1", printable(words).replace("\n", " ")) if words != "---" else words
