"""perf-inference compare: did this change make it slower?"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perf_inference.bench.compare.command import Command, RunFailedError, needs_shell
from perf_inference.bench.compare.measure import ARMS, RUNS, Measured, figure_of, measure, pairs_within
from perf_inference.bench.compare.result_files import Results, read_results
from perf_inference.bench.judge.pairs import MIN_PAIRS
from perf_inference.bench.judge.verdict import VOID, Verdict, judge, judge_blocks
from perf_inference.bench.results.machine import MachineTrack, unlike
from perf_inference.bench.results.outputs import Outputs, add_example, add_output_arguments
from perf_inference.bench.results.progress import Progress
from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.printable import printable, shown
from perf_inference.quantities import above_zero
from perf_inference.report.document import (
    Document,
    Histograms,
    Part,
    Table,
    TimeLines,
    Words,
    summary_header,
    summary_row,
)

NEEDS_ROS = False
EX_USAGE, EX_SIGNAL = 2, {"SIGINT": 130, "SIGTERM": 143}
_LONG_S = 240.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_example(
        parser,
        "perf-inference compare 'python old.py' 'python new.py' --tolerance 3 --html compare.html",
        "perf-inference compare 'git -C a status' 'git -C b status' --pattern 'took ([0-9.]+) ms'",
        "perf-inference compare before.jsonl after.jsonl",
        "",
        "exit status: 0 not slower, 1 slower, 2 wrong usage, 3 void (nothing can be said), 130 stopped by Ctrl-C",
    )
    parser.add_argument("base", metavar="BASE", help="a result file, or a command line in one quoted argument")
    parser.add_argument("head", metavar="HEAD", help="what is compared with it, of the same kind")
    parser.add_argument("--tolerance", type=float, default=5.0, metavar="PCT",
                        help="slower by up to this is no difference [%%] (default: 5)")  # fmt: skip
    parser.add_argument("--pairs", type=int, metavar="N",
                        help=f"pairs of fresh processes, at least {MIN_PAIRS} (default: as many as fit into three "
                             "minutes, 20 at most)")  # fmt: skip
    parser.add_argument("--metric", choices=("wall", "cpu"), default="wall",
                        help="a process' time from start to end, or its processor time (default: wall)")  # fmt: skip
    parser.add_argument("--pattern", metavar="REGEX",
                        help="compare figures that the commands print: those that the first group matches")  # fmt: skip
    parser.add_argument("--rate", action="store_true", help="the pattern's figures are rates: more is better")
    parser.add_argument("--timeout", type=above_zero, default=600.0, metavar="S", help="of one run (default: 600)")
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Compare; 0, 1 (slower) or 3 (void). A mistake in the arguments is 2, never 1."""
    try:
        if not 0 <= options.tolerance < 1000:
            raise ConfigError(f"--tolerance must be from 0 % on, got {options.tolerance:g}")
        if options.pairs is not None and options.pairs < MIN_PAIRS:
            raise ConfigError(f"--pairs must be {MIN_PAIRS} or more: no outcome of fewer tells from chance")
        if options.timeout <= 0:
            raise ConfigError(f"--timeout must be above 0 s, got {options.timeout:g}")
        files = [_is_result(text) for text in (options.base, options.head)]
        if files[0] != files[1]:
            raise ConfigError("BASE and HEAD must both be result files, or both command lines")
        return _compare_files(options) if files[0] else _compare_commands(options)
    except RunFailedError as error:
        return _say(f"void: {error}", VOID)
    except PerfInferenceError as error:
        return _say(str(error), EX_USAGE)


def _is_result(text: str) -> bool:
    path = Path(text)
    return path.is_dir() or (path.is_file() and (path.suffix in (".json", ".jsonl", ".txt") or not _runs(path)))


def _runs(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o111)


def _compare_commands(options: argparse.Namespace) -> int:
    try:
        pattern = re.compile(options.pattern) if options.pattern else None
    except re.error as error:
        raise ConfigError(f"--pattern must be a regular expression: {error}") from error
    if options.rate and not pattern:
        raise ConfigError("--rate says what the figures of --pattern are, which is not given")
    if pattern and not pattern.groups:
        raise ConfigError("--pattern must have a group around the figure, such as 'took ([0-9.]+) ms'")
    lines = (options.base, options.head)
    shell = any(map(needs_shell, lines))
    base, head = (Command(line, pattern, options.timeout, options.rate, shell) for line in lines)
    stop = StopFlag()
    track = MachineTrack()
    outputs = Outputs("compare", options, track.described)
    measured = Measured()
    failure: RunFailedError | None = None
    pairs = 0
    try:
        stop.at_once = True
        first = [command.run() for command in (base, head)]  # into the file cache, and how long one takes
        run_s = sum(run.wall_ms for run in first) / 2e3
        pairs = options.pairs or pairs_within(run_s)
        expected_s = RUNS * pairs * run_s
        metric = "pattern" if pattern else options.metric
        outputs.plan(base=base.line, head=head.line, pairs=pairs, tolerance_pct=options.tolerance, metric=metric)
        why = ", because fewer than 10 pairs cannot tell from chance" if expected_s > _LONG_S else ""
        print(f"plan: {pairs} pairs of fresh processes, {RUNS * pairs} runs with the control arm, about "
              f"{expected_s:.0f} s{why}", flush=True)  # fmt: skip
        progress = Progress("compare", RUNS * pairs, expected_s)
        arms = {"base": base, "control": base, "head": head}
        for done, (arm, one) in enumerate(measure(arms, pairs, measured)):
            values = one.figures or (figure_of(metric)(one),)
            outputs.samples(arm, values, "ms", done, cpu_ms=one.cpu_ms, peak_mb=one.peak_mb, wall_ms=one.wall_ms)
            progress.show(done + 1, arm)
        progress.close()
    except Stopped:
        pass
    except RunFailedError as error:
        failure = error
    stop.at_once = False
    for command in (base, head):
        command.end()
    track.close()
    return _finish(options, outputs, track, measured, pairs, stop.name, failure)


def _finish(options: argparse.Namespace, outputs: Outputs, track: MachineTrack, measured: Measured, pairs: int,
            stopped: str, failure: RunFailedError | None) -> int:  # fmt: skip
    figure = figure_of("pattern" if options.pattern else options.metric)
    series = {arm: [figure(run) for run in measured.runs[arm]] for arm in ARMS}
    rounds = measured.rounds(figure)
    status, verdict = VOID, None
    if failure:
        words = f"void: {failure}"
    elif stopped:
        status, words = EX_SIGNAL[stopped], f"stopped after {len(rounds.head)} of {pairs} pairs: no verdict"
    else:
        verdict = judge(rounds, options.tolerance)
        status, words = verdict.status, str(verdict)
    clocks = track.clock_text()
    parts: list[Part] = [
        Table("Runs", ("arm", *summary_header("ms")), [(arm, *summary_row(series[arm])) for arm in ARMS if series[arm]],
              _metric_text(options) + f"; {clocks}"),
        *_basis(verdict),
        Words("Commands", (f"BASE and control: {options.base}", f"HEAD: {options.head}")),
        Histograms("Distributions", series),
        TimeLines("Runs over time", {arm: (measured.at_s[arm], series[arm]) for arm in ARMS if series[arm]}),
        *track.parts(),
    ]  # fmt: skip
    outputs.result(status=status, verdict=words, **_as_record(verdict))
    outputs.finish(Document("compare", words, parts))
    return status


def _compare_files(options: argparse.Namespace) -> int:
    base, head = (read_results(Path(text)) for text in (options.base, options.head))
    if base.machine and head.machine and (differences := unlike(base.machine, head.machine)):
        return _say(f"void: measured on unlike machines ({'; '.join(differences)})", VOID)
    names = [name for name in base.series if name in head.series]
    if not names:
        raise ConfigError(f"BASE and HEAD must have a series in common; BASE has {sorted(base.series)[:9]}, HEAD "
                          f"{sorted(head.series)[:9]}")  # fmt: skip
    found = {name: _one_series(name, base, head, options.tolerance, len(names)) for name in names}
    remarks = [f"{name}: {remark}" for name, (verdict, _) in found.items() for remark in verdict.remarks]
    remarks += [f"only in {arm.path}: {name}" for arm, other in ((base, head), (head, base))
                for name in arm.series if name not in other.series]  # fmt: skip
    remarks += [*base.left_out, *head.left_out]
    if not (base.machine and head.machine):
        remarks.append("the machine is not known of both: that it was the same has to be known by who compares them")
    remarks.append("measured apart, without a control arm: what changed between the two is in the ratio")
    rows = [(name, verdict.word, str(verdict.ratio or "-"), basis) for name, (verdict, basis) in found.items()]
    statuses = [verdict.status for verdict, _ in found.values()]
    status = 1 if 1 in statuses else VOID if VOID in statuses else 0
    worst = [f"{name} is {verdict}" for name, (verdict, _) in found.items() if verdict.status == status]
    words = "; ".join(worst[:3]) + (f"; and {len(worst) - 3} more" if len(worst) > 3 else "")
    series = {f"{name}, {arm}": [v for p in results.series[name] for v in p]
              for name in names for arm, results in (("BASE", base), ("HEAD", head))}  # fmt: skip
    machine = dict(head.machine or {})
    outputs = Outputs("compare", options, machine)
    parts: list[Part] = [
        Table("Series", ("series", "verdict", "HEAD / BASE", "figures"), rows),
        Table("Samples", ("", *summary_header("ms")), [(name, *summary_row(values)) for name, values in series.items()],
              f"clock: {machine.get('cpu_mhz') or 'not known'} MHz when HEAD began"),
        Words("Remarks", remarks),
        Histograms("Distributions", series),
    ]  # fmt: skip
    outputs.result(status=status, verdict=words)
    outputs.finish(Document(f"compare {base.path} {head.path}", words, parts))
    return status


def _one_series(name: str, base: Results, head: Results, tolerance: float, of: int) -> tuple[Verdict, str]:
    (base_figures, basis), (head_figures, of_head) = base.figures(name), head.figures(name)
    return judge_blocks(base_figures, head_figures, tolerance, comparisons=of), f"{basis}; {of_head}"


def _basis(verdict: Verdict | None) -> Sequence[Part]:
    if verdict is None or verdict.ratio is None or verdict.drift is None:
        return ()
    drift = f"{100 * verdict.drift.drift:+.1f} % from the first pair to the last (p {verdict.drift.p:.2g})"
    rows = [("HEAD / BASE", str(verdict.ratio)), ("control / BASE", str(verdict.control)), ("drift of all", drift)]
    parts: list[Part] = [Table("What it rests on", ("", "ratio over pairs"), rows)]
    return [*parts, Words("Remarks", verdict.remarks)] if verdict.remarks else parts


def _metric_text(options: argparse.Namespace) -> str:
    if options.pattern:
        unit = "as time for one" if options.rate else "in the unit that the commands print"
        return f"figures that '{shown(options.pattern)}' finds, {unit}; n is processes"
    return "wall time of a process" if options.metric == "wall" else "processor time of a process and its children"


def _as_record(verdict: Verdict | None) -> Mapping[str, Any]:
    if verdict is None:
        return {}
    return {"word": verdict.word, "ratio": verdict.ratio, "control": verdict.control, "drift": verdict.drift,
            "remarks": verdict.remarks}  # fmt: skip


def _say(line: str, status: int) -> int:
    print(f"perf-inference compare: {printable(line)}", file=sys.stderr, flush=True)
    return status
