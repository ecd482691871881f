"""What is compared: the ways to run a model, the scenarios, and the cells that fit into the time."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perf_inference.bench.ladder.judge import BASELINE
from perf_inference.bench.ladder.measure import Cell
from perf_inference.devices import torch_device
from perf_inference.engines import AUTO, RUNTIMES, ArraySpec, Options

if TYPE_CHECKING:
    from perf_inference.bench.ladder.loaded import Loaded

RATE_HZ = 16_000  # of audio
AUDIO_S = {"audio 1 s": (1, 1), "audio 3 s": (1, 3), "audio 10 s": (10, 1)}  # chunks, seconds of each
_CELL_S = 2.0
_LEAST_SAMPLES = 4000  # a free axis behind the batch of a two-axis float input is audio; a fixed one from here on


@dataclass(frozen=True)
class Variant:
    """One way to run the model."""

    name: str
    runtime: str
    options: Options
    why_not: str = ""  # it cannot run here


@dataclass(frozen=True)
class Scenario:
    """One kind of work: a batch, or chunks of audio."""

    name: str
    batch: int  # of one call, where the variant takes it at once
    calls: int  # where it does not
    samples: int = 0  # of audio in each chunk


def variants_of(model: str, options: argparse.Namespace) -> list[Variant]:
    """Return the baseline (as the file is) first, then every runtime, precision and way of compiling; those that cannot
    run here with the reason."""
    base = Options(precision=options.precision, device=options.device, threads=options.threads)
    found = [Variant(BASELINE, options.runtime, base)]
    for runtime in RUNTIMES.values():
        if runtime.name == "remote":
            continue
        why = ""
        if not runtime.installed:
            why = f"{runtime.library} is not installed: {runtime.install}"
        elif runtime.takes_minutes and not options.full:
            why = "takes minutes to build: --full"
        for precision in runtime.precisions:
            how = replace(base, precision=precision)
            found.append(Variant(f"{runtime.name} {precision}", runtime.name, how, why))
            if runtime.name == "torch" and precision == "fp32":
                compiled = "takes up to a minute to compile: --full" if not options.full else ""
                found.append(Variant("torch fp32 compiled", "torch", replace(how, compile=True), why or compiled))
                if options.device != "cpu" and torch_device.installed_with_cuda() and torch_device.count():
                    found.append(Variant("torch fp32, no CUDA graph", "torch", replace(how, cuda_graph=False), why))
        if runtime.name == "onnx" and options.threads != 1:
            how = replace(base, precision="fp32", threads=1)
            found.append(Variant("onnx fp32, 1 thread", "onnx", how, why))
    return found


def scenarios_of(inputs: Sequence[ArraySpec], batches: Sequence[int], options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios of a model with these inputs."""
    if options.shape:
        return [Scenario("as --shape says", 1, 1)]
    if is_audio(inputs):
        return [Scenario(name, chunks, chunks, seconds * RATE_HZ) for name, (chunks, seconds) in AUDIO_S.items()]
    free = all(spec.shape and spec.shape[0] is None for spec in inputs)
    return [Scenario(f"batch {batch}", batch, batch) for batch in (batches if free else (1,))]


def is_audio(inputs: Sequence[ArraySpec]) -> bool:
    """Return whether the only input is a batch of waveforms."""
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].dtype.kind != "f":
        return False
    length = inputs[0].shape[1]
    return length is None or length >= _LEAST_SAMPLES


def fit(
    loaded: Sequence[Loaded], scenarios: Sequence[Scenario], runs: int, budget_s: float, full: bool
) -> tuple[list[Cell], list[str], float]:
    """Return the cells that fit into the budget, the names of those that do not, and what the former take [s].

    The baseline of every scenario is always among them, for all others are compared with it; then the quickest.
    """
    expected = {cell: max(_CELL_S, runs * call_s) for cell, call_s in _cells(loaded, scenarios)}
    chosen: set[Cell] = set()
    expected_s = 0.0
    for cell in sorted(expected, key=lambda cell: (cell.variant != BASELINE, expected[cell])):
        if cell.variant == BASELINE or full or expected_s + expected[cell] <= budget_s:
            chosen.add(cell)
            expected_s += expected[cell]
    return [cell for cell in expected if cell in chosen], [c.name for c in expected if c not in chosen], expected_s


def _cells(loaded: Sequence[Loaded], scenarios: Sequence[Scenario]) -> Iterator[tuple[Cell, float]]:
    """Yield the cells, those of the first scenario first, each with an estimate [s]."""
    for scenario in scenarios:
        for one in loaded:
            if one.engine is None:
                continue
            if scenario.calls == 1:
                yield Cell(one.variant.name, scenario.name, one, 1, 1, scenario.samples), one.call_s
                continue
            yield Cell(one.variant.name, scenario.name, one, 1, scenario.calls, scenario.samples), (
                scenario.calls * one.call_s
            )  # fmt: skip
            if all(spec.shape[0] is None for spec in one.engine.inputs):
                name = f"{one.variant.name}, batched"
                yield Cell(name, scenario.name, one, scenario.batch, 1, scenario.samples), scenario.batch * one.call_s


__all__ = ["AUTO", "Scenario", "Variant", "fit", "is_audio", "scenarios_of", "variants_of"]
