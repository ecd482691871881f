"""Reports of the benchmarks that print their own tables: what they print, and the raw samples that they hand over."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, redirect_stdout
from typing import Any

from perf_inference.bench.results.machine import MachineTrack
from perf_inference.bench.results.outputs import Outputs, add_output_arguments
from perf_inference.report.document import Document, Histograms, Part, Printed, Table, summary_header, summary_row

_kept: list[tuple[str, list[float], str]] | None = None  # series, values, unit; None: nobody wants them
_told: dict[str, Any] = {}  # of the result


def keep(series: str, values: Iterable[float], unit: str = "ms") -> None:
    """Hand over raw samples for the report, where one was asked for."""
    if _kept is not None:
        _kept.append((series, [float(value) for value in values], unit))


def tell(**figures: Any) -> None:
    """Hand over what goes into the result's record as it is."""
    _told.update(figures)


def standalone(
    bench: str, add_arguments: Callable[[argparse.ArgumentParser], None], run: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None, description: str | None,
) -> int:  # fmt: skip
    """Run such a benchmark as `python -m perf_inference.bench.NAME`."""
    parser = argparse.ArgumentParser(prog=f"python -m perf_inference.bench.{bench}", description=description)
    add_arguments(parser)
    add_missing_arguments(parser)
    return with_report(bench, run, parser.parse_args(arguments))


def add_missing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of the report's flags that a benchmark does not have of its own."""
    known = set(parser._option_string_actions)
    with_all = argparse.ArgumentParser(add_help=False)
    add_output_arguments(with_all)
    for action in with_all._actions:
        if not known & set(action.option_strings):
            parser._add_action(action)


def with_report(bench: str, run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a benchmark that prints its own tables, and write the report that was asked for."""
    global _kept
    if not (options.html or options.markdown or options.json):
        return run(options)
    with closing(MachineTrack()) as track:
        outputs = Outputs(bench, options, track.described)
        _kept = []
        _told.clear()
        printed = _Tee()
        try:
            with redirect_stdout(printed):
                status = run(options)
        finally:
            kept, _kept = _kept or [], None
            for number, (series, values, unit) in enumerate(kept):
                outputs.samples(series, values, unit, number)
            lines = printed.getvalue().splitlines()
            verdict = next((line for line in reversed(lines) if line.strip()), "nothing was printed")
            outputs.result(verdict=verdict, **_told)
            outputs.write(_document(bench, verdict, lines, kept, track))
    return status


def _document(
    bench: str, verdict: str, lines: list[str], kept: list[tuple[str, list[float], str]], track: MachineTrack
) -> Document:
    parts: list[Part] = [Printed("What was printed", lines)]
    for unit in dict.fromkeys(unit for _, _, unit in kept):
        series: dict[str, list[float]] = {}
        for name, values, of in kept:
            if of == unit:
                series.setdefault(name, []).extend(values)
        rows = [(name, *summary_row(values)) for name, values in series.items()]
        parts.append(Table(f"Samples [{unit}]", ("", *summary_header(unit)), rows, track.clock_text()))
        parts.append(Histograms(f"Distributions [{unit}]", series, unit))
    return Document(f"bench {bench}", verdict, [*parts, *track.parts()])


class _Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def __init__(self) -> None:
        super().__init__()
        self._terminal = sys.stdout

    def write(self, text: str) -> int:
        self._terminal.write(text)
        return super().write(text)

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()
