"""Latency after idle pauses: `perf-inference bench gap MODEL`.

A policy at 10 Hz never runs hot: between two inferences its device falls asleep, lowers its clock and loses its caches.
A benchmark in a tight loop does not show that.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from perf_inference.bench.gap.measure import GAPS_S, IDLE, WARM, Burst, Cell, Plan, measure
from perf_inference.bench.judge.pairs import Ratio, ratio_of_pairs
from perf_inference.bench.results.engines import add_engine_arguments, engine_of, engine_text, inputs_of
from perf_inference.bench.results.machine import MachineTrack
from perf_inference.bench.results.outputs import Outputs, add_example, add_output_arguments
from perf_inference.bench.results.progress import Progress
from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.errors import ConfigError
from perf_inference.quantities import above_zero, not_negative, whole
from perf_inference.report.document import Document, Histograms, Part, Table, figure, summary_header, summary_row

_BUDGET_S = 200.0
_WARM_UP = 20  # inferences, or as many as two seconds hold, at least three
_WARM_UP_S = 2.0
_SLOWER = 1.05
_LEAST_ROUNDS = 5  # for a verdict
_LONGEST_S = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench gap detector --html gap.html",
        "perf-inference bench gap policy --gaps 0 0.1 1 --keep-warm --json gap.jsonl",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", default="detector",
                        help="an embedded model's name, or a file (default: detector)")  # fmt: skip
    add_engine_arguments(parser)
    parser.add_argument("--gaps", type=not_negative, nargs="+", default=list(GAPS_S), metavar="S",
                        help="pauses [s] (default: 0 0.01 0.1 1 10)")  # fmt: skip
    parser.add_argument("--rounds", type=whole, default=0, help="of all pauses (default: what fits into 200 s)")
    parser.add_argument("--keep-warm", type=above_zero, nargs="?", const=20.0, metavar="MS",
                        help="measure also with an inference every MS [ms] of the pause (20)")  # fmt: skip
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, and print table and verdict."""
    gaps = sorted(set(options.gaps) | {0.0})
    if not all(0 <= gap <= _LONGEST_S for gap in gaps):
        raise ConfigError(f"--gaps must be from 0 to {_LONGEST_S:g} s, got {options.gaps}")
    if options.rounds < 0 or (options.keep_warm is not None and options.keep_warm <= 0):
        raise ConfigError("--rounds and --keep-warm must be above 0")
    stop = StopFlag()
    bursts: list[Burst] = []
    with closing(engine_of(options.model, options)) as engine, closing(MachineTrack()) as track:
        inputs = inputs_of(engine, options.shape)
        outputs = Outputs("gap", options, track.described)
        infer_s = _warm_up(lambda: engine.infer(inputs))
        plan = Plan.within(gaps, _BUDGET_S, infer_s, options.keep_warm is not None, options.rounds)
        outputs.plan(engine=engine_text(engine), gaps_s=gaps, rounds=plan.rounds, expected_s=plan.expected_s)
        print(f"plan: {engine_text(engine)}: {plan.rounds} rounds of {len(plan.cells)} pauses, about "
              f"{plan.expected_s:.0f} s", flush=True)  # fmt: skip
        progress = Progress("gap", plan.rounds * len(plan.cells), plan.expected_s)
        clocks: dict[Cell, list[tuple[float | None, float | None]]] = {}
        try:
            stop.at_once = True
            warm_s = (options.keep_warm or 20.0) / 1e3
            for burst in measure(lambda: engine.infer(inputs), plan, warm_s):
                bursts.append(burst)
                clocks.setdefault(burst.cell, []).append(track.clocks_mhz())
                outputs.samples(burst.cell.name, [ns / 1e6 for ns in burst.latencies_ns], "ms", burst.round,
                                gaps_s=[ns / 1e9 for ns in burst.gaps_ns], cpu_share=burst.cpu_share,
                                clocks_mhz=clocks[burst.cell][-1])  # fmt: skip
                progress.show(len(bursts), burst.cell.name)
        except Stopped:
            pass
        stop.at_once = False
        progress.close()
        verdict, parts = report(bursts, clocks, track)
        if stop:
            verdict = f"stopped after {len(bursts)} of {plan.rounds * len(plan.cells)} pauses; {verdict}"
        outputs.result(verdict=verdict)
        outputs.finish(Document(f"gap: {engine_text(engine)}", verdict, parts))
    return {"": 0, "SIGINT": 130, "SIGTERM": 143}[stop.name]


def report(
    bursts: Sequence[Burst], clocks: Mapping[Cell, Sequence[tuple[float | None, float | None]]], track: MachineTrack
) -> tuple[str, list[Part]]:
    """Return verdict and parts of the report."""
    cells = sorted({burst.cell for burst in bursts}, key=lambda cell: (cell.mode != IDLE, cell.gap_s))
    latencies = {cell: [ns / 1e6 for b in bursts if b.cell == cell for ns in b.latencies_ns] for cell in cells}
    ratios = {cell: ratio_to_none(bursts, cell) for cell in cells}
    rows = [
        (cell.name, *summary_row(latencies[cell]), _ratio_text(ratios[cell]), *_clock_texts(clocks.get(cell, ())))
        for cell in cells
    ]
    header = ("pause", *summary_header("ms"), "/ 0 s", "CPU MHz", "GPU MHz")
    parts: list[Part] = [Table("Latency after a pause", header, rows, f"{track.clock_text()}; / 0 s: ratio to no pause "
                               "over the rounds, its 99 % interval; MHz: mean right after the inference")]  # fmt: skip
    if any(cell.mode == WARM for cell in cells):
        parts.append(_cost(bursts, cells, track))
    parts.append(Histograms("Distributions", {cell.name: latencies[cell] for cell in cells}))
    return verdict_of(ratios), [*parts, *track.parts()]


def ratio_to_none(bursts: Sequence[Burst], cell: Cell) -> Ratio | None:
    """Return the latency after this pause over that after none, paired by the round; None: nothing to compare with."""
    none, after = ({b.round: statistics.median(b.latencies_ns) for b in bursts if b.cell == wanted}
                   for wanted in (Cell(0.0, IDLE), cell))  # fmt: skip
    rounds = sorted(set(none) & set(after))
    if not rounds or cell == Cell(0.0, IDLE):
        return None
    return ratio_of_pairs([none[r] for r in rounds], [after[r] for r in rounds])


def verdict_of(ratios: Mapping[Cell, Ratio | None]) -> str:
    """Return which pauses make the next inference slower."""
    known = {cell: ratio for cell, ratio in ratios.items() if ratio is not None}
    if not known or min(ratio.pairs for ratio in known.values()) < _LEAST_ROUNDS:
        return f"too few rounds for a verdict; {_LEAST_ROUNDS} are needed"
    slower = [f"{cell.name} ({ratio.value:.2f} times)" for cell, ratio in known.items() if ratio.low > _SLOWER]
    rounds = min(ratio.pairs for ratio in known.values())
    if not slower:
        most = max(ratio.high for ratio in known.values())
        return f"no pause makes the next inference more than {100 * (most - 1):.0f} % slower (n {rounds} rounds)"
    return f"slower after a pause of {', '.join(slower)}; n {rounds} rounds"


def _cost(bursts: Sequence[Burst], cells: Sequence[Cell], track: MachineTrack) -> Part:
    rows, known = [], False
    for cell in cells:
        if cell.gap_s < 1.0:  # shorter than the power's readings are apart
            continue
        of = [burst for burst in bursts if burst.cell == cell]
        powers = [power for b in of if (power := track.window(b.begin_ns, b.end_ns).power_w) is not None]
        known = known or bool(powers)
        power = statistics.fmean(powers) if powers else None
        share = statistics.fmean(burst.cpu_share for burst in of)
        rows.append((cell.name, figure(power), figure(100 * share), str(len(of))))
    note = "" if known else "energy: this machine has no power figure (NVML, INA and tegrastats were looked for)"
    return Table("What keeping it warm costs", ("pause", "W", "processor % of a core", "n"), rows, note)


def _ratio_text(ratio: Ratio | None) -> str:
    return "1" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _clock_texts(clocks: Sequence[tuple[float | None, float | None]]) -> tuple[str, str]:
    both = [[mhz for pair in clocks if (mhz := pair[index]) is not None] for index in (0, 1)]
    cpu, gpu = (figure(statistics.fmean(values)) if values else "-" for values in both)
    return cpu, gpu


def _warm_up(infer: object) -> float:
    """Run until it is warm, and return what one inference takes [s]."""
    assert callable(infer)
    taken: list[float] = []
    begin_s = time.monotonic()
    while len(taken) < _WARM_UP and (len(taken) < 3 or time.monotonic() - begin_s < _WARM_UP_S):
        start_s = time.monotonic()
        infer()
        taken.append(time.monotonic() - start_s)
    return statistics.median(taken)
