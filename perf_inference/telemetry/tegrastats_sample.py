"""What one line of tegrastats says. What it does not print is None, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

DUMMY_ZONE = "PMIC"  # a fixed 100 or 50 degC on T186, T194 and T210
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")  # the board's whole input; AGX Xavier and AGX Orin measure none
SUMMED_RAILS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin; VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # AGX Thor, where VIN is not read
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
"""The rails that make up a module that measures no whole input."""


@dataclass(frozen=True)
class Core:
    """One entry of the CPU list; a core that is `off` has neither load nor clock."""

    load_pct: float | None
    freq_mhz: float | None
    online: bool


@dataclass(frozen=True)
class Engine:
    """A codec, DLA, PVA, VIC or APE."""

    on: bool
    load_pct: float | None = None  # the mean, where a PVA prints one per VPU
    freq_mhz: float | None = None
    loads_pct: tuple[float, ...] = ()  # as printed


@dataclass(frozen=True)
class Rail:
    """Power of one rail [mW]; the average is tegrastats' own, over its process's life, and no basis for energy."""

    now: float
    avg: float | None = None
    max: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        record = {"now": self.now, "avg": self.avg}
        return record if self.max is None else {**record, "max": self.max}


@dataclass(frozen=True)
class Mts:
    """Share of time in tasks of dynamic translation (Denver and Carmel cores)."""

    fg_pct: float
    bg_pct: float


@dataclass(frozen=True)
class TegrastatsSample:
    """One sample; names and units as in its record, memory in units of 1024."""

    timestamp: datetime | None = None  # the board's local time, to the second
    ram_used_mb: float | None = None
    ram_total_mb: float | None = None
    lfb_blocks: int | None = None  # largest free blocks: how many ...
    lfb_block_kb: int | None = None  # ... and how large
    swap_used_mb: float | None = None
    swap_total_mb: float | None = None
    swap_cached_mb: float | None = None
    iram_used_kb: float | None = None
    iram_total_kb: float | None = None
    cpu: tuple[Core, ...] = ()
    emc_load_pct: float | None = None
    emc_freq_mhz: float | None = None
    gpu_load_pct: float | None = None
    gpu_freq_mhz: tuple[float, ...] = ()  # per GPC; 0: gated
    temps_c: Mapping[str, float] = field(default_factory=dict)
    temps_max_c: Mapping[str, float] = field(default_factory=dict)
    temps_unavailable: tuple[str, ...] = ()
    power_mw: Mapping[str, Rail] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    mts: Mts | None = None

    @property
    def total_rail(self) -> str | None:
        """The rail that carries the board's whole input power; None: the board measures none."""
        return next((rail for rail in TOTAL_RAILS if rail in self.power_mw), None)

    @property
    def hottest_c(self) -> float | None:
        """The hottest zone, without the PMIC's fixed figure."""
        return max((degc for zone, degc in self.temps_c.items() if zone != DUMMY_ZONE), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the record: plain JSON values, null for what was not printed."""
        return {
            "timestamp": None if self.timestamp is None else self.timestamp.isoformat(),
            "ram_used_mb": self.ram_used_mb,
            "ram_total_mb": self.ram_total_mb,
            "lfb_blocks": self.lfb_blocks,
            "lfb_block_kb": self.lfb_block_kb,
            "swap_used_mb": self.swap_used_mb,
            "swap_total_mb": self.swap_total_mb,
            "swap_cached_mb": self.swap_cached_mb,
            "iram_used_kb": self.iram_used_kb,
            "iram_total_kb": self.iram_total_kb,
            "cpu": [{"load_pct": c.load_pct, "freq_mhz": c.freq_mhz, "online": c.online} for c in self.cpu],
            "emc_load_pct": self.emc_load_pct,
            "emc_freq_mhz": self.emc_freq_mhz,
            "gpu_load_pct": self.gpu_load_pct,
            "gpu_freq_mhz": list(self.gpu_freq_mhz),
            "temps_c": dict(self.temps_c),
            "temps_max_c": dict(self.temps_max_c),
            "temps_unavailable": list(self.temps_unavailable),
            "power_mw": {name: rail.as_dict() for name, rail in self.power_mw.items()},
            "engines": {
                name: {"on": engine.on, "load_pct": engine.load_pct, "freq_mhz": engine.freq_mhz}
                for name, engine in self.engines.items()
            },
            "mts": None if self.mts is None else {"fg_pct": self.mts.fg_pct, "bg_pct": self.mts.bg_pct},
        }
