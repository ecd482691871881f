"""How fast images go from process to process: `perf-inference bench transport`.

A publisher and a subscriber are started for each row, once with stock settings (what you have set yourself stays) and
once with those that this package gives its nodes, in turns, so that whatever else the machine does hits both. Latency
counts from the call of publish() to the callback that has the message, on the steady clock. The floor is what the
machine itself takes for the copies on the way: one copy of the data from memory into mapped pages, at the pace of the
frames, times seven (C, CDR, shared memory; payload, CDR, C, Python).
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from perf_inference import missing
from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep, standalone, tell
from perf_inference.bench.transport_pair import Outcome, Size, Traffic, exchange
from perf_inference.bringup import shared_memory, tuning
from perf_inference.bringup.domain import free_domain
from perf_inference.commands.whole_table import console_of, print_whole
from perf_inference.errors import ConfigError
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import above_zero, positive

COPIES = 7
SIZES = ("1KB", "320x240", "640x480", "1280x720", "1920x1080", "3840x2160")
SETUPS = ("stock", "tuned")
QOS = ("reliable", "best_effort")
_POOL_BYTES = 192 << 20  # larger than caches: a copy comes from memory
_BAR = 44


class Row(NamedTuple):
    """One line of the table; durations in ms, CPU and page faults per frame sent."""

    size: str
    setup: str
    qos: str
    rate_hz: float
    sent: int
    received: int
    lost_pct: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    cpu_ms_sub: float
    cpu_ms_pub: float
    faults_sub: float
    segment_mb: float  # the publisher's shared memory
    floor_ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench transport --html transport.html",
        "perf-inference bench transport --sizes 1920x1080 --qos reliable --seconds 30 --at-most 600",
    )
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="SIZE",
                        help=f"WIDTHxHEIGHT at 3 bytes a pixel, or 1KB (default: {' '.join(SIZES)})")  # fmt: skip
    parser.add_argument("--qos", nargs="+", choices=QOS, default=list(QOS), metavar="QOS",
                        help=f"{' or '.join(QOS)} (default: both)")  # fmt: skip
    parser.add_argument("--rate", type=above_zero, default=30.0, help="messages per second (30)")
    parser.add_argument("--frames", type=positive, default=66,
                        help="messages of each row and round (66; a p90 takes 64 in all, a p99 662)")  # fmt: skip
    parser.add_argument("--seconds", type=above_zero, help="duration of each row and round, instead of --frames")
    parser.add_argument("--rounds", type=positive, default=2, help="how often all is repeated (2)")
    parser.add_argument("--at-most", type=above_zero, default=220.0, metavar="SECONDS",
                        help="begin no round that would end later (220)")  # fmt: skip
    parser.add_argument("--raw", action="store_true",
                        help="subscribe to the serialised message, and look at its data through NumPy")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Measure, and print table and plot."""
    if importlib.util.find_spec("rclpy") is None:
        raise ConfigError(missing.NO_ROS)
    if min(options.rate, options.frames, options.rounds, options.seconds or 1) <= 0:
        raise ConfigError("--rate, --frames, --seconds and --rounds must be above 0")
    sizes = [Size.of(text) for text in options.sizes]
    frames = round(options.seconds * options.rate) if options.seconds else options.frames
    traffics = [Traffic(size, qos, options.rate, max(1, frames), options.raw) for size in sizes for qos in options.qos]
    machine: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    print(
        f"{machine['cores']} cores, load {machine['load_before']:.2f}; {options.rounds} rounds of {frames} frames a row"
    )
    print(f"tuned: {tuning.describe(_user_environment())}", flush=True)
    bench = Bench(traffics)
    bench.run(options.rounds, options.at_most)
    rows = bench.rows()
    machine["load_after"] = os.getloadavg()[0]
    show(rows, machine["load_after"])
    tell(machine=machine, copies=COPIES, rows=[row._asdict() for row in rows])
    return 0


class Bench:
    """The rounds, and what they have given."""

    def __init__(self, traffics: Sequence[Traffic]) -> None:
        self._traffics = traffics
        self._outcomes: dict[tuple[Traffic, str], list[Outcome]] = {}
        self._floors_ns: dict[Size, list[int]] = {}
        own = {**_user_environment(), "ROS_DOMAIN_ID": str(free_domain())}
        off = {**own, tuning.TUNING: "off"}
        tuned = (tuning.tuned(own, images=True), tuning.tuned(own, images=False))
        self._environments = {"stock": (off, off), "tuned": tuned}  # publisher's, subscriber's

    def run(self, rounds: int, at_most_s: float) -> None:
        """Measure all, stock and tuned in turns."""
        console = Console(stderr=True)
        started_s = time.monotonic()
        with console.status("") as status:
            for number in range(rounds):
                taken_s = time.monotonic() - started_s
                if number and taken_s * (number + 1) / number > at_most_s:
                    print(f"round {number + 1} is left out: it would end later than {at_most_s:g} s after the start")
                    break
                for traffic in self._traffics:
                    self._floors_ns.setdefault(traffic.size, []).extend(
                        copies_ns(traffic.size.size_bytes, traffic.rate_hz)
                    )
                    for setup in SETUPS:
                        status.update(f"round {number + 1}: {traffic.size.name} {traffic.qos} {setup}")
                        outcome = exchange(traffic, *self._environments[setup])
                        self._outcomes.setdefault((traffic, setup), []).append(outcome)
        shared_memory.clean()

    def rows(self) -> list[Row]:
        """Return what was measured."""
        return [
            _row(traffic, setup, outcomes, self._floors_ns[traffic.size])
            for (traffic, setup), outcomes in self._outcomes.items()
        ]


def copies_ns(size_bytes: int, rate_hz: float, count: int = 20) -> list[int]:
    """Return what single copies from memory into mapped pages take, at the pace of the frames [ns]."""
    buffers = max(4, min(4096, _POOL_BYTES // size_bytes))
    pool = [np.full(size_bytes, 1, np.uint8) for _ in range(buffers)]
    taken = []
    for number in range(count):
        time.sleep(1 / rate_hz)  # a core that was idle is slower, and its caches are cold: as for a frame
        source, target = pool[(2 * number) % buffers], pool[(2 * number + 1) % buffers]
        started_ns = time.perf_counter_ns()
        np.copyto(target, source)
        taken.append(time.perf_counter_ns() - started_ns)
    return taken


def _user_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != tuning.TUNING}


def _row(traffic: Traffic, setup: str, outcomes: Sequence[Outcome], floors_ns: Sequence[int]) -> Row:
    keep(f"{traffic.size.name} {setup} {traffic.qos}", (ns / 1e6 for o in outcomes for ns in o.latencies_ns))
    sent, received = sum(o.sent for o in outcomes), sum(o.received for o in outcomes)
    figures = Distribution.of(ns for o in outcomes for ns in o.latencies_ns).summary_ms()
    return Row(
        traffic.size.name, setup, traffic.qos, traffic.rate_hz, sent, received,
        round(100 * (sent - received) / sent, 2), figures["p50"], figures["p90"], figures["p99"],
        cpu_ms_sub=round(sum(o.cpu_sub_ns for o in outcomes) / sent / 1e6, 3),
        cpu_ms_pub=round(sum(o.cpu_pub_ns for o in outcomes) / sent / 1e6, 3),
        faults_sub=round(sum(o.faults_sub for o in outcomes) / sent, 1),
        segment_mb=round(max(o.segment_bytes for o in outcomes) / 1e6, 2),
        floor_ms=round(COPIES * sorted(floors_ns)[len(floors_ns) // 2] / 1e6, 4),
    )  # fmt: skip


def show(rows: Sequence[Row], load: float) -> None:
    """Print table, plot, and what tuning gains."""
    table = Table(title=f"latency, CPU and page faults per frame sent; load now {load:.2f}")
    for heading in ("size", "qos", "setup"):
        table.add_column(heading)
    for heading in ("sent", "lost %", "p50 ms", "p90", "p99", "floor ms", "x floor", "CPU sub ms", "pub", "faults"):
        table.add_column(heading, justify="right")
    for row in rows:
        ratio = None if row.p50_ms is None else row.p50_ms / row.floor_ms
        table.add_row(
            row.size, row.qos, row.setup, str(row.sent), f"{row.lost_pct:.1f}",
            *(_figure(value) for value in (row.p50_ms, row.p90_ms, row.p99_ms, row.floor_ms)), _figure(ratio, 1),
            _figure(row.cpu_ms_sub), _figure(row.cpu_ms_pub), f"{row.faults_sub:.0f}", end_section=row.setup == "tuned",
        )  # fmt: skip
    console = console_of(130)
    print_whole(console, table)
    for line in [*plot(rows), *gains(rows)]:
        console.print(line, highlight=False, markup=False)


def plot(rows: Sequence[Row]) -> list[str]:
    """Return bars of the p50 on a logarithmic scale; the floor's end is marked with a bar of its own."""
    values = [row.p50_ms for row in rows if row.p50_ms] + [row.floor_ms for row in rows]
    low, high = math.log(min(values) / 1.5), math.log(max(values))

    def cells(value: float) -> int:
        return max(1, round(_BAR * (math.log(value) - low) / (high - low)))

    lines = ["p50 [ms], logarithmic; | is the machine's floor"]
    for row in rows:
        bar = list(("█" * cells(row.p50_ms) if row.p50_ms else "").ljust(_BAR + 1))
        bar[cells(row.floor_ms)] = "|"
        said = f"{row.p50_ms:.2f}" if row.p50_ms else f"{row.received} of {row.sent} came"
        lines.append(f"{row.size:>9} {row.qos:<11} {row.setup} {''.join(bar)} {said}")
    return lines


def gains(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each size and QoS: stock against tuned."""
    lines = []
    by_key: Mapping[tuple[str, str, str], Row] = {(row.size, row.qos, row.setup): row for row in rows}
    for (size, qos, setup), tuned in by_key.items():
        stock = by_key.get((size, qos, "stock"))
        if setup == "stock" or stock is None or tuned.p50_ms is None:
            continue
        if stock.p50_ms is None or (qos == "best_effort" and stock.lost_pct > 1):
            gain = f"{tuned.received} of {tuned.sent} arrive, stock {stock.received}"
        else:
            gain = f"p50 {stock.p50_ms / tuned.p50_ms:.1f} times lower than stock"
        lines.append(f"{size} {qos}: {gain}, {tuned.p50_ms / tuned.floor_ms:.2f} times the floor")
    return lines


def _figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the benchmark."""
    return standalone("transport", add_arguments, run, arguments, __doc__)


if __name__ == "__main__":
    raise SystemExit(main())
