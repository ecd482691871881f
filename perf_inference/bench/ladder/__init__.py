"""Which optimisation is worth it: `perf-inference bench ladder MODEL`.

Every way in which this machine can run the model (runtime, precision, compiled, threads) on every scenario (batch
sizes, lengths of audio), in slices whose order changes, so that a drift hits all alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from perf_inference.bench.ladder.energy import LOOP_S, Energy, measure_energy, most
from perf_inference.bench.ladder.loaded import Loaded, load_variants
from perf_inference.bench.ladder.measure import Cell, Results, measure
from perf_inference.bench.ladder.plan import Variant, fit, scenarios_of, variants_of
from perf_inference.bench.ladder.report import report
from perf_inference.bench.results.engines import add_engine_arguments
from perf_inference.bench.results.machine import MachineTrack
from perf_inference.bench.results.outputs import Outputs, add_example, add_output_arguments
from perf_inference.bench.results.progress import Progress
from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.demo.model_score import Score, score_of
from perf_inference.errors import ConfigError
from perf_inference.quantities import not_negative, positive

BATCHES, ALL_BATCHES = (1, 8, 32), (1, 2, 4, 8, 16, 32)
_BUDGET_S = 120.0  # of all cells; to load a dozen variants, and to build some, takes as long on a small machine
_IDLE_S = 2.0
_SCENES = 50  # that a score is of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench ladder detector --score --html ladder.html",
        "perf-inference bench ladder speech.onnx --audio question.wav --runs 100",
    )
    parser.add_argument("model", metavar="MODEL", help="an embedded model's name, or a file")
    add_engine_arguments(parser)
    parser.add_argument("--batches", type=positive, nargs="+", help="of a model whose batch is free (default: 1 8 32)")
    parser.add_argument("--full", action="store_true", help="batches 1 to 32, and runtimes that take minutes to build")
    parser.add_argument("--runs", type=positive, default=20, help="of each cell at least, beside 2 s (default: 20)")
    parser.add_argument("--tolerance", type=not_negative, default=1e-2,
                        help="of the outputs, relative to the baseline's largest (default: 0.01)")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[], help="only variants with one of these in it")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--audio", type=Path, metavar="FILE.wav", help="your own sound (WAV or FLAC), instead of noise")
    data.add_argument("--images", type=Path, metavar="DIR", help="your own images, instead of noise")
    parser.add_argument("--score", action="store_true", help="the task's score of each variant (the embedded models')")
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables and what to take."""
    if options.runs < 1 or options.tolerance <= 0 or any(batch < 1 for batch in options.batches or ()):
        raise ConfigError("--runs, --tolerance and --batches must be above 0")
    stop = StopFlag()
    with ExitStack() as stack:
        track = stack.enter_context(closing(MachineTrack()))
        outputs = Outputs("ladder", options, track.described)
        results = Results()
        loaded: list[Loaded] = []
        left_out: list[str] = []
        idle_w = None
        energies: list[Energy] = []
        scores: dict[str, Score | None] = {}
        try:
            stop.at_once = True
            time.sleep(_IDLE_S)  # the machine's own power
            idle_w = track.window().power_w
            variants = [v for v in variants_of(options.model, options) if _wanted(v, options.only)]
            loaded = load_variants(variants, options, stack)
            baseline = next((one for one in loaded if one.engine), None)
            if baseline is None or baseline.engine is None:
                raise ConfigError(f"'{options.model}' runs in no way here: {loaded[0].why}")  # the file as it is
            batches = options.batches or (ALL_BATCHES if options.full else BATCHES)
            scenarios = scenarios_of(baseline.engine.inputs, batches, options)
            energy_s = 0.0 if idle_w is None else LOOP_S * min(most(options.full), len(loaded))
            cells, left_out, expected_s = fit(loaded, scenarios, options.runs, _BUDGET_S - energy_s, options.full)
            expected_s += energy_s
            outputs.plan(cells=[cell.name for cell in cells], left_out=left_out, expected_s=expected_s)
            print(f"plan: {len(cells)} cells of {len(loaded)} variants and {len(scenarios)} scenarios, about "
                  f"{expected_s:.0f} s{f'; left out: {len(left_out)}' if left_out else ''}", flush=True)  # fmt: skip
            progress = Progress("ladder", len(cells), expected_s)
            measure(cells, options.runs, results, lambda done, cell: progress.show(done, cell.name), options.shape)
            progress.close()
            if idle_w is not None:
                progress = Progress("ladder", round(energy_s / LOOP_S), energy_s)
                for energy in measure_energy(results, track.window, idle_w, options.shape, options.full):
                    energies.append(energy)
                    progress.show(len(energies), f"energy after {energy.variant}")
                progress.close()
            _score(loaded, options.score, scores)
        except Stopped:
            pass
        stop.at_once = False
        for cell, cell_results in results.cells.items():
            outputs.samples(cell.name, [ns / 1e6 for ns in cell_results.latencies_ns], "ms", times_s=cell_results.at_s)
        document = report(options, loaded, results, left_out, track, idle_w, energies, scores, stop.name)
        outputs.result(verdict=document.verdict, energy=[energy._asdict() for energy in energies])
        outputs.finish(document)
    return {"": 0, "SIGINT": 130, "SIGTERM": 143}[stop.name]


def _score(loaded: Sequence[Loaded], wanted: bool, scores: dict[str, Score | None]) -> None:
    """Add the task's score of each variant that runs; None: the task has none."""
    engines = {one.variant.name: one.engine for one in loaded if one.engine} if wanted else {}
    progress = Progress("ladder", len(engines))
    for done, (name, engine) in enumerate(engines.items()):
        progress.show(done, f"score of {name}")
        scores[name] = score_of(engine, _SCENES)
    progress.close()


def _wanted(variant: Variant, words: Sequence[str]) -> bool:
    return not words or variant.name.startswith("baseline") or any(word in variant.name for word in words)


__all__ = ["Cell", "add_arguments", "run"]
