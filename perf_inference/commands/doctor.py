"""perf-inference doctor: what is slow or broken on this machine and in its running graph, why, and how to fix it."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import orjson

from perf_inference.bringup import shared_memory, tuning
from perf_inference.doctor import (
    accelerator,
    allocator,
    clocks,
    disk,
    engine_cache,
    flows,
    inputs,
    memory,
    network,
    onnx_runtime,
    others,
    processor,
    report,
    software,
)
from perf_inference.doctor import transport as transports
from perf_inference.doctor.finding import CHECKS, Finding, exit_status
from perf_inference.doctor.graph import GraphFacts
from perf_inference.doctor.processes import Participants, own_domain, participants
from perf_inference.doctor.snapshot import Interval, take_snapshot

NEEDS_ROS = False
_INTERRUPTED = 130
_BEFORE_S = 0.7
_OF_GRAPH = ("transport", "allocator", "qos", "topics", "inputs", "clocks")
_WITH_GRAPH = (*_OF_GRAPH, "disk", "udp")  # these say more with it
_IN_TIME = (*_WITH_GRAPH, "cores", "governor")  # what happens meanwhile is looked at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--only",
        action="append",
        metavar="CHECK",
        choices=_names(),
        help=f"one of {', '.join(_names())}; repeatable",
    )
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="how long the graph is observed (default: 3)")
    parser.add_argument("--directory", type=Path, help="where recordings go (default: the running recorder's, or runs)")
    parser.add_argument("--shm", type=Path, default=shared_memory.SHM, help="shared memory (default: /dev/shm)")
    parser.add_argument("--clean", action="store_true", help="first remove what dead processes left in shared memory")


def _names() -> tuple[str, ...]:
    return (*CHECKS, *others.others())


def run(options: argparse.Namespace) -> int:
    """Tell what was found; return 0 (all is well), 1 (warnings) or 2 (errors)."""
    if options.clean:
        removed = shared_memory.clean(options.shm)
        ports = f"removed {len(removed)} ports that nobody uses" if removed else "nothing to clean"
        print(f"perf-inference doctor: {shared_memory.describe(removed) or ports}", file=sys.stderr)
    wanted = tuple(name for name in _names() if options.only is None or name in options.only)
    try:
        seen = observe(wanted, options.seconds)
    except KeyboardInterrupt:
        return _INTERRUPTED
    findings = examine(wanted, seen, options.shm, options.directory)
    if options.json:
        print(orjson.dumps(report.as_dict(findings, seen.participants.domain), option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(report.lines(findings)), flush=True)
    return exit_status(findings)


@dataclass(frozen=True)
class Seen:
    """What was observed of the running graph."""

    participants: Participants
    window: Interval | None
    facts: GraphFacts | None
    before: Interval | None = None  # before the doctor joined the graph
    no_graph: str = ""  # why it was not looked at
    broken: bool = False  # it should have been


def observe(wanted: Collection[str], seconds: float) -> Seen:
    """Look at the graph and the machine for so long, as far as the wanted checks need it."""
    found = participants(own_domain(), leave_out=frozenset({os.getpid()}))
    if not set(wanted) & set(_IN_TIME):
        return Seen(found, None, None)
    if not set(wanted) & set(_WITH_GRAPH):
        return Seen(found, _watch(found, lambda: time.sleep(seconds)), None)
    if importlib.util.find_spec("rclpy") is None:
        why = "rclpy is not installed or sourced: the graph cannot be looked at"
        return Seen(found, _watch(found, lambda: time.sleep(seconds)), None, no_graph=why)
    print(f"perf-inference doctor: observing ROS domain {found.domain} for {seconds:g} s", file=sys.stderr, flush=True)
    tuning.tune_this_process()
    if not software.rclpy_loads():
        why = f"ROS does not start here: no RMW is installed as {os.environ.get('RMW_IMPLEMENTATION', '')}"
        return Seen(found, _watch(found, lambda: time.sleep(seconds)), None, no_graph=why, broken=True)
    before = _watch(found, lambda: time.sleep(_BEFORE_S)) if found.here and "allocator" in wanted else None
    heard: list[GraphFacts] = []
    try:
        from perf_inference.nodes.graph.graph_check import GraphCheck

        check = GraphCheck()
    except Exception as error:  # a middleware that is not there, a library that does not load
        why = f"ROS does not start here: {str(error).splitlines()[0]}"
        return Seen(found, _watch(found, lambda: time.sleep(seconds)), None, no_graph=why, broken=True)
    try:
        check.discover([one.pid for one in found.here])
        window = _watch(found, lambda: heard.append(check.listen(seconds)))
    finally:
        check.close()
    return Seen(found, window, heard[0], before)


def examine(wanted: Collection[str], seen: Seen, shm: Path, directory: Path | None) -> list[Finding]:
    """Return the findings of the wanted checks, in the order of CHECKS."""
    facts, window, found = seen.facts, seen.window, seen.participants
    rate, directories = inputs.recorder(facts, platform.node() or "host") if facts is not None else (None, [])
    place = directory or disk.place(directories, found) or Path("runs")
    segments = [one.segment_bytes for one in found.here if one.segment_bytes]
    checks: dict[str, Callable[[], Finding | list[Finding]]] = {
        "shared_memory": lambda: memory.shared_memory_size(shm, segments),
        "leftovers": lambda: memory.leftovers(shm),
        "udp": lambda: network.udp_buffers(transports.needs_udp(found, facts.flows if facts else ()), window),
        "governor": lambda: processor.governor(window),
        "gpu": accelerator.gpu,
        "jetson": accelerator.jetson,
        "disk": lambda: disk.disk(place, rate),
        "cv_bridge": software.cv_bridge,
        "torch": lambda: software.torch(*software.driver_cuda()),
        "onnxruntime": lambda: onnx_runtime.onnx_runtime(software.driver_cuda()[1]),
        "engine_cache": engine_cache.engine_cache,
        "transport": lambda: transports.transport(found, facts),
    }
    if window is not None:
        graph = {os.getpid(), *(one.pid for one in found.here)}
        checks["cores"] = lambda: processor.cores(window, graph)
        checks["allocator"] = lambda: allocator.allocator(found, facts.flows if facts else None, window, seen.before)
    if facts is not None and window is not None:
        checks |= {
            "qos": lambda: flows.qos(facts),
            "topics": lambda: flows.topics(facts),
            "inputs": lambda: inputs.inputs(facts, found, window),
            "clocks": lambda: clocks.clocks(facts),
        }
    checks |= {name: functools.partial(others.check, point) for name, point in others.others().items()}
    findings: list[Finding] = []
    for name in wanted:
        result = checks[name]() if name in checks else Finding(name, "skipped", seen.no_graph)
        findings += [result] if isinstance(result, Finding) else result
    if seen.broken and set(wanted) & set(_OF_GRAPH):
        fix = "an RMW that is installed (see: ls $(ros2 pkg prefix rmw_implementation)/lib), for example:\n"
        fix += "$ export RMW_IMPLEMENTATION=rmw_fastrtps_cpp"
        broken = Finding("transport", "error", seen.no_graph, "no node can start in this environment either", fix)
        findings = [one for one in findings if one.check != "transport"] + [broken]
    return findings


def _watch(found: Participants, work: Callable[[], None]) -> Interval:
    """Return what happened meanwhile."""
    pids = [one.pid for one in found.here]
    before = take_snapshot(pids)
    work()
    return Interval(before, take_snapshot(pids))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"must be from 0.1 to 3600 s, got {text}")
    return value
