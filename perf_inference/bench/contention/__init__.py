"""What happens when models share the machine: `perf-inference bench contention MODEL...`.

Each engine alone, each pair, and all together, one process each (or one thread each), released at one moment; the
order changes from round to round.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

from perf_inference.bench.contention.judge import Combination, Share, plan
from perf_inference.bench.contention.raw_log import LOG, Windows, cut
from perf_inference.bench.contention.report import label, report
from perf_inference.bench.contention.threads import Threads
from perf_inference.bench.contention.workers import Taken, Worker, together
from perf_inference.bench.results.engines import add_engine_arguments
from perf_inference.bench.results.machine import MachineTrack
from perf_inference.bench.results.outputs import Outputs, add_example, add_output_arguments
from perf_inference.bench.results.progress import Progress
from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.files.whole import write_whole
from perf_inference.quantities import above_zero, not_negative, whole
from perf_inference.report.document_text import terminal

KINDS = ("detect", "segment", "pose", "obb", "classify")
EX_PARTLY = 3
_NETWORKS = Path(__file__).parent / "networks"
_BUDGET_S, _SEED, _MOST, _LOOK_S = 150.0, 5, 12, 0.002
_Runs = dict[Combination, dict[str, list[Taken]]]
_Together = Callable[[Sequence[str], float, float], dict[str, Taken]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench contention detector captioner policy --html contention.html",
        "perf-inference bench contention --cores 0                     # five networks on one core",
        "perf-inference bench contention detector --start-file /tmp/go # in several terminals; then: touch /tmp/go",
    )
    parser.add_argument("models", metavar="MODEL", nargs="*",
                        help="embedded names or files (default: five small networks in the shapes of the five YOLO "
                             "kinds, with random weights)")  # fmt: skip
    add_engine_arguments(parser)
    parser.set_defaults(threads=1)
    parser.add_argument("--mode", choices=("processes", "threads"), default="processes",
                        help="one process each, or one thread (and stream) each of one process")  # fmt: skip
    parser.add_argument("--cores", type=whole, nargs="+", metavar="CORE",
                        help="pin the engines to these in turn; one core: all share it (processes only)")  # fmt: skip
    parser.add_argument(
        "--rate", type=not_negative, default=0.0, help="of each engine [Hz] (default: as fast as it can)"
    )
    parser.add_argument("--seconds", type=above_zero, default=3.0, help="of one run (default: 3)")
    parser.add_argument(
        "--rounds", type=whole, default=0, help="of all runs (default: what fits into 150 s, 10 at most)"
    )
    parser.add_argument("--start-file", type=Path, metavar="PATH",
                        help="run all together only, from when this file is there on")  # fmt: skip
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="keep the tables (contention.txt) there, and tegrastats' raw log, whole and of each model's runs alone "
        "(tegrastats_<model>.log)",
    )
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables; 3 where an engine died."""
    models = _models(options)
    names = list(models)
    if options.seconds <= 0 or options.rate < 0 or options.rounds < 0:
        raise ConfigError("--seconds must be above 0, --rate and --rounds not below")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    stop = StopFlag()
    log = options.output / LOG if options.output else None
    with closing(MachineTrack(0.5, log)) as track:
        outputs = Outputs("contention", options, track.described)
        combinations, rounds = _plan(names, options)
        workers: list[Worker] = []
        runs: _Runs = {}
        clocks: dict[Combination, list[float]] = {}
        windows: dict[Combination, list[tuple[int, int]]] = {}
        threads: Threads | None = None
        try:
            stop.at_once = True
            expected_s = len(combinations) * rounds * (options.seconds + 0.1)
            print(f"plan: {len(names)} engines, {len(combinations)} combinations, {rounds} rounds of "
                  f"{options.seconds:g} s each, about {expected_s:.0f} s", flush=True)  # fmt: skip
            outputs.plan(engines=models, combinations=combinations, rounds=rounds, seconds=options.seconds)
            if options.mode == "threads":
                threads = Threads(models, options)
                run_together: _Together = threads.together
            else:
                workers = _start(models, options)
                by_name = {worker.name: worker for worker in workers}
                run_together = lambda which, seconds, rate: together(  # noqa: E731
                    [by_name[name] for name in which if not by_name[name].dead], seconds, rate
                )
            if options.start_file:
                _wait_for(options.start_file)
            progress = Progress("contention", len(combinations) * rounds)
            order = random.Random(_SEED)
            done = 0
            for number in range(rounds):
                for combination in order.sample(combinations, len(combinations)):
                    if any(worker.dead for worker in workers if worker.name in combination):
                        continue  # what is left of it would be another combination
                    taken = run_together(combination, options.seconds, options.rate)
                    done += 1
                    progress.show(done, label(combination, names))
                    if len(taken) < len(combination):
                        continue
                    begin_ns = min(one.begin_ns for one in taken.values())
                    windows.setdefault(combination, []).append((begin_ns, time.monotonic_ns()))
                    clock = track.window(*windows[combination][-1])
                    if mhz := (clock.gpu or clock.cpu):
                        clocks.setdefault(combination, []).append(mhz.mean_mhz)
                    for name, one in taken.items():
                        runs.setdefault(combination, {}).setdefault(name, []).append(one)
                        outputs.samples(f"{label(combination, names)}: {name}", [ns / 1e6 for ns in one.latencies_ns],
                                        "ms", number, starts_ns=one.starts_ns, machine=clock.as_dict())  # fmt: skip
            progress.close()
        except Stopped:
            pass
        finally:
            stop.at_once = False
            for worker in workers:
                worker.close()
            if threads:
                threads.close()
        if options.output:
            track.close()  # its log is whole now
            cut(options.output, _of_models(windows, names))
        dead = [f"{worker.name} is left out: {worker.dead}" for worker in workers if worker.dead]
        return _finish(options, outputs, track, names, combinations, runs, clocks, dead, stop)


def _finish(options: argparse.Namespace, outputs: Outputs, track: MachineTrack, names: Sequence[str],
            combinations: Sequence[Combination], runs: _Runs, clocks: Mapping[Combination, Sequence[float]],
            dead: Sequence[str], stop: StopFlag) -> int:  # fmt: skip
    shares = {
        combination: {
            name: Share([ns / 1e6 for one in taken for ns in one.latencies_ns], options.seconds * len(taken))
            for name, taken in runs[combination].items()
        }
        for combination in combinations
        if combination in runs
    }
    if dead and not shares:
        outputs.close()
        raise PerfInferenceError("; ".join(dead))
    device = {
        (combination, name): statistics.fmean(chain.from_iterable(one.device_ns for one in taken)) / 1e6
        for combination, by_name in runs.items()
        for name, taken in by_name.items()
        if any(one.device_ns for one in taken)
    }
    over_time = {name: _over_time(runs, name, track.begin_ns) for name in names}
    mhz = {combination: statistics.fmean(values) for combination, values in clocks.items()}
    remarks = [*dead, *([f"stopped by {stop.name}: what was measured until then"] if stop else [])]
    document = report("contention", names, shares, mhz, remarks, device, over_time, track)
    outputs.result(verdict=document.verdict)
    outputs.finish(document)
    if options.output:
        write_whole(options.output / "contention.txt", terminal(document) + "\n")
    if stop:
        return {"SIGINT": 130, "SIGTERM": 143}[stop.name]
    return EX_PARTLY if dead else 0


def _of_models(windows: Mapping[Combination, Sequence[tuple[int, int]]], names: Sequence[str]) -> Windows:
    """Return when each model ran alone (in whatever it ran, where it never did), and when all did."""
    everybody = tuple(names)
    of = {name: windows.get((name,), windows.get(everybody, ())) for name in names}
    return {**of, "all": windows.get(everybody, ())} if len(names) > 1 else of


def _over_time(runs: _Runs, name: str, begin_ns: int) -> tuple[list[float], list[float]]:
    """Return when each inference of an engine began [s], and what it took [ms]."""
    taken = [one for by_name in runs.values() for one in by_name.get(name, ())]
    starts_s = [(start_ns - begin_ns) / 1e9 for one in taken for start_ns in one.starts_ns]
    return starts_s, [ns / 1e6 for one in taken for ns in one.latencies_ns]


def _models(options: argparse.Namespace) -> dict[str, str]:
    given = options.models or [str(_NETWORKS / f"{kind}.onnx") for kind in KINDS]
    if len(given) > _MOST or (len(given) < 2 and not options.start_file):
        raise ConfigError(
            f"contention needs from 2 to {_MOST} models, got {len(given)}; the same one may be named twice"
        )
    if options.cores:
        allowed = os.sched_getaffinity(0)
        if options.mode == "threads" or not set(options.cores) <= allowed:
            raise ConfigError(f"--cores pins processes to some of {sorted(allowed)}, got {options.cores}")
    seen: Counter[str] = Counter()
    named = {}
    for model in given:
        name = Path(model).stem
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name} {seen[name]}"] = model
    return named


def _plan(names: Sequence[str], options: argparse.Namespace) -> tuple[list[Combination], int]:
    if options.start_file:
        return [tuple(names)], max(1, options.rounds)
    combinations, rounds = plan(names, options.seconds, _BUDGET_S)
    return combinations, options.rounds or rounds


def _start(models: Mapping[str, str], options: argparse.Namespace) -> list[Worker]:
    workers = []
    for index, (name, model) in enumerate(models.items()):
        cores = [options.cores[index % len(options.cores)]] if options.cores else []
        workers.append(Worker(name, {
            "model": model, "runtime": options.runtime, "precision": options.precision, "device": options.device,
            "threads": options.threads, "shape": options.shape, "cores": cores,
        }))  # fmt: skip
    for worker in workers:
        worker.wait_ready()
    return workers


def _wait_for(path: Path) -> None:
    print(f"ready; waiting for {path}", flush=True)
    while not path.exists():
        time.sleep(_LOOK_S)
