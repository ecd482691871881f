"""What the engine layer adds to a call of the runtime itself: `perf-inference bench engines`.

The same model is called bare, as the runtime's own guide shows it, and through the package's engine. The two take
turns, and change places from turn to turn, so that whatever the machine does in between hits both. Both begin with
arrays of the host and end with arrays of the host. Times are of `time.perf_counter_ns`; raw values are kept.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep, standalone, tell
from perf_inference.engines import RUNTIMES, ArraySpec, Engine, Options, find_model, load
from perf_inference.errors import ConfigError
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import positive
from perf_inference.testing.samples import sample

LIMIT_US = 30.0
_OPTIONS = Options(device="cpu", threads=1)  # more threads wait for each other, and the layer is lost in that
_WARM_UP = 50
_WIDTH, _HIDDEN = 64, 128  # of the network for PyTorch, in features

Arrays = Mapping[str, NDArray[Any]]


class Pair(NamedTuple):
    """One model in one runtime: called bare, and as an engine."""

    bare: Callable[[Arrays], object]
    engine: Engine


class Taken(NamedTuple):
    """What each call took [ns]; the n-th of both belong to one turn."""

    bare_ns: list[int]
    engine_ns: list[int]

    @property
    def added_ns(self) -> list[int]:
        return [engine - bare for engine, bare in zip(self.engine_ns, self.bare_ns, strict=True)]


def _onnx(folder: Path) -> Pair:
    """Return the embedded policy in ONNX Runtime."""
    import onnxruntime

    from perf_inference.engines.onnx.engine import session_options

    session = onnxruntime.InferenceSession(
        find_model("policy", "onnx"), session_options(_OPTIONS), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return Pair(lambda inputs: session.run(names, inputs), load("policy", "onnx", _OPTIONS))


def _torch(folder: Path) -> Pair:
    """Return two layers in PyTorch, in a checkpoint of their own."""
    import torch
    from safetensors.torch import save_file

    from perf_inference.engines import architectures

    def network() -> Any:
        return torch.nn.Sequential(
            torch.nn.Linear(_WIDTH, _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, _WIDTH)
        ).eval()  # fmt: skip

    def build(weights: Mapping[str, Any], metadata: Mapping[str, str]) -> architectures.Architecture:
        built = network()
        built.load_state_dict(dict(weights))
        return architectures.Architecture(built, (ArraySpec("x", (1, _WIDTH), np.dtype(np.float32)),), ("y",))

    architectures.register("bench_engines", build)
    module, checkpoint = network(), folder / "two_layers.safetensors"
    save_file(module.state_dict(), checkpoint, {"architecture": "bench_engines"})

    def bare(inputs: Arrays) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(inputs["x"])).numpy()

    return Pair(bare, load(str(checkpoint), "torch", _OPTIONS))


PAIRS: Mapping[str, Callable[[Path], Pair]] = {"onnx": _onnx, "torch": _torch}


def measure(pair: Pair, calls: int) -> Taken:
    """Call both in turns, after a warm-up."""
    inputs = sample(pair.engine.inputs, 1)
    clock = time.perf_counter_ns
    bare, infer = pair.bare, pair.engine.infer
    for _ in range(_WARM_UP):
        bare(inputs)
        infer(inputs)
    taken = Taken([], [])
    for turn in range(calls):
        order = ((bare, taken.bare_ns), (infer, taken.engine_ns))
        for call, into in order if turn % 2 else order[::-1]:
            start = clock()
            call(inputs)
            into.append(clock() - start)
    return taken


def row(name: str, values_ns: Sequence[int]) -> str:
    """Return one line of the table [us]; a percentile of too few samples is a dash."""
    keep(name, (ns / 1e3 for ns in values_ns), "us")
    distribution = Distribution.of(values_ns)
    cells = [distribution.percentile_ns(percent) for percent in (50.0, 90.0, 99.0)]
    return f"{name:<28}" + "".join(f"{'-' if ns is None else f'{ns / 1e3:.2f}':>10}" for ns in cells) + (
        f"{distribution.max_ns / 1e3:>12.2f}{distribution.n:>9}"
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench engines --json engines.jsonl",
        "perf-inference bench engines --runtime onnx --calls 20000",
    )
    parser.add_argument("--calls", type=positive, default=5000, help="calls of each (default: 5000)")
    parser.add_argument("--runtime", choices=tuple(PAIRS), action="append", help="only this one (may be repeated)")


def run(options: argparse.Namespace) -> int:
    """Print the table; 1 where a runtime's layer costs more than it may at p50."""
    if options.calls < 11:
        raise ConfigError(f"--calls must be 11 or more for a p50, got {options.calls}")
    runtimes = options.runtime or [name for name in PAIRS if RUNTIMES[name].installed]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.calls} calls each, in turns, one thread")
    print(f"{'[us]':<28}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>12}{'n':>9}")
    all_taken: dict[str, Taken] = {}
    with TemporaryDirectory() as folder:
        for name in runtimes:
            pair = PAIRS[name](Path(folder))
            with closing(pair.engine):
                taken = all_taken[name] = measure(pair, options.calls)
            for what, values_ns in (("bare", taken.bare_ns), ("engine", taken.engine_ns), ("ADDED", taken.added_ns)):
                print(row(f"{name}, {what}", values_ns))
    added_us = {name: added_at_p50(taken) for name, taken in all_taken.items()}
    tell(added_p50_us=added_us)
    for name, us in added_us.items():
        print(
            f"{name}: added at p50: {us:.1f} us ({'under' if us < LIMIT_US else 'OVER'} the limit of {LIMIT_US:g} us)"
        )
    return int(any(us >= LIMIT_US for us in added_us.values()))


def added_at_p50(taken: Taken) -> float:
    """Return what the engine adds to a call [us]."""
    p50_ns = Distribution.of(taken.added_ns).percentile_ns(50.0)
    assert p50_ns is not None  # `run` sees to the samples
    return p50_ns / 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    return standalone("engines", add_arguments, run, arguments, __doc__)


if __name__ == "__main__":
    raise SystemExit(main())
