"""The statuses of the machine: the host, each NVIDIA GPU, and the platform that both run on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from perf_inference.measure.alarm import Alarm, Limits
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.monitor.watched_node import PREFIX, judged, rounded
from perf_inference.nodes.reports.messages import STALE, key_values
from perf_inference.telemetry.board import BoardSample
from perf_inference.telemetry.history import MachineSample
from perf_inference.telemetry.host import HostSample
from perf_inference.telemetry.nvml import SLOWDOWNS, GpuSample
from perf_inference.telemetry.tegrastats_sample import TOTAL_RAILS, TegrastatsSample


@dataclass(frozen=True)
class MachineLimits:
    """When the machine is worth a warning."""

    stale_s: float
    temperature_degc: Limits
    memory_pct: Limits
    load: Limits  # per core


class MachineStatuses:
    """Judges samples; `owner` is the node that publishes them, with its namespace."""

    def __init__(self, owner: str, limits: MachineLimits) -> None:
        self._owner, self._limits = owner, limits
        self._host_name = platform.node() or "host"
        self._alarms: dict[tuple[str, str], Alarm] = {}

    def of(self, sample: MachineSample, now_ns: int) -> list[DiagnosticStatus]:
        """Return the statuses of the newest sample, the monotonic clock being at `now_ns`."""
        statuses = [self._host(sample.host), self._platform(sample), *(self._gpu(gpu) for gpu in sample.gpus or ())]
        age_s = (now_ns - sample.monotonic_ns) / 1e9
        if age_s > self._limits.stale_s:
            for status in statuses:
                status.level, status.message = STALE, f"no sample for {age_s:.1f} s: a sensor or a driver hangs"
        return statuses

    def _host(self, host: HostSample) -> DiagnosticStatus:
        used_pct = _share(host.memory_used_mb, host.memory_total_mb)
        load = None if host.load_1min is None else host.load_1min / host.cores
        values: dict[str, Scalar] = {
            "hostname": self._host_name,
            "cpu_pct": _rounded(host.cpu_pct),
            "cores": host.cores,
            "load_1min": _rounded(host.load_1min),
            "load_per_core": _rounded(load),
            "memory_used_mb": round(host.memory_used_mb),
            "memory_total_mb": round(host.memory_total_mb),
            "memory_used_pct": _rounded(used_pct),
            "monitor_cpu_pct": None if host.own is None else _rounded(host.own.cpu_pct),
            "monitor_memory_mb": None if host.own is None else _rounded(host.own.memory_mb),
        }
        values.update({f"cpu{core}_pct": _rounded(share) for core, share in enumerate(host.cpu_per_core_pct)})
        alarms = [
            self._memory("host", used_pct),
            self._alarm(
                "host",
                "load",
                self._limits.load,
                load,
                f"load {_rounded(host.load_1min)} on {host.cores} cores",
                "per core",
            ),
        ]
        return self._status("host", self._host_name, alarms, values)

    def _gpu(self, gpu: GpuSample) -> DiagnosticStatus:
        part = f"gpu{gpu.index}"
        used_pct = _share(gpu.memory_used_mb, gpu.memory_total_mb)
        reasons = gpu.clock_reasons
        held_back = None if reasons is None else [reason for reason in reasons if reason in SLOWDOWNS]
        values: dict[str, Scalar] = {
            "gpu": gpu.name,
            "utilisation_pct": gpu.utilisation_pct,
            "memory_used_mb": _rounded(gpu.memory_used_mb),
            "memory_total_mb": _rounded(gpu.memory_total_mb),
            "memory_used_pct": _rounded(used_pct),
            "temperature_degc": gpu.temperature_degc,
            "power_w": gpu.power_w,
            "power_limit_w": gpu.power_limit_w,
            "sm_mhz": gpu.sm_mhz,
            "sm_max_mhz": gpu.sm_max_mhz,
            "memory_mhz": gpu.memory_mhz,
            "memory_max_mhz": gpu.memory_max_mhz,
            "clock_reasons": None if reasons is None else " ".join(reasons),
            "held_back_by": None if held_back is None else " ".join(held_back),
        }
        alarms = [self._temperature(part, gpu.temperature_degc), self._memory(part, used_pct)]
        return self._status(part, gpu.uuid or gpu.name or part, alarms, values)

    def _platform(self, sample: MachineSample) -> DiagnosticStatus:
        host = sample.host
        board = None if sample.tegrastats is None else sample.tegrastats.sample
        known = [host.temperature_degc, None if board is None else board.hottest_c]
        hottest_degc = max((degc for degc in known if degc is not None), default=None)
        fixed = sample.jetson.jetson_clocks
        values: dict[str, Scalar] = {
            "temperature_degc": hottest_degc,
            "power_w": _power_w(board, sample.board),
            "cpu_mhz": _rounded(host.cpu_mhz),
            "governor": host.governor,
            "nvpmodel": sample.jetson.nvpmodel,
            "jetson_clocks": None if fixed is None else ("on" if fixed else "off"),
        }
        values.update({f"cpu{core}_mhz": _rounded(mhz) for core, mhz in enumerate(_core_clocks(host, board))})
        if sample.board is not None:
            values.update(_kernel(sample.board))
        if board is not None and sample.tegrastats is not None:
            values["tegrastats_age_s"] = round((sample.monotonic_ns - sample.tegrastats.monotonic_ns) / 1e9, 3)
            values.update(_board(board))
        return self._status("platform", self._host_name, [self._temperature("platform", hottest_degc)], values)

    def _temperature(self, part: str, degc: float | None) -> tuple[int, str]:
        return self._alarm(part, "degc", self._limits.temperature_degc, degc, f"{degc} degC", "degC")

    def _memory(self, part: str, used_pct: float | None) -> tuple[int, str]:
        return self._alarm(
            part, "memory", self._limits.memory_pct, used_pct, f"{used_pct or 0:.0f} % of memory in use", "%"
        )

    def _alarm(
        self, part: str, what: str, limits: Limits, value: float | None, text: str, unit: str
    ) -> tuple[int, str]:
        return judged(self._alarms.setdefault((part, what), Alarm(limits)), value, text, unit)

    def _status(
        self, part: str, hardware_id: str, alarms: list[tuple[int, str]], values: Mapping[str, Scalar]
    ) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([max(raised for raised, _ in alarms)]),
            name=f"{PREFIX}{self._owner}/{part}",
            message="; ".join(text for raised, text in alarms if raised) or "running",
            hardware_id=hardware_id,
            values=key_values(rounded(values)),
        )


def _kernel(board: BoardSample) -> dict[str, Scalar]:
    """Return what a Jetson's kernel says without tegrastats, by the names that tegrastats' figures have."""
    values: dict[str, Scalar] = {"gpu_pct": board.gpu_load_pct}
    values.update({f"gpu_gpc{index}_mhz": mhz for index, mhz in enumerate(board.gpu_mhz.values())})
    values.update({f"power_{rail}_mw": round(1000 * power_w) for rail, power_w in board.power_w.items()})
    return values


def _board(board: TegrastatsSample) -> dict[str, Scalar]:
    """Return what tegrastats alone knows."""
    values: dict[str, Scalar] = {
        "emc_pct": board.emc_load_pct,
        "emc_mhz": board.emc_freq_mhz,
        "ram_used_mib": board.ram_used_mb,
        "ram_total_mib": board.ram_total_mb,
        "swap_used_mib": board.swap_used_mb,
    }
    if board.gpu_load_pct is not None:  # else the kernel's own figure stays
        values["gpu_pct"] = board.gpu_load_pct
    values.update({f"gpu_gpc{index}_mhz": mhz for index, mhz in enumerate(board.gpu_freq_mhz)})
    values.update({f"temperature_{zone}_degc": degc for zone, degc in board.temps_c.items()})
    values.update({f"temperature_{zone}_degc": None for zone in board.temps_unavailable})
    values.update({f"power_{rail}_mw": power.now for rail, power in board.power_mw.items()})
    return values


def _power_w(line: TegrastatsSample | None, board: BoardSample | None) -> float | None:
    """Return the board's whole input power, where it is measured."""
    if line is not None and line.total_rail is not None:
        return line.power_mw[line.total_rail].now / 1000
    measured = {} if board is None else board.power_w
    return next((measured[rail] for rail in TOTAL_RAILS if rail in measured), None)


def _core_clocks(host: HostSample, board: TegrastatsSample | None) -> tuple[float | None, ...]:
    known = any(mhz is not None for mhz in host.cpu_per_core_mhz)
    return host.cpu_per_core_mhz if known or board is None else tuple(core.freq_mhz for core in board.cpu)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
