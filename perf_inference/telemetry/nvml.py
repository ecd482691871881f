"""NVIDIA GPUs through NVML (nvidia-ml-py, the extra `gpu`). A figure that a GPU does not give is None, never 0.

Where the module, the driver or a GPU is missing, `sample` returns None and nothing is said: `absent` holds the reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from perf_inference import missing

T = TypeVar("T")

CLOCK_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""NVML's clocks-event (formerly clocks-throttle) reasons, by bit."""

SLOWDOWNS = frozenset(CLOCK_REASONS.values()) - {
    "gpu_idle", "applications_clocks_setting", "sync_boost", "display_clock_setting",
}  # fmt: skip
"""The reasons that hold a GPU with work below the clock that was asked for."""

_NOT_AVAILABLE = {0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF}  # NVML_VALUE_NOT_AVAILABLE_*


@dataclass(frozen=True)
class GpuSample:
    """One reading of one GPU."""

    index: int
    name: str | None
    uuid: str | None
    utilisation_pct: float | None  # share of NVML's own period in which a kernel ran
    memory_used_mb: float | None  # by all processes, without what the driver keeps for itself
    memory_total_mb: float | None
    temperature_degc: float | None
    power_w: float | None
    power_limit_w: float | None
    sm_mhz: float | None
    sm_max_mhz: float | None
    memory_mhz: float | None
    memory_max_mhz: float | None
    clock_reasons: tuple[str, ...] | None  # empty: nothing holds the clock back
    energy_j: float | None = None  # counted since the driver was loaded


class Nvml:
    """Reads every GPU that the driver shows; `close` ends the session with the driver."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        self.absent: str | None = None
        try:
            self._nvml = importlib.import_module("pynvml")
        except ImportError:
            self.absent = f"nvidia-ml-py is not installed: {missing.extra('gpu')}"
            return
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            self._nvml = None
            self.absent = str(error)
            return
        for index in range(self._ask("nvmlDeviceGetCount") or 0):
            self._handles.append(self._ask("nvmlDeviceGetHandleByIndex", index))
        if not any(handle is not None for handle in self._handles):
            self.absent = "the driver shows no GPU"
            self.close()

    def sample(self) -> tuple[GpuSample, ...] | None:
        """Return a reading of each GPU; None: there is no NVML or no GPU here."""
        if self._nvml is None:
            return None
        return tuple(self._gpu(index, handle) for index, handle in enumerate(self._handles) if handle is not None)

    def close(self) -> None:
        """End the session; a second call does nothing."""
        if self._nvml is not None:
            self._ask("nvmlShutdown")
            self._nvml = None

    def _gpu(self, index: int, handle: Any) -> GpuSample:
        sm, memory = self._nvml.NVML_CLOCK_SM, self._nvml.NVML_CLOCK_MEM
        held = self._memory(handle)
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if reasons is None:  # a driver before 535
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        degc = self._ask("nvmlDeviceGetTemperatureV", handle, self._nvml.NVML_TEMPERATURE_GPU)
        if degc is None:  # a driver before 570
            degc = self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU)
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        return GpuSample(
            index=index,
            name=self._ask("nvmlDeviceGetName", handle),
            uuid=self._ask("nvmlDeviceGetUUID", handle),
            utilisation_pct=_known(rates, lambda value: float(value.gpu)),
            memory_used_mb=_known(held, lambda value: float(value.used) / 1e6),
            memory_total_mb=_known(held, lambda value: float(value.total) / 1e6),
            temperature_degc=_known(degc, float),
            power_w=_known(self._ask("nvmlDeviceGetPowerUsage", handle), _thousandths),
            power_limit_w=_known(self._ask("nvmlDeviceGetEnforcedPowerLimit", handle), _thousandths),
            sm_mhz=_known(self._ask("nvmlDeviceGetClockInfo", handle, sm), float),
            sm_max_mhz=_known(self._ask("nvmlDeviceGetMaxClockInfo", handle, sm), float),
            memory_mhz=_known(self._ask("nvmlDeviceGetClockInfo", handle, memory), float),
            memory_max_mhz=_known(self._ask("nvmlDeviceGetMaxClockInfo", handle, memory), float),
            clock_reasons=_known(reasons, clock_reasons),
            energy_j=_known(self._ask("nvmlDeviceGetTotalEnergyConsumption", handle), _thousandths),
        )

    def _memory(self, handle: Any) -> Any:
        """Return what is in use; version 2 counts what the driver reserves apart, as nvidia-smi does."""
        version = getattr(self._nvml, "nvmlMemory_v2", None)
        held = None if version is None else self._ask("nvmlDeviceGetMemoryInfo", handle, version)
        return self._ask("nvmlDeviceGetMemoryInfo", handle) if held is None else held  # a driver before 510

    def _ask(self, function: str, *arguments: Any) -> Any:
        """Return what NVML answers; None: this GPU, driver or module does not say."""
        ask = getattr(self._nvml, function, None)
        if ask is None:
            return None
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def clock_reasons(mask: int) -> tuple[str, ...]:
    """Return the names of the reasons in NVML's bit mask; a bit without a name as `reason_0x...`."""
    bits = (1 << position for position in range(mask.bit_length()) if mask >> position & 1)
    return tuple(CLOCK_REASONS.get(bit, f"reason_{bit:#x}") for bit in bits)


def _known(value: Any, convert: Callable[[Any], T]) -> T | None:
    return None if value is None or (isinstance(value, int) and value in _NOT_AVAILABLE) else convert(value)


def _thousandths(value: int) -> float:
    return value / 1000
