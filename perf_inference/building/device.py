"""What a built model was made for: the machine's processor, or its GPU with its driver."""

from __future__ import annotations

import platform
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError

_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "asimddp", "fphp")


def identity(device: str) -> str:
    """Return the device in words that change when a built model would no longer fit or no longer be the best.

    `cuda:N`: name, compute capability and driver, from NVML; anything else: the processor and what it calculates with.

    Raises:
        ConfigError: a GPU that NVML does not find.
    """
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
        nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        said = (nvml.nvmlDeviceGetName(handle), nvml.nvmlSystemGetDriverVersion())
    except Exception as error:  # not installed, no driver, no such GPU: pynvml's errors exist only once it is imported
        raise ConfigError(
            f"device 'cuda:{index}' cannot be told from others ({error}); a build for it needs an NVIDIA driver and "
            "pip install 'perf_inference[gpu]'"
        ) from error
    name, driver = (text.decode() if isinstance(text, bytes) else str(text) for text in said)
    return f"{name}, compute capability {major}.{minor}, driver {driver}"
