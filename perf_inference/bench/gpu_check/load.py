"""Load: a network runs without a pause, and clocks, temperatures, power and energy are followed."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from perf_inference.bench.gpu_check.found import device
from perf_inference.bench.gpu_check.machine import _handle
from perf_inference.bench.gpu_check.section import Outcome, Skip, Table
from perf_inference.bench.gpu_check.torch_memory import _resnet
from perf_inference.engines import Options
from perf_inference.measure.statistics import Distribution
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.window import MachineWindow

_BATCH, _LOAD_S = 32, 30.0


def half_a_minute() -> Outcome:
    """Run a network of ResNet-50's size for 30 s, and compare the energy of two ways to measure it."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise Skip(f"no PyTorch: {error}") from None
    where = device()
    on_gpu = where != "cpu"
    load_s, batch = (float(os.environ.get("GPU_CHECK_LOAD_S", _LOAD_S)), _BATCH) if on_gpu else (3.0, 1)
    images = np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
    sampler = MachineSampler(period_s=0.5)
    with _resnet(Options(device=where, precision="fp16" if on_gpu else "fp32")) as engine:
        engine.infer({"images": images})
        sampler.start()
        time.sleep(1.0)  # the window begins after a first sample
        began_ns, began_mj = time.monotonic_ns(), _energy_mj()
        taken_ns = []
        while time.monotonic_ns() < began_ns + load_s * 1e9:
            call_ns = time.monotonic_ns()
            engine.infer({"images": images})
            taken_ns.append(time.monotonic_ns() - call_ns)
        ended_ns, ended_mj = time.monotonic_ns(), _energy_mj()
        time.sleep(1.0)
    window = sampler.window(began_ns, ended_ns)
    newest = sampler.newest()
    sampler.close()
    counted_j = None if began_mj is None or ended_mj is None else (ended_mj - began_mj) / 1000
    return _judge(window, counted_j, taken_ns, batch, (ended_ns - began_ns) / 1e9, newest, on_gpu)


def _judge(
    window: MachineWindow, counted_j: float | None, taken_ns: list[int], batch: int, took_s: float, newest: Any,
    on_gpu: bool,
) -> Outcome:  # fmt: skip
    read = [power.energy_j for power in window.powers.values() if power.energy_j is not None]
    read_j = sum(read) if read else None
    spread, images = Distribution.of(taken_ns), len(taken_ns) * batch
    rows = [
        ("images", f"{images} in {took_s:.1f} s: {images / took_s:.0f} a second, batch {batch}"),
        ("batch p50, p99, longest", ", ".join(f"{(value or 0) / 1e6:.2f} ms" for value in (
            spread.percentile_ns(50.0), spread.percentile_ns(99.0), max(taken_ns)))),
        ("GPU clock", str(window.gpu)),
        ("held back by", str(window.clock_reasons)),
        ("hottest", f"{window.temperature_max_degc} degC"),
        ("power", f"{window.power_w} W ({window.power_source})"),
        ("energy by readings of power", f"{read_j} J"),
        ("energy by NVML's counter", f"{counted_j} J"),
        ("energy as a summary gives it", f"{window.energy_j} J"),
        ("an image", f"{1000 * counted_j / images:.1f} mJ" if counted_j else "not known"),
    ]  # fmt: skip
    head = Table(("", "seen"), rows)
    if not on_gpu:
        return Outcome("no NVIDIA GPU: three seconds on the CPU", table=head)
    near = counted_j is not None and all(
        value is not None and abs(value - counted_j) < share * counted_j
        for value, share in ((read_j, 0.1), (window.energy_j, 0.02))
    )
    gpus = [] if newest is None else [repr(gpu) for gpu in newest.gpus or ()]
    said = (
        f"{read_j} J by readings of power, {counted_j} J by NVML's counter over {took_s:.1f} s, {window.energy_j} J in "
        "a summary"
    )
    return Outcome(said, near, {"window": window.as_dict(), "counted_j": counted_j, "newest": gpus}, head)


def _energy_mj() -> int | None:
    try:
        nvml, handle = _handle()
        return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except Exception:  # no NVML, no GPU, or none that counts
        return None


CHECKS = (half_a_minute,)
