"""How steadily a chunk policy's commands come at 50 Hz while it infers, as an outside subscriber receives them.

    perf-inference bench jitter [--seconds 20] [--gate process|inline] [--json FILE]

The embedded chunk policy is played at 50 Hz; the robot stands still, so that all there is to see is the time. What is
told of a command is its distance from a steady grid of 20 ms; the way of the message to the subscriber is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from perf_inference.bench.results.printed import keep, tell
from perf_inference.bringup.domain import free_domain
from perf_inference.bringup.tuning import handed_on, tuned
from perf_inference.errors import PerfInferenceError
from perf_inference.measure.statistics import Distribution
from perf_inference.model_build import metadata_of
from perf_inference.quantities import above_zero
from perf_inference.tasks.policy.contract.parse import METADATA

RATE_HZ = 50
_PEER = Path(__file__).parents[1] / "nodes" / "bench" / "jitter_peer.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--seconds", type=above_zero, default=20.0, help="after the first command (default: 20)")
    parser.add_argument("--gate", choices=("process", "inline"), default="process", help="default: process")


def deviations_ns(received_ns: Sequence[int], period_ns: int) -> NDArray[np.int64]:
    """Return how far each is from a steady grid [ns]; one that is missing shifts nothing.

    The grid lies where the earliest twentieth of all come; up to three quarters of a period are told as late.
    """
    times = np.asarray(sorted(received_ns), np.int64) - min(received_ns)
    phase = np.sort((times + period_ns // 2) % period_ns)[len(times) // 20] - period_ns // 2
    number = np.floor((times - phase) / period_ns + 0.25).astype(np.int64)
    off = times - phase - number * period_ns
    return np.asarray(off - np.median(off).astype(np.int64))


def run(options: argparse.Namespace) -> int:
    """Run it and print the figures."""
    contract = metadata_of("chunk_policy")[METADATA].replace("rate_hz: 20", f"rate_hz: {RATE_HZ}")
    environment = {**handed_on(), "ROS_DOMAIN_ID": str(free_domain())}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "contract.yaml"
        path.write_text(contract)
        settings = {"model": "chunk_policy", "contract": path, "enabled": "true", "tracking_tolerance": "0.0",
                    "gate": options.gate, "threads": "1", "max_observation_age_s": "1.0"}  # fmt: skip
        command = [sys.executable, "-m", "perf_inference.nodes.policy_node", "--ros-args"]
        for name, value in settings.items():
            command += ["-p", f"{name}:={value}"]
        node = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            peer = [sys.executable, str(_PEER), "--seconds", str(options.seconds)]
            done = subprocess.run(peer, env=tuned(environment), capture_output=True, text=True, check=False)
        finally:
            node.send_signal(signal.SIGINT)
            node.wait(10)
    received = json.loads(done.stdout or "[]")
    if len(received) < RATE_HZ:
        raise PerfInferenceError(f"only {len(received)} commands came: {done.stderr[-500:]}")
    off = deviations_ns(received, round(1e9 / RATE_HZ))
    figures = Distribution.of(np.abs(off).astype(int).tolist()).summary_ms()
    expected = round((max(received) - min(received)) / 1e9 * RATE_HZ) + 1
    load = os.getloadavg()[0]
    print(f"{len(received)} of {expected} commands at {RATE_HZ} Hz, gate {options.gate}, load {load:.1f}; "
          f"off the grid: p50 {figures['p50']} ms, p99 {figures['p99']} ms, max {figures['max']} ms")  # fmt: skip
    keep(f"off the grid, gate {options.gate}", (off / 1e6).tolist())
    tell(figures_ms=figures, gate=options.gate)
    return 0
