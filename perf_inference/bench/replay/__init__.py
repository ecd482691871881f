"""How fast this graph goes on my data: `perf-inference bench replay RECORDING --graph FILE`.

Plays a recording from memory through the real nodes and takes every answer by the stamp of its message. Latency counts
from when a message was due: a graph that falls behind cannot hide it by slowing the sender down.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from perf_inference.bench.judge.shape import two_modes
from perf_inference.bench.replay.judge import SENDER_MS, Limits, Trial, interval, junit, search
from perf_inference.bench.replay.rig import Rig
from perf_inference.bench.results.machine import MachineTrack
from perf_inference.bench.results.outputs import Outputs, add_example, add_output_arguments
from perf_inference.bench.results.progress import Progress
from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.files.whole import write_whole
from perf_inference.printable import printable
from perf_inference.quantities import above_zero, not_negative, positive
from perf_inference.report.document import (
    Document,
    Histograms,
    Part,
    Table,
    TimeLines,
    Words,
    figure,
    summary_header,
    summary_row,
)

EX_BROKEN, EX_VOID = 1, 3
_WARM_UP_S = 2.0
_LIMITS = ("max_p99_ms", "max_drop_pct", "min_hz")
_LEAST_DISTINCT = 3
_NARROW = 1.08  # the repeated searches begin so far around the first answer
_MOST_TRIALS = 16  # of a search, for the progress
_TRIES = 3  # of a trial whose sender was late


class LateSenderError(Exception):
    """The sender was late itself, again and again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench replay runs/drive_20240131_120000 --graph config/robot.yaml --search",
        "perf-inference bench replay drive.mcap --graph robot.yaml --remap /camera/image_raw:=/image --rate 30 "
        "--max-p99-ms 50 --junit replay.xml",
        "",
        "exit status: 0 within the limits, 1 beyond them, 3 void (late sender, edge of the search, one image only)",
    )
    parser.add_argument("recording", metavar="RECORDING", type=Path, help="a rosbag2, or a recording of this package")
    parser.add_argument(
        "--graph", type=Path, required=True, metavar="FILE", help="parameters file of the nodes to start"
    )
    parser.add_argument("--topic", default="", help="that is measured (default: the only topic of images)")
    parser.add_argument("--node", default="", help="that answers it (default: the one that answers most)")
    parser.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO", help="play a topic under another name"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", dest="assignments",
                        help="a parameter over the file's")  # fmt: skip
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=above_zero, help="of the measured topic [Hz] (default: as recorded)")
    pace.add_argument("--factor", type=above_zero, help="times the recorded rate")
    pace.add_argument("--search", action="store_true", help="find the highest rate that holds the limits")
    parser.add_argument("--poisson", action="store_true", help="arrivals at random around the rate, not even ones")
    parser.add_argument(
        "--seconds", type=above_zero, default=6.0, help="of one run (default: 6; a p99 takes 662 messages)"
    )
    parser.add_argument("--repeats", type=positive, default=3, help="runs, or searches, for the interval (default: 3)")
    parser.add_argument("--lowest", type=above_zero, default=0.5, help="rate of the search [Hz] (default: 0.5)")
    parser.add_argument("--highest", type=above_zero, default=1000.0, help="rate of the search [Hz] (default: 1000)")
    parser.add_argument("--max-p99-ms", type=not_negative, help="latency from the due time")
    parser.add_argument("--max-drop-pct", type=not_negative, help="messages without an answer (default of a search: 1)")
    parser.add_argument("--min-hz", type=not_negative, help="answers per second")
    parser.add_argument("--max-sender-ms", type=not_negative, default=SENDER_MS,
                        help="p99 of the sender's own lateness, above which a run is void (default: 1)")  # fmt: skip
    parser.add_argument("--limits", type=Path, metavar="FILE.yaml", help="the three limits, by their names with _")
    parser.add_argument("--junit", type=Path, metavar="FILE.xml", help="the limits as test cases")
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Replay; 0, 1 where a limit is broken, 3 where nothing can be said."""
    limits = limits_of(options)
    remap = dict(_remap(text) for text in options.remap)
    numbers = (options.seconds, options.repeats, options.rate, options.factor, options.lowest)
    if any(number is not None and number <= 0 for number in numbers) or options.highest <= options.lowest:
        raise ConfigError("--seconds, --repeats, --rate, --factor and --lowest must be above 0, and --highest above it")
    stop = StopFlag()
    trials: list[Trial] = []
    answers: list[float] = []
    void = ""
    with closing(MachineTrack()) as track:
        outputs = Outputs("replay", options, track.described)
        print("starting the graph ...", file=sys.stderr, flush=True)
        stop.at_once = True
        rig = None
        try:
            rig = Rig(options.recording, options.graph, options.topic, remap, options.assignments, options.node)
            about = rig.about
            print(f"plan: {about['topic']}, {about['count']} messages ({about['distinct']} different), recorded at "
                  f"{about['rate_hz']:.2f} Hz", flush=True)  # fmt: skip
            if about["distinct"] < _LEAST_DISTINCT:
                void = (f"only {about['distinct']} of {about['count']} messages are different: caches and early exits "
                        "would answer for the graph")  # fmt: skip
            else:
                rig.trial(0, _WARM_UP_S)
                at = _measured(rig, options, outputs, trials)
                if options.search:
                    void = _search(at, limits, options, float(about["rate_hz"]) or 10.0, answers)
                else:
                    rate = options.rate or (options.factor or 0.0) * float(about["rate_hz"])
                    for _ in range(options.repeats):
                        at(rate)
        except LateSenderError as error:
            void = str(error)
        except Stopped:
            pass
        finally:
            stop.at_once = False
            if rig:
                rig.close()
        return _finish(options, outputs, track, limits, trials, answers, void, stop.name)


def limits_of(options: argparse.Namespace) -> Limits:
    """Return the limits of the file and, over them, of the flags.

    Raises:
        ConfigError: a file that cannot be read, an unknown name, or no number.
    """
    named: dict[str, float | None] = {}
    if options.limits:
        try:
            content = read_yaml(options.limits.read_bytes())
        except (OSError, YamlError) as error:
            raise ConfigError(f"--limits {options.limits} cannot be read: {error}") from error
        if not isinstance(content, dict) or not set(content) <= set(_LIMITS):
            raise ConfigError(f"--limits must be a mapping with {', '.join(_LIMITS)}, got {content}")
        named.update(content)
    named.update({name: value for name in _LIMITS if (value := getattr(options, name)) is not None})
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"{name} must be a number of at least 0, got {value}")
    if "max_drop_pct" not in named:
        named["max_drop_pct"] = 1.0 if options.search else 100.0
    return Limits(float(named["max_drop_pct"] or 0.0), named.get("max_p99_ms"), named.get("min_hz"))


def _measured(rig: Rig, options: argparse.Namespace, outputs: Outputs, trials: list[Trial]) -> Callable[[float], Trial]:
    """Return what runs a trial, and again where the sender was late."""
    progress = Progress("replay", _MOST_TRIALS if options.search else options.repeats)

    def at(rate_hz: float) -> Trial:
        trial = Trial(rate_hz, options.seconds, 0, [])
        for _ in range(_TRIES):
            seed = len(trials) if options.poisson else None
            trial = rig.trial(rate_hz, options.seconds, seed)
            outputs.samples(f"{trial.rate_hz:.4g} Hz", trial.latencies_ms, "ms", len(trials), sent=trial.sent,
                            replaced=trial.replaced, service_ms=trial.service_ms, late_ms=trial.late_ms)  # fmt: skip
            if trial.sender_late_ms <= options.max_sender_ms:
                trials.append(trial)
                progress.show(min(len(trials), _MOST_TRIALS - 1), f"{trial.rate_hz:.4g} Hz")
                return trial
        raise LateSenderError(
            f"the sender was late itself at {trial.rate_hz:.4g} Hz (p99 {trial.sender_late_ms:.2f} ms, at most "
            f"{options.max_sender_ms:g} ms are allowed): leave it a core of its own"
        )

    return at


def _search(at: Callable[[float], Trial], limits: Limits, options: argparse.Namespace, start_hz: float,
            answers: list[float]) -> str:  # fmt: skip
    """Search, and again around the answer; return why it is void."""
    start = min(max(start_hz, options.lowest), options.highest)
    first = search(at, limits, start, options.lowest, options.highest)
    if first.highest_hz is None:
        return first.reason
    answers.append(first.highest_hz)
    for _ in range(options.repeats - 1):
        again = search(at, limits, answers[0] / _NARROW, options.lowest, options.highest, 0.02)
        if again.highest_hz is None:
            return again.reason
        answers.append(again.highest_hz)
    return ""


def _finish(options: argparse.Namespace, outputs: Outputs, track: MachineTrack, limits: Limits,
            trials: Sequence[Trial], answers: Sequence[float], void: str, stopped: str) -> int:  # fmt: skip
    whole = _pooled(trials) if trials and not options.search else None
    broken = limits.broken(whole) if whole else []
    services = [value for trial in trials for value in trial.service_ms]
    modes = two_modes(services[-2000:])
    remarks = [f"the service time has {modes.text('ms')}: a mean of it promises what no queue holds"] if modes else []
    if stopped:
        status, words = {"SIGINT": 130, "SIGTERM": 143}[stopped], f"stopped after {len(trials)} runs: no verdict"
    elif void:
        status, words = EX_VOID, f"void: {void}"
    elif options.search:
        low, high = interval(answers)
        status = 0
        if limits.min_hz is not None and min(answers) < limits.min_hz:
            status = EX_BROKEN
        words = f"the graph holds {statistics.fmean(answers):.2f} Hz (95 % interval {figure(low)} to {figure(high)}, n "
        words += f"{len(answers)} searches)"
    else:
        assert whole is not None
        status = EX_BROKEN if broken else 0
        held = (
            f"{whole.hz:.2f} Hz come out of {whole.sent / whole.seconds:.2f}, {whole.drop_pct:.2f} % without an answer"
        )
        words = "; ".join(broken) if broken else f"{held}; within the limits"
    rows = [
        (figure(trial.rate_hz), str(trial.sent), str(trial.answered), str(trial.replaced), str(trial.unaccounted),
         f"{trial.drop_pct:.2f}", *summary_row(trial.latencies_ms)[1:], figure(trial.sender_late_ms),
         "yes" if not limits.broken(trial) else "no")
        for trial in sorted(trials, key=lambda trial: trial.rate_hz)
    ]  # fmt: skip
    parts: list[Part] = [
        Table("Runs", ("Hz", "sent", "answered", "replaced", "unaccounted", "without %", *summary_header("ms")[1:],
                       "sender ms", "holds"), rows,
              f"latency from the due time; unaccounted: neither answered nor counted as replaced; sender: its own p99; "
              f"{track.clock_text()}"),
        Table("The node's own work", ("", *summary_header("ms")), [("service", *summary_row(services))]),
        Words("Remarks", remarks),
        Histograms("Latency", _by_rate(trials)),
        TimeLines("Latency over the runs", {"latency": _in_a_row(trials)}),
        *track.parts(),
    ]  # fmt: skip
    outputs.result(status=status, verdict=words, answers_hz=answers)
    outputs.finish(Document(f"replay {options.recording.name} through {options.graph.name}", words, parts))
    if options.junit:
        checks = {"limits": [] if options.search and status == 0 else ([words] if status == EX_BROKEN else [])}
        if whole:
            checks = {words_: [] for words_ in ("max_drop_pct", "max_p99_ms", "min_hz")}
            checks["max_drop_pct"] = [b for b in broken if "no answer" in b]
            checks["max_p99_ms"] = [b for b in broken if "latency" in b]
            checks["min_hz"] = [b for b in broken if "come out" in b]
        write_whole(options.junit, junit("perf-inference bench replay", checks, void or (words if stopped else "")))
    for remark in remarks:
        print(f"perf-inference bench replay: {printable(remark)}", file=sys.stderr)
    return status


def _pooled(trials: Sequence[Trial]) -> Trial:
    """Return the repeated runs at one rate as one."""
    return Trial(
        trials[0].rate_hz,
        sum(trial.seconds for trial in trials),
        sum(trial.sent for trial in trials),
        [value for trial in trials for value in trial.latencies_ms],
        sum(trial.replaced for trial in trials),
        [value for trial in trials for value in trial.service_ms],
        [value for trial in trials for value in trial.late_ms],
    )


def _by_rate(trials: Sequence[Trial]) -> Mapping[str, Sequence[float]]:
    found: dict[str, list[float]] = {}
    for trial in sorted(trials, key=lambda trial: trial.rate_hz):
        found.setdefault(f"{trial.rate_hz:.4g} Hz", []).extend(trial.latencies_ms)
    return found


def _in_a_row(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    times: list[float] = []
    begin_s = 0.0
    for trial in trials:
        step = trial.seconds / max(1, trial.answered)
        times += [begin_s + index * step for index in range(trial.answered)]
        begin_s += trial.seconds
    return times, [value for trial in trials for value in trial.latencies_ms]


def _remap(text: str) -> tuple[str, str]:
    source, found, target = text.partition(":=")
    if not (found and source and target):
        raise ConfigError(f"--remap must be FROM:=TO, got '{text}'")
    return source, target
