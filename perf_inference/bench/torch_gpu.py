"""PyTorch's engines beside plain PyTorch: `perf-inference bench torch`.

Each row is one way to run the same network on the same images, NumPy in and NumPy out; plain PyTorch copies to the
device, runs and copies back, as its tutorials do. The ways take turns, call by call, in one process, so that a clock
that falls falls for all; each call ends when its outputs are on the host. Without a GPU only fp32 and bf16 are run,
at batch 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.bench.results.printed import keep
from perf_inference.engines import Engine, Options, load
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import positive
from perf_inference.telemetry.nvml import Nvml

Run = Callable[[NDArray[Any]], NDArray[Any]]
_WARM_UPS = 5


class Way(NamedTuple):
    """One way to run the network."""

    name: str
    run: Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--times", type=positive, help="how often each way is run per batch (default: 200, 20 on a CPU)"
    )
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 8], help="images per run (default: 1 8)")
    parser.add_argument("--device", default="auto", help="cpu or cuda:N (default: the first GPU if there is one)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too (minutes)")


def run(options: argparse.Namespace) -> int:
    """Print a table per batch."""
    import torch

    from perf_inference.bench.resnet import architecture, resnet50
    from perf_inference.engines.architectures import register
    from perf_inference.engines.pytorch.checkpoint import save_checkpoint
    from perf_inference.engines.pytorch.engine import find_device

    device = find_device(options.device)
    on_gpu = device != "cpu"
    times = options.times or (200 if on_gpu else 20)
    network = resnet50()
    parameters = sum(weight.numel() for weight in network.parameters())
    where = torch.cuda.get_device_name(device) if on_gpu else f"{os.cpu_count()} cores, no GPU used"
    print(f"PyTorch {torch.__version__} on {device} ({where}); {parameters / 1e6:.1f} M parameters; "
          f"load {os.getloadavg()[0]:.2f}; {times} times each, in turns; [ms]")  # fmt: skip
    register("resnet50", architecture)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "resnet50.safetensors"
        save_checkpoint(path, "resnet50", network.state_dict())
        for batch in options.batches if on_gpu else options.batches[:1]:
            engines = [(name, load(str(path), "torch", how)) for name, how in _settings(device, options.compile)]
            ways = [*_plain(network, device), *(_engine(name, engine) for name, engine in engines)]
            _print_table(ways, batch, times, Nvml())
            for _, engine in engines:
                engine.close()
    return 0


def _settings(device: str, compiled: bool) -> list[tuple[str, Options]]:
    """Return the engines' names and options."""
    on_gpu = device != "cpu"
    settings = []
    for precision in ("fp32", "fp16", "bf16") if on_gpu else ("fp32", "bf16"):
        for graph in (False, True) if on_gpu else (False,):
            for how in (False, True) if compiled else (False,):
                name = f"engine {precision}{' compiled' if how else ''}{' graph' if graph else ''}"
                settings.append((name, Options(precision=precision, device=device, cuda_graph=graph, compile=how)))
    return settings


def _plain(network: Any, device: str) -> list[Way]:
    """Return plain PyTorch, eager: fp32, and fp16 on a GPU."""
    import copy

    import torch

    def plain(name: str, dtype: Any) -> Way:
        own = copy.deepcopy(network).to(device, dtype)

        def run(images: NDArray[Any]) -> NDArray[Any]:
            with torch.no_grad():
                scores: NDArray[Any] = own(torch.from_numpy(images).to(device, dtype)).float().cpu().numpy()
            return scores

        return Way(name, run)

    fp32 = plain("plain fp32 eager", torch.float32)
    return [fp32, plain("plain fp16 eager", torch.float16)] if device != "cpu" else [fp32]


def _engine(name: str, engine: Engine) -> Way:
    told = engine.info.metadata.get("cuda_graph", "")
    return Way(name if told in ("", "yes") else f"{name} ({told})", lambda x: engine.infer({"images": x})["scores"])


def _print_table(ways: Sequence[Way], batch: int, times: int, nvml: Nvml) -> None:
    images = np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
    wanted = ways[0].run(images).copy()
    off = [float(np.abs(way.run(images) - wanted).max() / np.abs(wanted).max()) for way in ways]
    taken_ns: list[list[int]] = [[] for _ in ways]
    clocks_mhz: list[float] = []
    for turn in range(times + _WARM_UPS):
        for way, into in zip(ways, taken_ns, strict=True):
            start_ns = time.perf_counter_ns()
            way.run(images)
            if turn >= _WARM_UPS:
                into.append(time.perf_counter_ns() - start_ns)
        clocks_mhz += [gpu.sm_mhz for gpu in nvml.sample() or () if gpu.sm_mhz is not None]
    nvml.close()
    clock = f"SM clock {min(clocks_mhz):.0f} to {max(clocks_mhz):.0f} MHz" if clocks_mhz else "clock not known"
    print(f"\nbatch {batch}; {clock}; {len(taken_ns[0])} samples a row")
    print(f"{'':<44}{'p50':>9}{'p90':>9}{'p99':>9}{'faster':>8}{'off by':>10}")
    first_ns = Distribution.of(taken_ns[0]).percentile_ns(50.0)
    for way, taken, difference in zip(ways, taken_ns, off, strict=True):
        keep(f"{way.name}, batch {batch}", (ns / 1e6 for ns in taken))
        spread = Distribution.of(taken)
        p50, p90, p99 = (spread.percentile_ns(percent) for percent in (50.0, 90.0, 99.0))
        faster = f"{first_ns / p50:.2f}x" if first_ns and p50 else "-"
        print(f"{way.name:<44}{_ms(p50):>9}{_ms(p90):>9}{_ms(p99):>9}{faster:>8}{difference:>10.1e}")


def _ms(value_ns: float | None) -> str:
    return "-" if value_ns is None else f"{value_ns / 1e6:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="PyTorch's engines beside plain PyTorch, on a ResNet-50-size network.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
