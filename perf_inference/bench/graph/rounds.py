"""One start of a graph, and what its processes take."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import psutil

from perf_inference.bench.jitter import deviations_ns
from perf_inference.bench.results.processes import cpu_s, end
from perf_inference.bringup.child_process import tied
from perf_inference.bringup.domain import free_domain
from perf_inference.bringup.executables import CONTAINER
from perf_inference.bringup.tuning import handed_on
from perf_inference.errors import PerfInferenceError
from perf_inference.printable import printable

_FIRST_ACTION_S, _SETTLE_S, _STOP_S, _LOOK_S = 60.0, 1.0, 15.0, 0.01
_MB = 1e6
_FEWEST_ACTIONS = 10
_MOST_NAMED = 3  # nodes of a process


class Cost(NamedTuple):
    """What a process takes."""

    cpu_pct: float  # of one core
    pss_mb: float
    uss_mb: float
    threads: float


class Round(NamedTuple):
    """What was seen of one start."""

    first_action_s: float  # after the command
    costs: dict[str, Cost]  # by process
    latencies_ms: dict[str, list[float]]  # by node: from the stamp of what it looked at to the end of publishing
    off_grid_ms: list[float]  # of each action, as another process receives it: how far from a steady grid of its rate


def one_round(command: tuple[str, ...], seconds: float) -> Round:
    """Start a command of perf-inference in a folder and a domain of its own, measure and listen, and end it.

    Raises:
        PerfInferenceError: it ended before, or no action came within a minute.
    """
    from perf_inference.nodes.bench.graph_collector import GraphCollector

    domain = free_domain()
    with (
        closing(GraphCollector(domain)) as collector,
        tempfile.TemporaryDirectory() as folder,
        open(os.path.join(folder, "said"), "w+") as said,
    ):
        start_s = time.monotonic()
        process = subprocess.Popen(
            tied([sys.executable, "-m", "perf_inference.cli", *command]), stdout=said, stderr=subprocess.STDOUT,
            cwd=folder, env={**handed_on(), "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            while "[ACTION #1]" not in (text := _read(said.name)):
                if process.poll() is not None or time.monotonic() > start_s + _FIRST_ACTION_S:
                    last = printable("; ".join(text.splitlines()[-3:]))
                    raise PerfInferenceError(
                        f"no action of '{' '.join(command)}' came: "
                        f"{f'it ended with status {process.returncode}' if process.poll() is not None else 'a minute'}"
                        f"; it said: {last}"
                    )
                time.sleep(_LOOK_S)
            first_s = time.monotonic() - start_s
            collector.listen(_SETTLE_S)
            costs = _costs(process.pid, lambda: collector.listen(seconds))
            off_grid_ms = [off for received_ns in collector.actions_ns.values() for off in _off_grid_ms(received_ns)]
            return Round(first_s, costs, dict(collector.latencies_ms), off_grid_ms)
        finally:
            end(process, _STOP_S)


def _off_grid_ms(received_ns: list[int]) -> list[float]:
    """Return how far each is from a grid of the rate at which they came."""
    if len(received_ns) < _FEWEST_ACTIONS:
        return []
    gaps_ns = np.diff(received_ns)
    number = np.cumsum(np.round(gaps_ns / np.median(gaps_ns)))  # one that is missing shifts nothing
    period_ns = round(float(np.polyfit(number, np.cumsum(gaps_ns), 1)[0]))
    return [abs(off) / 1e6 for off in deviations_ns(received_ns, period_ns).tolist()]


def _costs(pid: int, meanwhile: Callable[[], None]) -> dict[str, Cost]:
    """Return what each process took while that ran."""
    starter = psutil.Process(pid)
    processes = [starter, *starter.children(recursive=True)]
    start_s, before = time.monotonic(), [cpu_s(process.pid) for process in processes]
    meanwhile()
    costs: dict[str, Cost] = {}
    for process, before_s in zip(processes, before, strict=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a child of a moment
            elapsed_s, memory = time.monotonic() - start_s, process.memory_full_info()
            cpu_pct = 100 * (cpu_s(process.pid) - before_s) / elapsed_s
            name = _name(process)
            name = name if name not in costs else f"{name} ({process.pid})"
            costs[name] = Cost(cpu_pct, memory.pss / _MB, memory.uss / _MB, process.num_threads())
    return costs


def _name(process: psutil.Process) -> str:
    """Return what a process is called in the graph."""
    words = process.cmdline()
    for word in words:
        if word.startswith("__node:="):
            return word.partition("=")[2]
    modules = [word for word in words if word.startswith("perf_inference.nodes.")]
    if f"perf_inference.nodes.{CONTAINER}" in modules and "--ros-args" in words:  # of a group, or all
        named = words[words.index(modules[0]) + 1 : words.index("--ros-args")]
        if len(named) > _MOST_NAMED:
            return f"{CONTAINER} of {len(named)} nodes"
        return " + ".join(word.rpartition("=")[2] for word in named)
    return modules[0].rpartition(".")[2] if modules else "starter"


def _read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()
