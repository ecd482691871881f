"""perf-inference bench: what this machine can do, one benchmark each."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from typing import Any, NoReturn

from perf_inference import missing
from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import add_missing_arguments, with_report
from perf_inference.errors import ConfigError
from perf_inference.printable import printable

NEEDS_ROS = False
BENCHES = {
    "audit": "what result files of ros2_benchmark cannot say, and what in them does not fit together",
    "console": "the console's own cost: until its first useful frame, and of the processor with many nodes",
    "contention": "several models at once: slow-down of each beside each other and all, throughput, fairness",
    "engines": "what the engine layer adds to a call of the runtime itself",
    "gap": "latency after idle pauses, and what keeping the device warm costs and gains",
    "gate": "the gate in a process of its own: what it adds to an action's way, and its memory",
    "graph": "what the whole demo costs: start, processor, memory and threads by process, also in one process",
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
_WITH_ROS = ("console", "gate", "graph", "jitter", "replay", "share", "transport")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCH", parser_class=BenchParser)
    for name, text in BENCHES.items():
        benches.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".").bench = name


class BenchParser(argparse.ArgumentParser):
    """The arguments of one benchmark; its module is imported when they are read, the others' are not."""

    bench = ""
    """Its name, until the arguments have been added."""

    def fill(self) -> None:
        """Add the arguments."""
        name, self.bench = self.bench, ""
        if not name:
            return
        module_of(name).add_arguments(self)
        add_missing_arguments(self)
        if not self.epilog:
            add_example(self, f"perf-inference bench {name} --html {name}.html")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the arguments first."""
        self.fill()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line: a name that a shell's pattern found can hold anything."""
        super().error(printable(message))


def run(options: argparse.Namespace) -> int:
    """Run one benchmark; return its exit status."""
    if options.bench in _WITH_ROS and importlib.util.find_spec("rclpy") is None:
        raise ConfigError(missing.NO_ROS)
    module = module_of(options.bench)
    if options.bench not in OWN_REPORT:
        return with_report(options.bench, module.run, options)
    status: int = module.run(options)
    return status


def module_of(bench: str) -> Any:
    """Return the module of a benchmark."""
    name = "torch_gpu" if bench == "torch" else bench  # a file torch.py would hide PyTorch from the scripts beside it
    return importlib.import_module(f"perf_inference.bench.{name}")
