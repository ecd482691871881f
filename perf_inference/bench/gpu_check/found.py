"""What this process has to check with: the GPU, or the CPU in its place; and the network of the models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.bench.gpu_check.section import Skip
from perf_inference.demo.model_score import inputs_of
from perf_inference.devices.cuda_runtime import CudaDevice, NoCudaError, load_runtime
from perf_inference.engines import Engine, Options, load

Arrays = Mapping[str, NDArray[Any]]
_ROUNDS = 5


@cache
def gpu() -> CudaDevice:
    """Return the first GPU through the CUDA runtime alone."""
    try:
        return CudaDevice(load_runtime(), 0)
    except NoCudaError as error:
        raise Skip(f"no NVIDIA GPU: {error}") from None


def device() -> str:
    """Return `cuda:0`, or `cpu` where there is no GPU."""
    try:
        gpu()
    except Skip:
        return "cpu"
    return "cuda:0"


def torch_gpu() -> Any:
    """Return PyTorch, which has a GPU."""
    try:
        import torch
    except ImportError as error:
        raise Skip(f"no PyTorch: {error}") from None
    if not torch.cuda.is_available():
        raise Skip(f"PyTorch {torch.__version__} finds no NVIDIA GPU")
    return torch


@cache
def reference(model: str, runtime: str = "onnx", seeds: int = _ROUNDS) -> tuple[tuple[Arrays, Arrays], ...]:
    """Return inputs as the model meets them, and what it answers to them in fp32 on the CPU.

    On noise the captioner is so unsure that half a digit makes another word of it: what differs then is no precision.
    """
    engine = load(model, runtime, Options(device="cpu", precision="fp32" if runtime == "torch" else "auto"))
    try:
        return tuple(
            (inputs, {name: np.array(array) for name, array in engine.infer(inputs).items()})
            for inputs in inputs_of(engine, seeds)
        )
    finally:
        engine.close()


def off_by(engine: Engine, pairs: tuple[tuple[Arrays, Arrays], ...]) -> float:
    """Return the largest difference from the expected outputs, as a share of the largest value of each output.

    Of whole numbers (words) it is the share that is another one.
    """
    worst = 0.0
    for inputs, expected in pairs:
        got = engine.infer(inputs)
        for name, wanted in expected.items():
            if wanted.dtype.kind in "iu":
                worst = max(worst, float(np.mean(got[name] != wanted)))
                continue
            most = float(np.abs(wanted).max(initial=0)) or 1.0
            difference = float(np.abs(got[name].astype(np.float64) - wanted).max(initial=0))
            worst = max(worst, difference / most) if np.isfinite(got[name]).all() else float("inf")
    return worst


def times_ns(call: Callable[[], object], least: int = 30, budget_s: float = 1.0, warm_ups: int = 5) -> list[int]:
    """Return how long each call took [ns]: `least` calls, and as many as fit into the budget up to 1000."""
    for _ in range(warm_ups):
        call()
    taken: list[int] = []
    end_s = time.monotonic() + budget_s
    while len(taken) < least or (len(taken) < 1000 and time.monotonic() < end_s):
        began_ns = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - began_ns)
        if time.monotonic() > end_s + 4:
            break
    return taken


def spread(taken_ns: list[int]) -> tuple[str, str, str, str]:
    """Return p50, p99 and the longest [ms], and how many."""
    p50, p99, most = np.percentile(taken_ns, 50), np.percentile(taken_ns, 99), max(taken_ns)
    return f"{p50 / 1e6:.3f}", f"{p99 / 1e6:.3f}", f"{most / 1e6:.3f}", str(len(taken_ns))


def ms(value_ns: float) -> str:
    """Return a duration [ms] in words."""
    return f"{value_ns / 1e6:.3f} ms"
