"""What a whole graph costs: start, processor, memory and threads of each process, beside the same in one process.

The demo is started, or what is given after `--`, anew for each round of a setup, the setups in turn. The first action
counts from the start of the command. After it, and a second to settle, a stretch of time is measured: the processor
time that each process takes meanwhile, and at its end its memory and threads. Memory is the proportional set size
(PSS: pages that several processes map are shared out, so that the sum is what the graph takes) and the unique one
(USS: what ending the process would give back), both from /proc. Meanwhile this process listens: how long each node
takes from the stamp of what it looked at to its result, by its own timings, and how steadily the actions come.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from rich.console import Console
from rich.table import Table

from perf_inference.bench.graph.rounds import Cost, Round, one_round
from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep
from perf_inference.bringup.robot import default_config
from perf_inference.errors import ConfigError
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import above_zero, positive

DEMO = ("run", "--sim")
GROUPED = "recorded, in groups"
_GROUPS = {"sim_arm": "robot", "sim_camera": "robot", "yolo_node": "perception", "caption_node": "perception",
           "monitor_node": "watching", "recorder_node": "watching"}  # fmt: skip
SETUPS: Mapping[str, tuple[str, ...]] = {
    "recorded, a process each": (),
    GROUPED: (),  # of the demo: others say in their file who shares a process
    "recorded, in one process": ("--container",),
    "a process each": ("--no-record",),
    "in one process": ("--no-record", "--container"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--rounds", type=positive, default=2, help="of each setup, in turn (default: %(default)s)")
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="that are measured (default: %(default)s)")
    parser.add_argument("--setup", default="", help="only setups whose name contains this")
    parser.add_argument(
        "graph", nargs="*", default=[], metavar="ARGUMENT",
        help="after --: a command of perf-inference that starts a graph (default: run --sim)",
    )  # fmt: skip
    add_example(parser, "perf-inference bench graph -- run --config robot.yaml --sim")


def run(options: argparse.Namespace) -> int:
    """Run all rounds and print a table for each setup."""
    known = {name: extra for name, extra in SETUPS.items() if name != GROUPED or not options.graph}
    setups = {name: extra for name, extra in known.items() if options.setup in name}
    if not setups:
        raise ConfigError(f"--setup must be part of one of {'; '.join(known)}; got '{options.setup}'")
    if options.rounds < 1 or not 1 <= options.seconds <= 600:
        raise ConfigError(
            f"--rounds must be at least 1 and --seconds 1 to 600, got {options.rounds}, {options.seconds}"
        )
    command = tuple(options.graph) or DEMO
    rounds: dict[str, list[Round]] = {name: [] for name in setups}
    with TemporaryDirectory() as folder:
        if GROUPED in setups:
            setups[GROUPED] = ("--config", _write_grouped(Path(folder)))
        for number in range(options.rounds):
            for name, extra in setups.items():
                print(f"round {number + 1} of {options.rounds}: {name}", flush=True)
                rounds[name].append(one_round((*command, *extra), options.seconds))
    for name, made in rounds.items():
        _show(name, made, options.seconds)
    return 0


def _write_grouped(folder: Path) -> str:
    """Write the demo's parameters file with groups of nodes that share a process; return its path."""
    sections = yaml.safe_load(default_config().read_text())
    for node, group in _GROUPS.items():
        sections[f"/**/{node}"]["ros__parameters"].setdefault("start", {})["process"] = group
    path = folder / "grouped.yaml"
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return str(path)


def _show(setup: str, made: Sequence[Round], seconds: float) -> None:
    """Print the processes of a setup; each figure is the median of its rounds."""
    for one in made:
        keep(f"{setup}: first action", [one.first_action_s], "s")
        keep(f"{setup}: memory", [sum(cost.pss_mb for cost in one.costs.values())], "MB")
        keep(f"{setup}: processor", [sum(cost.cpu_pct for cost in one.costs.values())], "% of a core")
        keep(f"{setup}: actions off the grid", one.off_grid_ms)
        for node, latencies_ms in one.latencies_ms.items():
            keep(f"{setup}: latency of {node}", latencies_ms)
    table = Table(title=setup, title_justify="left", box=None, pad_edge=False)
    for column in ("process", "CPU %", "PSS MB", "USS MB", "threads"):
        table.add_column(column, justify="left" if column == "process" else "right", no_wrap=True)
    names = dict.fromkeys(name for one in made for name in one.costs)
    for name in names:
        table.add_row(name, *_cells([one.costs[name] for one in made if name in one.costs]))
    table.add_row("all", *_cells([_sum(list(one.costs.values())) for one in made]), end_section=True)
    Console(highlight=False, soft_wrap=True).print(table)
    first_s = sorted(one.first_action_s for one in made)
    print(f"first action after {', '.join(f'{value:.2f}' for value in first_s)} s; medians of {len(made)} rounds of "
          f"{seconds:g} s; CPU in % of one core")  # fmt: skip
    for node in sorted({name for one in made for name in one.latencies_ms}):
        latencies_ms = [value for one in made for value in one.latencies_ms.get(node, ())]
        print(f"{node}, from the stamp to its result [ms]: {_percentiles(latencies_ms)}")
    print(f"actions, off a steady grid [ms]: {_percentiles([value for one in made for value in one.off_grid_ms])}\n")


def _percentiles(values_ms: Sequence[float]) -> str:
    if not values_ms:
        return "none came"
    figures = Distribution.of(round(value * 1e6) for value in values_ms).summary_ms()
    p50, p99, most = ("-" if figures[name] is None else f"{figures[name]:.2f}" for name in ("p50", "p99", "max"))
    return f"p50 {p50}, p99 {p99}, max {most}, n {len(values_ms)}"


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(*(sum(values) for values in zip(*costs, strict=True)))


def _cells(costs: Sequence[Cost]) -> list[str]:
    figures = [statistics.median(values) for values in zip(*costs, strict=True)]
    return [f"{figures[0]:.1f}", f"{figures[1]:.0f}", f"{figures[2]:.0f}", f"{figures[3]:.0f}"]
