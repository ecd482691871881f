"""GPUs, and a Jetson's power mode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from perf_inference.doctor.finding import Finding
from perf_inference.telemetry.jetson import Jetson, JetsonSettings
from perf_inference.telemetry.nvml import SLOWDOWNS, GpuSample, Nvml

_ANSWER_S = 3.0


def gpu() -> list[Finding]:
    """Look at every GPU."""
    nvml = Nvml()
    try:
        return judge_gpus(nvml.sample(), nvml.absent or "")
    finally:
        nvml.close()


def judge_gpus(gpus: Sequence[GpuSample] | None, absent: str) -> list[Finding]:
    """Judge clocks, power and what holds the clocks back."""
    if not gpus:
        return [Finding("gpu", "skipped", absent or "no GPU")]
    return [_judge_gpu(one) for one in gpus]


def _judge_gpu(one: GpuSample) -> Finding:
    parts = [
        f"GPU {one.index} {one.name or ''}".strip(),
        _of("clock", one.sm_mhz, one.sm_max_mhz, "MHz"),
        _of("power", one.power_w, one.power_limit_w, "W"),
        "" if one.temperature_degc is None else f"{one.temperature_degc:.0f} degC",
        "" if one.memory_used_mb is None else _of("memory", one.memory_used_mb, one.memory_total_mb, "MB"),
    ]
    value = ", ".join(filter(None, parts))
    held = [reason for reason in one.clock_reasons or () if reason in SLOWDOWNS]
    if held:
        why = f"{', '.join(held)} holds the clock below what was asked for: an inference takes longer by as much"
        if any("power" in reason for reason in held):
            fix = f"a stronger supply, or a higher limit:\n$ sudo nvidia-smi -i {one.index} -pl WATTS"
        else:
            fix = f"more cooling; what it is in detail:\n$ nvidia-smi -i {one.index} -q -d PERFORMANCE,CLOCK"
        return Finding("gpu", "warning", value, why, fix)
    if one.clock_reasons is not None and "applications_clocks_setting" in one.clock_reasons:
        why = "somebody has set a clock for applications; it holds the GPU below its best"
        return Finding("gpu", "warning", value, why, f"$ sudo nvidia-smi -i {one.index} -rac")
    return Finding("gpu", "ok", value + (" (idle)" if one.clock_reasons and "gpu_idle" in one.clock_reasons else ""))


def jetson(command: Sequence[str] = ("nvpmodel", "-q"), sys: Path = Path("/sys")) -> list[Finding]:
    """Ask a Jetson's tools; their answer is waited for."""
    reader = Jetson(command, sys=sys)
    try:
        settings, deadline = reader.sample(), time.monotonic() + _ANSWER_S
        while reader.asking and time.monotonic() < deadline:
            time.sleep(0.05)
            settings = reader.sample()
        return judge_jetson(settings)
    finally:
        reader.close()


def judge_jetson(settings: JetsonSettings) -> list[Finding]:
    """Judge power mode and clocks."""
    findings = []
    if settings.nvpmodel is not None:
        if settings.nvpmodel.upper().startswith("MAXN"):
            findings.append(Finding("jetson", "ok", f"power mode {settings.nvpmodel}"))
        else:
            why = "a mode below MAXN switches cores off and caps the clocks of CPU, GPU and memory"
            fix = "choose one:\n$ grep 'POWER_MODEL ID' /etc/nvpmodel.conf\n$ sudo nvpmodel -m ID"
            findings.append(Finding("jetson", "warning", f"power mode {settings.nvpmodel}", why, fix))
    if settings.jetson_clocks is not None:
        if settings.jetson_clocks:
            findings.append(Finding("jetson", "ok", "clocks fixed (jetson_clocks)"))
        else:
            why = "clocks that follow the load are low when a frame comes after a pause: latencies scatter"
            findings.append(Finding("jetson", "warning", "clocks not fixed", why, "$ sudo jetson_clocks"))
    return findings or [Finding("jetson", "skipped", "no Jetson (no nvpmodel, no GPU of its own in devfreq)")]


def _of(name: str, value: float | None, limit: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{name} {value:.0f} {unit}" if limit is None else f"{name} {value:.0f} of {limit:.0f} {unit}"
