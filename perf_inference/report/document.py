"""What a benchmark has found, as parts that a terminal, a Markdown file and an HTML page can all show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perf_inference.measure.statistics import MIN_SAMPLES, Distribution

_SCALE = 1e6  # of a value, whole millionths are kept: nanoseconds of a time in ms


@dataclass(frozen=True)
class Words:
    """Sentences."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Printed:
    """Lines whose columns stand below one another."""

    title: str
    lines: Sequence[str]
    at_length: bool = False  # left out on a terminal


@dataclass(frozen=True)
class Table:
    """Rows of plain text; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    at_length: bool = False  # left out on a terminal


@dataclass(frozen=True)
class Histograms:
    """The distribution of each series, above one axis."""

    title: str
    series: Mapping[str, Sequence[float]]
    unit: str = "ms"


@dataclass(frozen=True)
class TimeLines:
    """Values over the time of the benchmark, each series as (times [s], values)."""

    title: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    unit: str = "ms"


Part = Words | Printed | Table | Histograms | TimeLines


@dataclass(frozen=True)
class Document:
    """A benchmark's report: the verdict first."""

    title: str
    verdict: str
    parts: Sequence[Part]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles that this number of samples allows (`measure/statistics.py`), by name."""
    found = Distribution.of(round(value * _SCALE) for value in values)
    known = {f"p{percent:g}": found.percentile_ns(percent) for percent in MIN_SAMPLES}
    return {name: value / _SCALE for name, value in known.items() if value is not None}


def figure(value: float | None) -> str:
    """Return a number with four digits that matter; - where there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def summary_header(unit: str) -> tuple[str, ...]:
    """Return the header of `summary_row`'s cells."""
    return ("n", f"mean {unit}", "sd", "min", "p50", "p90", "p99", "max")


def summary_row(values: Sequence[float]) -> tuple[str, ...]:
    """Return n, mean, sample deviation, smallest, p50, p90, p99 as far as n allows, and largest."""
    n = len(values)
    if not n:
        return ("0", *("-",) * 7)
    mean = sum(values) / n
    deviation = (sum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5 if n > 1 else None
    known = percentiles(values)
    middle = (known.get(name) for name in ("p50", "p90", "p99"))
    return (str(n), *(figure(value) for value in (mean, deviation, min(values), *middle, max(values))))
