"""perf-inference bench: what this machine can do, one benchmark each."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import add_missing_arguments, with_report

NEEDS_ROS = False
BENCHES = {
    "audit": "what result files of ros2_benchmark cannot say, and what in them does not fit together",
    "contention": "several models at once: slow-down of each beside each other and all, throughput, fairness",
    "engines": "what the engine layer adds to a call of the runtime itself",
    "gap": "latency after idle pauses, and what keeping the device warm costs and gains",
    "gate": "the gate in a process of its own: what it adds to an action's way, and its memory",
    "images": "conversion of images, beside the steps that cv_bridge takes",
    "jitter": "how steadily a chunk policy's commands come at 50 Hz while it infers, seen from outside",
    "ladder": "which optimisation of a model is worth it here: runtimes, precisions, batches, side by side",
    "overhead": "what the measurement itself costs per frame",
    "recorder": "recording: the end of a run, hand-over, and messages per second, against batch JSON and MCAP",
    "replay": "how fast a graph goes on a recording: latency from the due time, and the highest rate that holds",
    "share": "a node's own share of the latency, beside a plain rclpy node's",
    "torch": "PyTorch's engines on a ResNet-50-size network, beside plain PyTorch (on a GPU where there is one)",
    "vision": "pre- and post-processing of vision models, by kind and number of objects",
    "transport": "images from process to process, stock and tuned, against the machine's floor",
}

OWN_REPORT = ("audit", "contention", "gap", "ladder", "replay")
"""Those that make their reports themselves; what the others print goes into one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    for name, text in BENCHES.items():
        bench = benches.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        _module(name).add_arguments(bench)
        add_missing_arguments(bench)
        if not bench.epilog:
            add_example(bench, f"perf-inference bench {name} --html {name}.html")


def run(options: argparse.Namespace) -> int:
    """Run one benchmark; return its exit status."""
    module = _module(options.bench)
    if options.bench not in OWN_REPORT:
        return with_report(options.bench, module.run, options)
    status: int = module.run(options)
    return status


def _module(bench: str) -> Any:
    name = "torch_gpu" if bench == "torch" else bench  # a file torch.py would hide PyTorch from the scripts beside it
    return importlib.import_module(f"perf_inference.bench.{name}")
