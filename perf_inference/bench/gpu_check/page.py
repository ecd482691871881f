"""The results as one page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources

from perf_inference.bench.gpu_check.section import SECTIONS, Result, Section, Table


def page(results: Sequence[Result], head: str) -> str:
    """Return the page; `head` says where and when."""
    counted = Counter(result.status for result in results)
    words = ", ".join(f"{counted[status]} {status}" for status in ("ok", "wrong", "failed", "skipped"))
    lines = ["# What was seen on a GPU", "", f"{head} Checks: {words}.", ""]
    for section in SECTIONS:
        own = [result for result in results if result.section == section.name]
        if own:
            lines += _section(section, own)
    lines += ["## On a Jetson, by hand", "", jetson_checks()]
    return "\n".join(lines).rstrip() + "\n"


def jetson_checks() -> str:
    """Return the checks that want a Jetson and a hand."""
    return resources.files(__package__).joinpath("jetson_by_hand.md").read_text(encoding="utf-8")


def _section(section: Section, results: Sequence[Result]) -> Iterator[str]:
    yield from (f"## {section.title}", "", "| check | result | what was seen |", "|---|---|---|")
    yield from (f"| {result.check} | {result.status} | {_cell(result.said)} |" for result in results)
    yield ""
    for result in results:
        if result.table is not None:
            yield from (f"`{result.check}`:", "", *_table(result.table), "")
        if result.text:
            yield from (f"`{result.check}`:", "", "```", result.text.strip(), "```", "")


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(map(_cell, table.head))} |"
    yield f"|{'---|' * len(table.head)}"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in table.rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
