"""What a built model was made for: the machine's processor, or its GPU with its driver."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from perf_inference.devices import jetson
from perf_inference.devices.cuda_runtime import CudaDevice, NoCudaError, load_runtime
from perf_inference.errors import ConfigError, EngineError

_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "asimddp", "fphp")

DLA = ", DLA"


def identity(device: str) -> str:
    """Return the device in words that change when a built model would no longer fit or no longer be the best.

    `cuda:N`: name, compute capability, multiprocessors and driver; `dla:N`: the same, and that it is a DLA; anything
    else: the processor and what it calculates with.

    Raises:
        ConfigError: there is no such GPU.
    """
    if device.startswith("dla"):
        return f"{_gpu(0)}{DLA}"  # each of its cores runs what is built for one
    return _gpu(int(device.partition(":")[2] or 0)) if device.startswith("cuda") else processor()


@cache
def processor() -> str:
    """Return the architecture and those of its instructions that matter here: `x86_64 avx2 avx512_vnni`."""
    return " ".join((platform.machine(), *(flag for flag in _FLAGS if flag in processor_flags())))


@cache
def processor_flags() -> frozenset[str]:
    """Return what Linux says that the processor can do; nothing where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    said = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(said.partition(":")[2].split())


def _gpu(index: int) -> str:
    try:
        runtime = load_runtime()
        device = CudaDevice(runtime, index)
        driver = runtime.integer("cudaDriverGetVersion")
        mask = jetson.tpc_mask()
        return (
            f"{device.gpu_name}, compute capability {device.compute_capability}, {device.multiprocessors} "
            f"multiprocessors{f' (TPC mask {mask})' if mask else ''}, driver for CUDA {driver}"
        )
    except (NoCudaError, EngineError) as error:
        raise ConfigError(f"device 'cuda:{index}' is not here, and a model is built where it runs: {error}") from error
