"""The report of a ladder."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence

from perf_inference.bench.ladder.energy import LOOP_S, Energy
from perf_inference.bench.ladder.judge import BASELINE, Difference, Row, difference, recommend
from perf_inference.bench.ladder.loaded import Loaded
from perf_inference.bench.ladder.measure import Results
from perf_inference.bench.results.machine import MachineTrack
from perf_inference.demo.model_score import Score
from perf_inference.report.document import (
    Document,
    Histograms,
    Part,
    Printed,
    Table,
    TimeLines,
    Words,
    figure,
    summary_header,
    summary_row,
)


def report(
    options: argparse.Namespace,
    loaded: Sequence[Loaded],
    results: Results,
    left_out: Sequence[str],
    track: MachineTrack,
    idle_w: float | None,
    energies: Sequence[Energy],
    scores: Mapping[str, Score | None],
    stopped: str,
) -> Document:
    """Return the document: table, what drifts, what cannot run, what to take."""
    rows = rows_of(results, options.tolerance)
    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    base = {row.scenario: row for row in rows if row.variant == BASELINE}
    by_name = {one.variant.name: one for one in loaded}
    table = [
        (row.scenario, row.variant, *summary_row(row.values_ms), _speed_up(row, base.get(row.scenario)),
         *_difference_text(row.difference, row.ranked))
        for row in rows
    ]  # fmt: skip
    about = [
        (one.variant.name, *(figure(mb) for mb in one.memory_mb), figure(one.memory_mb[1] - one.memory_mb[0]),
         *_score_texts(scores, one.variant.name))
        for one in loaded if one.engine
    ]  # fmt: skip
    cannot = reasons_of(loaded)
    cannot += [f"{cell.name}: {taken.why}" for cell, taken in results.cells.items() if taken.why]
    best = recommend(rows, scenarios) if scenarios else {}
    taking = [
        (use, row.variant, row.scenario, figure(row.p50_ms), _speed_up(row, base.get(row.scenario)),
         str(len(row.values_ms))) for use, row in best.items()
    ]  # fmt: skip
    power = track.window().power_w
    energy = (
        "energy: no power figure on this machine (NVML, INA and tegrastats were looked for)"
        if power is None else f"power: {power:.1f} W over the benchmark, {figure(idle_w)} W idle before"
    )  # fmt: skip
    parts: list[Part] = [
        Table("All cells", ("scenario", "variant", *summary_header("ms"), "speed-up", "difference", "ranked"), table,
              f"per scenario, not per item; speed-up: median of the baseline over this one's, and its range over the "
              f"rounds; difference: relative to the baseline's largest output, {options.tolerance:g} "
              f"tolerated; {track.clock_text()}"),
        Table("Variants", ("variant", "MB before", "MB after", "MB more", "score", "score's n"), about, energy),
        *_energy(energies, idle_w),
        Words("What cannot run here, and why", cannot),
        Words("Left out for lack of time (--full measures all)", left_out),
        Table("What to take on this machine", ("use", "variant", "scenario", "p50 ms", "speed-up", "n"), taking),
        Printed("As a node's parameters", snippet(options.model, best["short"], by_name) if "short" in best else []),
        Histograms("Distributions", {f"{row.scenario}: {row.variant}": row.values_ms for row in rows}),
        TimeLines("Runs over time", {cell.name: (taken.at_s, [ns / 1e6 for ns in taken.latencies_ns])
                                     for cell, taken in results.cells.items() if cell.scenario == scenarios[0]}),
        *track.parts(),
    ]  # fmt: skip
    return Document(f"ladder: {options.model}", _verdict(best, base, stopped), parts)


def _energy(energies: Sequence[Energy], idle_w: float | None) -> list[Part]:
    rows = [
        (one.scenario, one.variant, str(one.runs), figure(one.power_w), figure(one.above_idle_w), figure(one.per_run_j))
        for one in energies
    ]
    if not rows:
        return []
    note = f"loops of {LOOP_S:g} s, without the {figure(idle_w)} W that the machine took before; n: runs in the loop"
    return [Table("Energy", ("scenario", "variant", "n", "W", "W above idle", "J per run"), rows, note)]


def reasons_of(loaded: Sequence[Loaded]) -> list[str]:
    """Return why variants cannot run: a line for each reason, with all that have it."""
    names: dict[str, list[str]] = {}
    for one in loaded:
        if one.engine is None:
            names.setdefault(one.why, []).append(one.variant.name)
    return [f"{', '.join(those)}: {why}" for why, those in names.items()]


def rows_of(results: Results, tolerance: float) -> list[Row]:
    """Return the rows, in the order of the scenarios; each compared with the baseline of its scenario."""
    outputs = {cell.scenario: taken.outputs for cell, taken in results.cells.items() if cell.variant == BASELINE}
    rows = []
    for cell, taken in results.cells.items():
        base = outputs.get(cell.scenario)
        apart = difference(base, taken.outputs) if base and taken.outputs else None
        ranked = apart is not None and apart.within(tolerance) and not taken.why
        device = cell.loaded.engine.info.device if cell.loaded.engine else ""
        values = [ns / 1e6 for ns in taken.latencies_ns]
        by_round = [statistics.median(of) for of in _by_round(taken.rounds, values)]
        rows.append(Row(cell.variant, cell.scenario, device, values, apart, ranked, by_round))
    order = list(dict.fromkeys(cell.scenario for cell in results.cells))
    return sorted(rows, key=lambda row: (order.index(row.scenario), row.variant != BASELINE, row.variant))


def _by_round(rounds: Sequence[int], values: Sequence[float]) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    for number, value in zip(rounds, values, strict=False):
        found.setdefault(number, []).append(value)
    return list(found.values())


def snippet(model: str, row: Row, by_name: dict[str, Loaded]) -> list[str]:
    """Return the recommendation as lines of a parameters file."""
    variant = by_name[row.variant.removesuffix(", batched")].variant
    how = variant.options
    values = {"model": model, "runtime": variant.runtime, "precision": how.precision, "device": how.device}
    lines = ["/**:", "  ros__parameters:", *(f"    {key}: {value}" for key, value in values.items())]
    return [*lines, f"    threads: {how.threads}"] if how.threads else lines


def _verdict(best: dict[str, Row], base: dict[str, Row], stopped: str) -> str:
    if not best or not base:
        words = "no variant was measured beside the baseline"
    elif best["short"].variant == BASELINE:
        row = best["short"]
        words = f"nothing is faster than the baseline in every round on '{row.scenario}' (n {len(row.values_ms)})"
    else:
        row = best["short"]
        long = best.get("long", row)
        words = (
            f"{row.variant} is {_speed_up(row, base.get(row.scenario))} times as fast as the baseline on "
            f"'{row.scenario}' (n {len(row.values_ms)})"
        )
        if long.scenario != row.scenario:
            words += f", {long.variant} {_speed_up(long, base.get(long.scenario))} times on '{long.scenario}'"
    return f"stopped by {stopped}; {words}" if stopped else words


def _speed_up(row: Row, base: Row | None) -> str:
    if not (base and base.values_ms and row.values_ms):
        return "-"
    each = [others / own for own, others in zip(row.round_ms, base.round_ms, strict=False)]
    apart = f" ({min(each):.2f} to {max(each):.2f})" if each and row is not base else ""
    return f"{base.p50_ms / row.p50_ms:.2f}{apart}"


def _difference_text(apart: Difference | None, ranked: bool) -> tuple[str, str]:
    if apart is None:
        return "-", "no"
    other = "" if apart.same_best else ", another best class"
    return f"{apart.relative:.2g}{other}", "yes" if ranked else "NO: drifts"


def _score_texts(scores: Mapping[str, Score | None], variant: str) -> tuple[str, str]:
    if variant not in scores:
        return "-", "-"
    found = scores[variant]
    return ("no score of this task", "-") if found is None else (f"{found.name} {found.value:.3f}", str(found.samples))
