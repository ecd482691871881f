"""What is wrong with a machine as a whole."""

from __future__ import annotations

from perf_inference.console.causes.cause import Cause, shown
from perf_inference.console.machine import Machines

_HOT_DEGC, _FULL_PCT = 85.0, 90.0


def causes(machines: Machines, host: str, now_s: float) -> list[Cause]:
    """Return it, for one host."""
    found, name = [], shown(host)
    part, platform = machines.host(host, now_s), machines.platform(host, now_s)
    used = part.number("memory_used_pct") if part is not None else None
    if used is not None and used >= _FULL_PCT:
        found.append(Cause("memory", 69, f"{name}: {used:.0f} % of its memory is in use", "perf-inference nodes"))
    degc = platform.number("temperature_degc") if platform is not None else None
    if degc is not None and degc >= _HOT_DEGC:
        found.append(
            Cause(
                "hot",
                71,
                f"{name}: {degc:.0f} degC: it slows itself down",
                "perf-inference doctor --only governor --only jetson",
            )
        )
    for gpu in machines.gpus(host, now_s):
        what = shown(gpu.values.get("gpu") or "GPU")
        if held := gpu.values.get("held_back_by"):
            found.append(
                Cause(
                    "gpu_slowed",
                    72,
                    f"{name}: {what} is held back by {shown(held)}",
                    "perf-inference doctor --only gpu",
                )
            )
        memory = gpu.number("memory_used_pct")
        if memory is not None and memory >= _FULL_PCT:
            found.append(
                Cause("gpu_memory", 70, f"{name}: {memory:.0f} % of the memory of {what} is in use", "nvidia-smi")
            )
    return found
