"""What a whole graph costs: start, processor, memory and threads of each process, beside the same in one process.

The demo is started, or what is given after `--`, anew for each round of a setup, the setups in turn. The first action
counts from the start of the command. After it, and a second to settle, a stretch of time is measured: the processor
time that each process takes meanwhile, and at its end its memory and threads. Memory is the proportional set size
(PSS: pages that several processes map are shared out, so that the sum is what the graph takes) and the unique one
(USS: what ending the process would give back), both from /proc.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from perf_inference.bench.graph.rounds import Cost, Round, one_round
from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep
from perf_inference.errors import ConfigError
from perf_inference.quantities import above_zero, positive

DEMO = ("run", "--sim")
SETUPS: Mapping[str, tuple[str, ...]] = {
    "recorded, a process each": (),
    "a process each": ("--no-record",),
    "in one process": ("--no-record", "--container"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--rounds", type=positive, default=2, help="of each setup, in turn (default: %(default)s)")
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="that are measured (default: %(default)s)")
    parser.add_argument("--setup", default="", help="only setups whose name contains this")
    parser.add_argument(
        "command", nargs="*", default=[], metavar="ARGUMENT",
        help="after --: a command of perf-inference that starts a graph (default: run --sim)",
    )  # fmt: skip
    add_example(parser, "perf-inference bench graph -- run --config robot.yaml --sim")


def run(options: argparse.Namespace) -> int:
    """Run all rounds and print a table for each setup."""
    setups = {name: extra for name, extra in SETUPS.items() if options.setup in name}
    if not setups:
        raise ConfigError(f"--setup must be part of one of {', '.join(SETUPS)}; got '{options.setup}'")
    if options.rounds < 1 or not 1 <= options.seconds <= 600:
        raise ConfigError(
            f"--rounds must be at least 1 and --seconds 1 to 600, got {options.rounds}, {options.seconds}"
        )
    command = tuple(options.command) or DEMO
    rounds: dict[str, list[Round]] = {name: [] for name in setups}
    for number in range(options.rounds):
        for name, extra in setups.items():
            print(f"round {number + 1} of {options.rounds}: {name}", flush=True)
            rounds[name].append(one_round((*command, *extra), options.seconds))
    for name, made in rounds.items():
        _show(name, made, options.seconds)
    return 0


def _show(setup: str, made: Sequence[Round], seconds: float) -> None:
    """Print the processes of a setup; each figure is the median of its rounds."""
    for one in made:
        keep(f"{setup}: first action", [one.first_action_s], "s")
        keep(f"{setup}: memory", [sum(cost.pss_mb for cost in one.costs.values())], "MB")
        keep(f"{setup}: processor", [sum(cost.cpu_pct for cost in one.costs.values())], "% of a core")
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
          f"{seconds:g} s; CPU in % of one core\n")  # fmt: skip


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(*(sum(values) for values in zip(*costs, strict=True)))


def _cells(costs: Sequence[Cost]) -> list[str]:
    figures = [statistics.median(values) for values in zip(*costs, strict=True)]
    return [f"{figures[0]:.1f}", f"{figures[1]:.0f}", f"{figures[2]:.0f}", f"{figures[3]:.0f}"]
