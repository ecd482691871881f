"""Conversions between image messages and BGR arrays: `python -m perf_inference.bench.images`.

Each row has the conversion here beside cv_bridge's way (`nodes/bench/bridge_way.py`: its steps and copies, the same
pixels), taken in turns. `padded` has 64 bytes behind each row of pixels; `serialized` begins with the bytes that the
middleware delivers, and `annotated` is an image to be drawn to, put into a message.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from perf_inference.bench.results.printed import keep
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import positive

SIZES = ((640, 480), (1920, 1080))


def measured_ms(row: Any, times: int) -> tuple[list[float], list[float]]:
    """Return what each call took [ms], here and cv_bridge's way, in turns after two calls of each."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(times + 2):
        for call, into in zip((row.here, row.bridge), taken, strict=True):
            start = time.perf_counter_ns()
            call()
            if turn > 1:
                into.append((time.perf_counter_ns() - start) / 1e6)
    return taken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--times", type=positive, default=100, help="how often each conversion is done (default: 100)")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from perf_inference.nodes.bench.bridge_way import rows

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.times} times each, in turns; [ms]")
    print(f"{'':<34}{'here':>16}{'cv_bridge':>18}{'':>8}")
    print(f"{'':<34}{'p50':>8}{'p90':>8}{'p50':>10}{'p90':>8}{'ratio':>8}")
    for width, height in SIZES:
        for row in rows(width, height):
            taken_ms = measured_ms(row, options.times)
            for who, taken in zip(("here", "cv_bridge"), taken_ms, strict=True):
                keep(f"{width}x{height} {row.name}, {who}", taken)
            ours, theirs = map(_percentiles, taken_ms)
            ratio = f"{theirs[0] / ours[0]:.1f}" if ours[0] and theirs[0] else "-"
            print(f"{f'{width}x{height} {row.name}':<34}{_number(ours[0]):>8}{_number(ours[1]):>8}"
                  f"{_number(theirs[0]):>10}{_number(theirs[1]):>8}{ratio:>8}")  # fmt: skip
    return 0


def _percentiles(taken_ms: Sequence[float]) -> tuple[float | None, float | None]:
    summary = Distribution.of(round(ms * 1e6) for ms in taken_ms).summary_ms()
    return summary["p50"], summary["p90"]


def _number(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"{value_ms:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Conversions of image messages, beside cv_bridge's way.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
