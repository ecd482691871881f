"""PyTorch's engines: as right as on the CPU, how fast, with graphs, from threads, and what a swap leaves behind."""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from perf_inference.bench.gpu_check.found import device, off_by, reference, spread, times_ns, torch_gpu
from perf_inference.bench.gpu_check.section import Outcome, Skip, Table
from perf_inference.engines import Options, load
from perf_inference.telemetry.nvml import Nvml
from perf_inference.testing.engine_contract import CHECKS as CONTRACT
from perf_inference.testing.engine_contract import Subject

MODELS = ("detector", "captioner", "policy")
ALLOWED = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.1}  # off from fp32 on the CPU, as a share of the largest output
_SWAPS = 24


def embedded_models() -> Outcome:
    """Run every embedded model in every precision, with and without a CUDA graph, beside fp32 on the CPU."""
    where, rows, wrong = device(), [], []
    for model in MODELS:
        pairs = reference(model, "torch")
        for precision in ALLOWED if where != "cpu" else ("fp32", "bf16"):
            for wants_graph in (False, True) if where != "cpu" else (False,):
                options = Options(precision=precision, device=where, cuda_graph=wants_graph)
                engine = load(model, "torch", options)
                off = off_by(engine, pairs)
                taken = times_ns(lambda engine=engine, pairs=pairs: engine.infer(pairs[0][0]), 50, 0.4)  # type: ignore[misc]
                parts = {name: f"{value / 1e6:.3f}" for name, value in engine.parts_ns.items()}
                note = engine.info.metadata.get("cuda_graph", "-")
                engine.close()
                rows.append((model, precision, note, *spread(taken), " + ".join(parts.values()) or "-", f"{off:.1e}"))
                if off > ALLOWED[precision] or (wants_graph and note != "yes"):
                    wrong.append(f"{model} {precision} (graph: {note}) is off by {off:.1e}")
    head = ("model", "precision", "graph", "p50 [ms]", "p99", "max", "times", "to + in + from", "off by")
    said = f"on {where}: {'; '.join(wrong)}" if wrong else f"{len(rows)} ways on {where}, each near fp32 on the CPU"
    return Outcome(said, not wrong, table=Table(head, rows))


def contract() -> Outcome:
    """Put the engines to the checks that every engine must keep."""
    broken, kept = [], 0
    for model in MODELS[:1] if device() == "cpu" else MODELS[:2]:
        options = Options(device=device(), precision="fp32")
        subject = Subject(lambda model=model, options=options: load(model, "torch", options), settle_s=0.02)  # type: ignore[misc]
        for check in CONTRACT:
            try:
                check(subject)
                kept += 1
            except Exception as error:  # noqa: PERF203
                broken.append(f"{model} {check.__name__}: {type(error).__name__} {error}")
    return Outcome("; ".join(broken) or f"{kept} checks of the contract are kept on {device()}", not broken)


def two_engines_at_once() -> Outcome:
    """Two engines on two threads answer rightly, and neither waits for the other's stream."""
    where = device()
    pairs = {model: reference(model, "torch") for model in MODELS[:2]}
    engines = {model: load(model, "torch", Options(device=where, precision="fp32")) for model in pairs}

    def run(model: str) -> tuple[list[int], float]:
        taken = times_ns(lambda: engines[model].infer(pairs[model][0][0]), 100, 1.5)
        return taken, off_by(engines[model], pairs[model])

    alone = {model: run(model) for model in pairs}
    with ThreadPoolExecutor(len(pairs)) as threads:
        together = dict(zip(pairs, threads.map(run, pairs), strict=True))
    for engine in engines.values():
        engine.close()
    rows = [(model, how, *spread(taken), f"{off:.1e}") for how, found in (("alone", alone), ("together", together))
            for model, (taken, off) in found.items()]  # fmt: skip
    worst = max(off for _, off in together.values())
    return Outcome(f"together on {where} they are off by {worst:.1e} at most", worst < ALLOWED["fp32"],
                   table=Table(("model", "", "p50 [ms]", "p99", "max", "times", "off by"), rows))  # fmt: skip


def sleeping_waits() -> Outcome:
    """Run the detector with `blocking_wait`, and without: what a wait costs the processor, and the latency."""
    torch_gpu()
    rows, shares, pairs = [], [], reference("detector", "torch")
    for blocking in (False, True):  # in this order: the context's own flag stays set
        engine = load("detector", "torch", Options(device="cuda:0", precision="fp32", blocking_wait=blocking))
        off = off_by(engine, pairs)
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        taken = times_ns(lambda engine=engine: engine.infer(pairs[0][0]), 200, 1.0)  # type: ignore[misc]
        shares.append(100 * (time.thread_time() - began_cpu_s) / (time.perf_counter() - began_s))
        engine.close()
        rows.append(("sleeps" if blocking else "spins", f"{shares[-1]:.0f} %", *spread(taken), f"{off:.1e}"))
    head = Table(("wait", "of a core", "p50 [ms]", "p99", "max", "times", "off by"), rows)
    said = f"with waits that sleep the worker takes {shares[1]:.0f} % of a core and p50 is {rows[1][2]} ms, "
    return Outcome(f"{said}{shares[0]:.0f} % and {rows[0][2]} ms with waits that spin", table=head)


def swaps() -> Outcome:
    """Load, run and close an engine many times: the memory in use on the device does not grow."""
    torch_gpu()
    pairs, held_mb = reference("detector", "torch"), []
    nvml = Nvml()
    for turn in range(_SWAPS):
        precision = ("fp32", "fp16")[turn % 2]
        engine = load("detector", "torch", Options(device="cuda:0", precision=precision))
        off = off_by(engine, pairs[:1])
        engine.close()
        del engine
        if off > ALLOWED[precision]:
            return Outcome(f"swap {turn}: off by {off:.1e} in {precision}", False)
        held_mb.append(_used_mb(nvml))
    nvml.close()
    grown = held_mb[-1] - held_mb[_SWAPS // 4]
    said = f"{_SWAPS} swaps: in use {held_mb[0]:.0f} MB after the first, {held_mb[_SWAPS // 4]:.0f} after "
    said += f"{_SWAPS // 4}, {held_mb[-1]:.0f} after the last: {1000 * grown / (_SWAPS - _SWAPS // 4):.0f} kB a swap"
    return Outcome(said, grown < 32, {"held_mb": held_mb})


def trial() -> Outcome:
    """Try a model out in a process of its own, as a node does before a swap."""
    from perf_inference.model_build.trial.trial import try_out

    found = try_out("detector", "torch", Options(device=device(), precision="bf16"), runs=20, timeout_s=60.0)
    said = f"{found.info.device} {found.info.precision}: loaded in {found.load_ns / 1e9:.2f} s, "
    said += f"p50 {(found.infer.percentile_ns(50.0) or 0) / 1e6:.3f} ms, {found.memory_bytes / 1e6:.0f} MB of host "
    return Outcome(f"{said}memory, difference from fp32 {found.difference}", found.info.device == device())


def int8_is_refused() -> Outcome:
    """PyTorch's int8 on a GPU is refused with what would work."""
    torch_gpu()
    try:
        load("detector", "torch", Options(device="cuda:0", precision="int8"))
    except Exception as error:
        return Outcome(f"{type(error).__name__}: {error}", type(error).__name__ == "ConfigError")
    return Outcome("it was taken", False)


def a_device_that_is_not_here() -> Outcome:
    """A GPU too many is refused with how many there are."""
    torch_gpu()
    try:
        load("detector", "torch", Options(device="cuda:7"))
    except Exception as error:
        return Outcome(f"{type(error).__name__}: {error}", type(error).__name__ == "ConfigError")
    return Outcome("it was taken", False)


def resnet50() -> Outcome:
    """Run a network of ResNet-50's size beside plain PyTorch: `perf-inference bench torch`."""
    from perf_inference.bench import torch_gpu as bench

    if device() == "cpu":
        raise Skip("no NVIDIA GPU; it takes a minute on a CPU")
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with printed() as text:
        bench.run(parser.parse_args(["--device", "cuda:0", "--times", "60"]))
    return Outcome("its tables are below", text=text.getvalue())


@contextmanager
def printed() -> Iterator[io.StringIO]:
    """Catch what is printed."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        yield text


def _used_mb(nvml: Nvml) -> float:
    samples = nvml.sample()
    if samples and samples[0].memory_used_mb is not None:
        return samples[0].memory_used_mb
    torch: Any = torch_gpu()
    free, total = torch.cuda.mem_get_info(0)
    return float(total - free) / 1e6


CHECKS = (
    embedded_models,
    contract,
    two_engines_at_once,
    swaps,
    trial,
    int8_is_refused,
    a_device_that_is_not_here,
    resnet50,
    sleeping_waits,
)
