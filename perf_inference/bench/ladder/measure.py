"""Cells (a variant on a scenario), measured in slices whose order changes from round to round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import PerfInferenceError
from perf_inference.measure.warmup import WarmUp

if TYPE_CHECKING:
    from perf_inference.bench.ladder.loaded import Loaded

_ROUNDS, _CELL_S, _SEED = 5, 2.0, 7


@dataclass(frozen=True, eq=False)
class Cell:
    """One variant on one scenario: so many calls of so large a batch."""

    variant: str
    scenario: str
    loaded: Loaded
    batch: int
    calls: int
    samples: int

    @property
    def name(self) -> str:
        return f"{self.variant}: {self.scenario}"


@dataclass
class Taken:
    """What a cell has given."""

    latencies_ns: list[int] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)  # each run's
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict)  # of all calls, behind one another
    why: str = ""  # it ended early


@dataclass
class Results:
    """All cells, in the order of the plan."""

    cells: dict[Cell, Taken] = field(default_factory=dict)


def measure(
    cells: Sequence[Cell], runs: int, results: Results, show: Callable[[int, Cell], None] = lambda done, cell: None,
    shapes: Sequence[tuple[str, tuple[int, ...]]] = (), cell_s: float = _CELL_S,
) -> None:  # fmt: skip
    """Measure all cells: a warm-up until it is steady (three runs at least), then slices, at least `runs` runs."""
    begin_s = time.monotonic()
    order = random.Random(_SEED)
    inputs: dict[Cell, Any] = {}
    try:
        for number in range(_ROUNDS):
            for index, cell in enumerate(order.sample(list(cells), len(cells))):
                show(round((number * len(cells) + index) / _ROUNDS), cell)
                taken = results.cells.setdefault(cell, Taken())
                if taken.why:
                    continue
                try:
                    if cell not in inputs:
                        inputs[cell] = cell.loaded.inputs(cell.batch, cell.samples, shapes)
                        taken.outputs = _first(cell, inputs[cell])
                    _slice(cell, inputs[cell], taken, -(-runs // _ROUNDS), cell_s / _ROUNDS, begin_s)
                    taken.rounds += [number] * (len(taken.latencies_ns) - len(taken.rounds))
                except (PerfInferenceError, MemoryError) as error:
                    taken.why = str(error) or "out of memory"
    finally:  # they were measured in another order
        results.cells = {cell: results.cells[cell] for cell in cells if cell in results.cells}


def _first(cell: Cell, inputs: Any) -> dict[str, NDArray[Any]]:
    """Warm up, and return the outputs."""
    engine = cell.loaded.engine
    assert engine is not None
    warm = WarmUp()
    outputs: dict[str, NDArray[Any]] = {}
    while not warm.over:
        start_ns = time.monotonic_ns()
        outputs = {name: np.array(array) for name, array in engine.infer(inputs).items()}
        warm.mark(time.monotonic_ns() - start_ns)
    return outputs


def _slice(cell: Cell, inputs: Any, taken: Taken, least: int, seconds: float, begin_s: float) -> None:
    engine = cell.loaded.engine
    assert engine is not None
    until_s = time.monotonic() + seconds
    engine.infer(inputs)  # another engine had the caches
    done = 0
    while done < least or time.monotonic() < until_s:
        start_ns = time.monotonic_ns()
        for _ in range(cell.calls):
            engine.infer(inputs)
        taken.latencies_ns.append(time.monotonic_ns() - start_ns)
        taken.at_s.append(start_ns / 1e9 - begin_s)
        done += 1
