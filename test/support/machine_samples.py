"""The machine at moments worked out by hand."""

from __future__ import annotations

from perf_inference.telemetry.history import History, MachineSample
from perf_inference.telemetry.host import HostSample
from perf_inference.telemetry.jetson import JetsonSettings
from perf_inference.telemetry.nvml import GpuSample
from perf_inference.telemetry.tegrastats import parse
from perf_inference.telemetry.tegrastats_process import TegrastatsReading
from perf_inference.telemetry.window import MachineWindow

S = 1_000_000_000


def gpu(index: int = 0, name: str | None = None, **known: object) -> GpuSample:
    fields = dict.fromkeys(GpuSample.__dataclass_fields__)
    return GpuSample(**{**fields, "index": index, "name": name, **known})  # type: ignore[arg-type]


def at(
    second: float,
    *gpus: GpuSample,
    mhz: float | None = None,
    line: str = "",
    degc: float | None = None,
    jetson: JetsonSettings | None = None,
) -> MachineSample:
    """Return the machine at that second; the line of tegrastats came at the same moment."""
    time_ns = round(second * S)
    host = HostSample(
        cpu_pct=None, cpu_per_core_pct=(), cpu_mhz=mhz, cpu_per_core_mhz=(), governor="schedutil", load_1min=None,
        cores=2, memory_used_mb=1.0, memory_total_mb=2.0, temperature_degc=degc,
    )  # fmt: skip
    sample = parse(line)
    reading = None if sample is None else TegrastatsReading(sample, time_ns, time_ns)
    return MachineSample(time_ns, time_ns, host, gpus or None, reading, jetson or JetsonSettings())


def window(begin_s: float, end_s: float, *samples: MachineSample) -> MachineWindow:
    history = History()
    for sample in samples:
        history.add(sample)
    return history.window(round(begin_s * S), round(end_s * S))
