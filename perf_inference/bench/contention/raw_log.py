"""tegrastats' raw log, cut into that of each model's runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from perf_inference.measure.clocks import CLOCKS

LOG = "tegrastats.log"
Windows = Mapping[str, Sequence[tuple[int, int]]]  # by model: begin and end of its runs [ns, monotonic]


def cut(folder: Path, windows: Windows) -> list[Path]:
    """Write the lines of each model's runs from `tegrastats.log` into `tegrastats_<model>.log`, as they came.

    A line begins with when it came. Where there is no log, or none of a model's lines, no file is written.
    """
    log = folder / LOG
    if not log.is_file():
        return []
    monotonic_ns, system_ns = CLOCKS.pair()
    lines = [(at_ns - (system_ns - monotonic_ns), line) for line in _lines(log) if (at_ns := _at_ns(line)) is not None]
    written = []
    for name, of in windows.items():
        own = [line for at_ns, line in lines if any(begin <= at_ns <= end for begin, end in of)]
        if own:
            written.append(folder / f"tegrastats_{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.log")
            written[-1].write_text("".join(own), encoding="utf-8")
    return written


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)


def _at_ns(line: str) -> int | None:
    try:
        return round(datetime.fromisoformat(line.partition(" ")[0]).timestamp() * 1e9)
    except ValueError:
        return None
