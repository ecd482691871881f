"""The report, for a person and for a program."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from perf_inference.doctor.finding import Finding, counted, exit_status, group_of
from perf_inference.printable import printable

_MARKS = {"ok": "ok", "warning": "WARNING", "error": "ERROR", "skipped": "-"}
_MARK_WIDTH, _CHECK_WIDTH = 8, 14
_COMMAND = "$ "


def as_dict(findings: Sequence[Finding], domain: int) -> dict[str, Any]:
    """Return the report for `--json`."""
    summary: dict[str, int] = {"exit_status": exit_status(findings), "domain": domain}
    summary.update({str(level): count for level, count in counted(findings).items()})
    found = [{**asdict(finding), "mend": finding.fix} for finding in findings]  # its name in scripts
    return {"findings": found, "summary": summary}


def lines(findings: Sequence[Finding], width: int = 80) -> Iterator[str]:
    """Yield the report, printable; only commands, which are to be copied, may be wider than `width`."""
    yield from map(printable, _lines(findings, width))


def _lines(findings: Sequence[Finding], width: int) -> Iterator[str]:
    group = ""
    for finding in findings:
        if group_of(finding.check) != group:
            if group:
                yield ""
            group = group_of(finding.check)
            yield group
        yield from _told(finding, width)
    counts = counted(findings)
    warnings, errors = counts["warning"], counts["error"]
    yield ""
    yield (
        f"{counts['ok']} ok, {warnings} warning{'' if warnings == 1 else 's'}, {errors} error"
        f"{'' if errors == 1 else 's'}, {counts['skipped']} not applicable here (-)"
    )


def _told(finding: Finding, width: int) -> Iterator[str]:
    begin = f"  {_MARKS[finding.level]:<{_MARK_WIDTH}}{finding.check:<{_CHECK_WIDTH}}"
    yield from _wrapped(finding.value, begin, " " * len(begin), width)
    indent = " " * (2 + _MARK_WIDTH)
    if finding.why:
        yield from _wrapped(finding.why, f"{indent}why:  ", f"{indent}      ", width)
    label = "fix: "
    for line in finding.fix.splitlines():
        if line.startswith(_COMMAND):
            yield f"{indent}{label}{line}"
        else:
            yield from _wrapped(line, f"{indent}{label}", f"{indent}      ", width)
        label = "      "


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
