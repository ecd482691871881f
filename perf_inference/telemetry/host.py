"""The host: processor, memory, load. A value that cannot be read is None, never 0."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class HostSample:
    """One reading; percentages are since the reading before."""

    cpu_pct: float | None
    cpu_per_core_pct: tuple[float, ...]
    cpu_mhz: float | None
    load_1min: float | None
    cores: int
    memory_used_mb: float
    memory_total_mb: float
    temperature_degc: float | None  # the hottest sensor


class Host:
    """Reads the host; the first sample has no processor shares."""

    def __init__(self) -> None:
        psutil.cpu_percent(percpu=True)
        self._fresh = True

    def sample(self) -> HostSample:
        """Return a reading of now."""
        per_core = tuple(psutil.cpu_percent(percpu=True))
        first, self._fresh = self._fresh, False
        memory = psutil.virtual_memory()
        return HostSample(
            cpu_pct=None if first or not per_core else sum(per_core) / len(per_core),
            cpu_per_core_pct=() if first else per_core,
            cpu_mhz=_clock_mhz(),
            load_1min=os.getloadavg()[0],
            cores=psutil.cpu_count() or len(per_core),
            memory_used_mb=(memory.total - memory.available) / 1e6,
            memory_total_mb=memory.total / 1e6,
            temperature_degc=_hottest_degc(),
        )


def describe_host() -> dict[str, str | int | None]:
    """Return name, system, processor, cores and memory, for a recording's header."""
    return {
        "hostname": platform.node(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor_name(),
        "cores": psutil.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "python": platform.python_version(),
    }


def _clock_mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        return None
    return float(frequency.current) if frequency and frequency.current else None


def _hottest_degc() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    readings = [entry.current for entries in sensors.values() for entry in entries if entry.current]
    return max(readings) if readings else None


def _processor_name() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith(("model name", "hardware")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None
