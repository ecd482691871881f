"""One round of a setup of `bench share`: a detector and a camera, each a fresh process, and who hears both."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from perf_inference.bench.results.processes import cpu_s, end
from perf_inference.bench.share.outcome import Cost, Outcome
from perf_inference.bringup import tuning
from perf_inference.bringup.child_process import tied
from perf_inference.bringup.domain import free_domain
from perf_inference.errors import PerfInferenceError

WARM_UP = 30  # frames of each round that count only as received or lost
_HERE = Path(tuning.__file__).parents[1]
_PEERS = _HERE / "nodes" / "bench"
_READY_S, _SETTLE_S, _STOP_S = 20.0, 3.0, 5.0
_MB = 1e6
_SETTINGS = ("FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE",
             *tuning.ALLOCATOR, *tuning.PAGES, tuning.TUNING)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """Who detects in images of which size, and with which settings on both sides."""

    name: str
    plain: bool
    tuned: bool
    reliable: bool


def one_round(setup: Setup, image: Path, outcome: Outcome, options: argparse.Namespace) -> None:
    """Start detector and camera in a domain of their own, and take what comes of it.

    Raises:
        PerfInferenceError: one of them did not end well.
    """
    from perf_inference.nodes.bench.share_collector import ShareCollector

    domain = free_domain()
    environ = {**settings(setup.tuned), "ROS_DOMAIN_ID": str(domain), "PYTHONSAFEPATH": "1"}
    said = image.with_suffix(".json")
    collector = ShareCollector(domain)
    processes = [subprocess.Popen(tied(detector_command(setup, options)), env=environ, stdout=subprocess.DEVNULL)]
    try:
        heard = collector.spin_until(lambda: collector.hears() or processes[0].poll() is not None, _READY_S)
        with said.open("w") as file:
            processes.append(
                subprocess.Popen(tied(camera_command(setup, image, options)), env=environ, stdout=file)
            )  # fmt: skip
        before_s = cpu_s(processes[0].pid) if processes[0].poll() is None else 0.0
        ended = collector.spin_until(lambda: processes[1].poll() is not None, _READY_S + options.frames / options.rate)
        if not (heard and ended) or processes[1].returncode or processes[0].poll() is not None:
            raise PerfInferenceError(f"camera or detector of '{setup.name}' did not end well; what they said is above")
        camera = json.loads(said.read_text())
        stamps = camera["stamps_ns"]
        collector.spin_until(lambda: len(collector.parts_ms) >= len(stamps), _SETTLE_S)
        cpu_ms = 1e3 * (cpu_s(processes[0].pid) - before_s) / len(stamps)
        memory = psutil.Process(processes[0].pid).memory_full_info()
        outcome.costs.append(Cost(cpu_ms, 1e3 * camera["cpu_s"] / len(stamps), memory.pss / _MB, memory.uss / _MB))
    finally:
        for process in processes:
            end(process, _STOP_S)
        collector.close()
    outcome.sent += len(stamps)
    outcome.answered += sum(stamp in collector.parts_ms for stamp in stamps)
    outcome.add_parts([collector.parts_ms[s] for s in stamps[WARM_UP:] if s in collector.parts_ms])
    outcome.names |= {tuple(name for name, *_ in seen) for seen in collector.objects.values()}
    outcome.boxes_px += [[tuple(box) for _, *box in seen] for seen in collector.objects.values()]


def detector_command(setup: Setup, options: argparse.Namespace) -> list[str]:
    """Return the command line of our node or of the plain one."""
    if setup.plain:
        command = [sys.executable, str(_PEERS / "plain_detector.py"), str(_HERE / "models" / "detector.onnx"),
                   "--threads", str(options.threads)]  # fmt: skip
        return [*command, "--reliable"] if setup.reliable else command
    return [sys.executable, "-m", "perf_inference.nodes.yolo_node", "--ros-args", "-p", "class_agnostic:=true", "-p",
            f"threads:={options.threads}", "-p", f"expected_frequency:={options.rate}"]  # fmt: skip


def camera_command(setup: Setup, image: Path, options: argparse.Namespace) -> list[str]:
    """Return the command line of the camera."""
    command = [sys.executable, str(_PEERS / "camera.py"), str(image), "--rate", str(options.rate),
               "--frames", str(options.frames)]  # fmt: skip
    return [*command, "--reliable"] if setup.reliable else command


def settings(tuned: bool) -> dict[str, str]:
    """Return this process' environment with the stock transport and allocator, or with the package's."""
    stock = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    if tuned:
        return tuning.tuned(stock)
    tuning.switch_off(stock)
    return stock
