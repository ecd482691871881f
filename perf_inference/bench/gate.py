"""The gate in a process of its own: what it adds to an action's way, and its memory.

An action is timed from when the policy hands it over until it was published and the policy knows what was sent; at the
policy's rate, while joint_states come at 100 Hz. Both setups take turns, each in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf_inference.bench.results.printed import keep, standalone, tell
from perf_inference.bringup.child_process import tied
from perf_inference.bringup.domain import free_domain
from perf_inference.bringup.tuning import handed_on
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import above_zero, positive

ADDED_MS, MEMORY_MB = 1.0, 45.0  # aims: at p50; of its own
_WHERE = ("inline", "process")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--actions", type=positive, default=500, help="of each round and setup")
    parser.add_argument("--rate", type=above_zero, default=50.0, help="actions per second [Hz]")
    parser.add_argument("--rounds", type=positive, default=3)


def run(options: argparse.Namespace) -> int:
    """Print the table; return 1 where an aim was missed."""
    taken: dict[str, list[int]] = {where: [] for where in _WHERE}
    memory: dict[str, float] = {}
    for _ in range(options.rounds):
        for where in _WHERE:
            found = _measured(where, options.actions, options.rate)
            taken[where] += found["release_ns"]
            memory = found["memory_mb"] or memory
    for where, values in taken.items():
        keep(f"gate {where}", (ns / 1e6 for ns in values))
    tell(memory_mb=memory)
    print(f"{'gate':<10}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}   ms, from handing over to published and known")
    p50 = {}
    for where, values in taken.items():
        figures = Distribution.of(values).summary_ms()
        p50[where] = figures["p50"] or 0.0
        print(f"{where:<10}" + "".join(_figure(figures[name]) for name in ("p50", "p90", "p99", "max"))
              + f"   n {len(values)}")  # fmt: skip
    added_ms = p50["process"] - p50["inline"]
    print(f"added by the process: {added_ms:.3f} ms at p50 (aim: under {ADDED_MS:g} ms)")
    said = ", ".join(f"{name} {value:.1f} MB" for name, value in memory.items())
    print(f"memory of the process: {said} (aim: USS under {MEMORY_MB:g} MB)")
    return 0 if added_ms < ADDED_MS and memory["USS"] < MEMORY_MB else 1


def measure(where: str, actions: int, rate_hz: float) -> None:
    """Measure one setup in this process, and print what was found as JSON."""
    from perf_inference.nodes.bench import gate_peer

    found = gate_peer.costs(where, actions, rate_hz, _memory_mb)
    print(json.dumps(found._asdict()), flush=True)


def _measured(where: str, actions: int, rate_hz: float) -> dict[str, Any]:
    code = f"from perf_inference.bench.gate import measure; measure({where!r}, {actions}, {rate_hz})"
    ended = subprocess.run(
        tied([sys.executable, "-c", code]), stdout=subprocess.PIPE, text=True, check=True,
        env={**handed_on(), "ROS_DOMAIN_ID": str(free_domain())},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _memory_mb(pid: int) -> dict[str, float]:
    """Return a process' memory: its own, its share of what is shared, and all that is mapped."""
    sizes: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name.rstrip(":")] = int(size) / 1024
    return {"USS": sizes["Private_Clean"] + sizes["Private_Dirty"], "PSS": sizes["Pss"], "RSS": sizes["Rss"]}


def _figure(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>8.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    return standalone("gate", add_arguments, run, arguments, __doc__)


if __name__ == "__main__":
    raise SystemExit(main())
