"""What a run of a variant costs in energy: loops of ten seconds, the machine's idle power subtracted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from perf_inference.bench.ladder.judge import BASELINE
from perf_inference.bench.ladder.measure import Cell, Results
from perf_inference.errors import PerfInferenceError

LOOP_S = 10.0
_MOST = 4  # variants, where not all are asked for: the baseline, and the fastest others


class Energy(NamedTuple):
    """Of one cell, over its loop."""

    variant: str
    scenario: str
    runs: int
    power_w: float | None  # of the machine, over the loop; None: no reading came
    above_idle_w: float | None
    per_run_j: float | None  # without the idle share


def most(full: bool) -> int | float:
    """Return of how many variants the energy is measured at most."""
    return math.inf if full else _MOST


def measure_energy(
    results: Results, window: Callable[[int, int], Any], idle_w: float, shapes: Sequence[tuple[str, tuple[int, ...]]],
    full: bool, loop_s: float = LOOP_S,
) -> Iterator[Energy]:  # fmt: skip
    """Loop the cells of the first scenario, one after another; yields after each.

    Args:
        window: (begin [ns], end [ns]) -> a summary of the machine with `power_w`.
        idle_w: of the machine before.
    """
    for cell in _chosen(results, full):
        engine = cell.loaded.engine
        if engine is None:
            continue
        inputs, runs = cell.loaded.inputs(cell.batch, cell.samples, shapes), 0
        begin_ns = time.monotonic_ns()
        try:
            while time.monotonic_ns() - begin_ns < loop_s * 1e9:
                for _ in range(cell.calls):
                    engine.infer(inputs)
                runs += 1
        except (PerfInferenceError, MemoryError):  # it is among what the cells say
            continue
        end_ns = time.monotonic_ns()
        power_w = window(begin_ns, end_ns).power_w
        above_w = None if power_w is None else power_w - idle_w
        per_run_j = None if above_w is None else above_w * (end_ns - begin_ns) / 1e9 / runs
        yield Energy(cell.variant, cell.scenario, runs, power_w, above_w, per_run_j)


def _chosen(results: Results, full: bool) -> list[Cell]:
    """Return the first scenario's cells: all, or the baseline's and the fastest."""
    cells = [cell for cell, taken in results.cells.items() if taken.latencies_ns and not taken.why]
    cells = [cell for cell in cells if cell.scenario == cells[0].scenario]

    def pace(cell: Cell) -> tuple[bool, int]:
        values = sorted(results.cells[cell].latencies_ns)
        return cell.variant != BASELINE, values[len(values) // 2]

    chosen = sorted(cells, key=pace)
    return chosen if full else chosen[:_MOST]
