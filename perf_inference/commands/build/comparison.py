"""The table of `perf-inference build --compare`: every precision of a model, and of its pruned self, side by side."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from perf_inference import engines, model_build
from perf_inference.commands.whole_table import console_of, print_whole, significant
from perf_inference.demo.model_score import Inputs, Score, inputs_of, score_of
from perf_inference.engines import Options
from perf_inference.engines.engine import PRECISIONS
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.files.whole import write_whole
from perf_inference.model_build.converters.calibration import NONE
from perf_inference.model_build.preparation import prepare
from perf_inference.model_build.recipe import Recipe
from perf_inference.model_build.trial.trial import Trial, try_out
from perf_inference.printable import printable
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.window import window_text

RUNS = 200  # timed, of each: enough for p90
_SAMPLE_S = 0.2  # of the clock
_WIDTH = 150  # of the table, where it does not go to a terminal


@dataclass(frozen=True)
class Row:
    """One model in one precision."""

    model: str
    precision: str
    trial: Trial | None  # None: it cannot run
    score: Score | None
    reason: str = ""  # why it cannot run
    clock: str = ""  # of the machine meanwhile


def compare(
    models: Sequence[str], runtime: str, options: Options, recipe: Recipe, scenes: int, out: Path | None
) -> None:
    """Print the table, and write it as JSON on request; the models are the original and, if there is one, the pruned.

    Raises:
        ConfigError: not even the original in fp32 can run.
    """
    console = console_of(_WIDTH)
    example = _example(models[0], runtime, options)
    sampler = MachineSampler(period_s=_SAMPLE_S)
    sampler.start()
    rows, busy = [], _busy()
    for model in models:
        for name, wanted, how in _precisions(options, recipe):
            with console.status(Text(printable(f"{model} in {name}"))):
                row = _row(model, models[0], runtime, wanted, how, scenes, example, sampler)
                rows.append(replace(row, precision=name))
    sampler.close()
    if rows[0].trial is None:
        raise ConfigError(rows[0].reason)
    print_whole(console, table(rows))
    for line in notes(rows, busy):
        console.print(Text(printable(line)))
    if out is not None:
        write_whole(out, json.dumps([record(row) for row in rows], indent=1))


def _example(model: str, runtime: str, options: Options) -> Inputs | None:
    """Return one input as the model meets it in the demo; None where it is not of the demo."""
    engine = model_build.load(model, runtime, replace(options, precision="auto"))
    try:
        return next(iter(inputs_of(engine, 1)), None)
    finally:
        engine.close()


def _busy() -> str:
    """Return in words what else the machine has to do: the latencies hold for a machine that does that."""
    waiting, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    much = "; what is measured beside so much else is slower than it need be" if waiting > cores / 2 else ""
    return f"load before it began: {waiting:.1f} on {cores} cores{much}"


def _precisions(options: Options, recipe: Recipe) -> Iterator[tuple[str, Options, Recipe]]:
    """Yield each precision with its name; int8 also as calibrated where there is something to calibrate with."""
    for precision in PRECISIONS:
        yield precision, replace(options, precision=precision), replace(recipe, calibration=NONE)
    if recipe.calibration.inputs:
        yield "int8 calibrated", replace(options, precision="int8"), recipe


def _row(
    model: str,
    original: str,
    runtime: str,
    options: Options,
    recipe: Recipe,
    scenes: int,
    example: Inputs | None,
    sampler: MachineSampler,
) -> Row:
    """Try one precision in a process of its own, then score it in this one."""
    try:
        made = prepare(model, runtime, options, recipe)
        begin_ns = time.monotonic_ns()
        trial = try_out(
            made.model, made.runtime, options, example, timeout_s=600.0, runs=RUNS, reference=original, nice=0
        )
        clock = window_text(sampler.window(begin_ns, time.monotonic_ns()).as_dict())
        engine = engines.load(made.model, made.runtime, options)
        try:
            return Row(model, options.precision, trial, score_of(engine, scenes), clock=clock)
        finally:
            engine.close()
    except PerfInferenceError as error:
        return Row(model, options.precision, None, None, reason=str(error))


def table(rows: Sequence[Row]) -> Table:
    """Return the figures; what cannot run has a dash, and its reason below the table."""
    made = Table(box=box.SIMPLE_HEAD)
    scored = next((row.score for row in rows if row.score), None)
    headings = ("model", "precision", "size [MB]", "of fp32", "memory [MB]", "p50 [ms]", "p90 [ms]", "max [ms]", "n")
    for heading in (*headings, "difference from fp32", *([scored.name] if scored else [])):
        made.add_column(heading, justify="left" if heading in headings[:2] else "right")
    fp32_bytes = rows[0].trial.file_bytes if rows[0].trial else None
    for row in rows:
        made.add_row(Text(printable(row.model)), row.precision, *_figures(row, fp32_bytes, scored is not None))
    return made


def _figures(row: Row, fp32_bytes: int | None, scored: bool) -> list[str]:
    trial = row.trial
    if trial is None:
        return ["-"] * (8 + scored)
    times = trial.infer.summary_ms()
    size = trial.file_bytes
    return [
        "-" if size is None else f"{size / 1e6:.2f}",
        "-" if size is None or not fp32_bytes else f"{100 * size / fp32_bytes:.0f} %",
        f"{trial.memory_bytes / 1e6:.0f}",
        *(significant(times[key]) for key in ("p50", "p90", "max")),
        str(times["n"]),
        trial.difference.text if trial.difference else "-",
        *(["-" if row.score is None else f"{100 * row.score.value:.1f} %"] if scored else []),
    ]


def notes(rows: Sequence[Row], busy: str) -> list[str]:
    """Return what the table's figures rest on, and why some are missing."""
    lines = [f"{row.model} in {row.precision}: {row.reason}" for row in rows if row.reason]
    ran = [row for row in rows if row.trial]
    lines.append(
        "memory: what the runtime and the model add to a fresh process; latency: of one inference there, after its "
        "warm-up; difference: of the outputs for one input (of the task, if it is known), as a share of the largest"
    )
    if score := next((row.score for row in ran if row.score), None):
        lines.append(f"{score.name} on {score.samples} held-out {'episodes' if score.name[0] == 't' else 'scenes'}")
    clocks = sorted({row.clock for row in ran if row.clock})
    return [*lines, *([f"measured with {'; '.join(clocks)}"] if clocks else []), busy]


def record(row: Row) -> dict[str, Any]:
    """Return a row for JSON."""
    flat: dict[str, Any] = {"model": row.model, "precision": row.precision, "reason": row.reason or None}
    if (trial := row.trial) is not None:
        flat |= {
            "runtime": trial.info.runtime,
            "device": trial.info.device,
            "file_bytes": trial.file_bytes,
            "memory_bytes": trial.memory_bytes,
            "peak_bytes": trial.peak_bytes,
            "load_ms": trial.load_ns / 1e6,
            "infer_ms": trial.infer.summary_ms(),
            "infer_ns": list(trial.infer_ns),
            "difference": asdict(trial.difference) if trial.difference else None,
            "score": row.score._asdict() if row.score else None,
            "clock": row.clock,
        }
    return flat
