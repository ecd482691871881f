"""The summary of the machine between two moments: clocks, power, energy, temperature, what held the clocks back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perf_inference.measure.stamps import Scalar
from perf_inference.telemetry.nvml import SLOWDOWNS

MOVED = 0.02  # a clock whose highest reading is further above its lowest than this share was not steady


@dataclass(frozen=True)
class ClockRange:
    """A clock's readings in a window."""

    min_mhz: float
    mean_mhz: float
    max_mhz: float
    moved: bool | None  # None: one reading cannot tell


@dataclass(frozen=True)
class Power:
    """One source of power figures: a GPU, or a rail of the board."""

    mean_w: float  # over the time that is known
    energy_j: float | None  # None: not known over the whole window
    known_s: float
    counted_j: float | None = None  # by the GPU's own counter of energy, which misses nothing between two readings


@dataclass(frozen=True)
class MachineWindow:
    """The summary of a window; None: not known on this machine, or not in this window."""

    begin_ns: int
    end_ns: int
    samples: int  # inside
    cpu: ClockRange | None  # of the mean over the cores
    gpu: ClockRange | None  # of every GPU (NVML: SM clock) or GPC that runs (Jetson); moved: any one of them
    power_source: str | None  # the board's whole input where it is measured, else its rails or the GPUs, added
    power_w: float | None
    energy_j: float | None
    powers: Mapping[str, Power] = field(default_factory=dict)  # each GPU and rail by itself
    temperature_max_degc: float | None = None
    clock_reasons: tuple[str, ...] | None = None  # all that NVML named
    nvpmodel: tuple[str, ...] = ()  # more than one: it was changed inside the window
    jetson_clocks: bool | None = None
    governor: str | None = None

    @property
    def clock_moved(self) -> bool | None:
        """Whether the clock of `clock_moved_of` moved."""
        clock = self.gpu or self.cpu
        return None if clock is None else clock.moved

    @property
    def clock_moved_of(self) -> str | None:
        """Whose clock `clock_moved` judges: the GPU's ("gpu"), or the processor's ("cpu") where no GPU's is known."""
        return "gpu" if self.gpu else "cpu" if self.cpu else None

    @property
    def slowdowns(self) -> tuple[str, ...] | None:
        """The reasons that held a GPU with work below the clock asked for."""
        return None if self.clock_reasons is None else tuple(r for r in self.clock_reasons if r in SLOWDOWNS)

    def energy_per_inference_j(self, inferences: int) -> float | None:
        """Return the window's energy over its inferences [J]; the machine's idle share is in it."""
        return None if self.energy_j is None or inferences <= 0 else self.energy_j / inferences

    def as_dict(self) -> dict[str, Scalar | bool]:
        """Return the flat record for a summary."""
        record: dict[str, Scalar | bool] = {
            "window_s": (self.end_ns - self.begin_ns) / 1e9,
            "machine_samples": self.samples,
        }
        for name, clock in (("cpu", self.cpu), ("gpu", self.gpu)):
            record[f"{name}_mhz_min"] = None if clock is None else clock.min_mhz
            record[f"{name}_mhz_mean"] = None if clock is None else round(clock.mean_mhz, 3)
            record[f"{name}_mhz_max"] = None if clock is None else clock.max_mhz
        record.update(
            clock_moved=self.clock_moved,
            clock_moved_of=self.clock_moved_of,
            power_source=self.power_source,
            power_w=None if self.power_w is None else round(self.power_w, 4),
            energy_j=None if self.energy_j is None else round(self.energy_j, 4),
            temperature_max_degc=self.temperature_max_degc,
            clock_reasons=None if self.clock_reasons is None else " ".join(self.clock_reasons),
            nvpmodel=", ".join(self.nvpmodel) or None,
            jetson_clocks=self.jetson_clocks,
            governor=self.governor,
        )
        return record


def window_text(window: Mapping[str, object]) -> str:
    """Return what a summary's window says of clocks, power and temperature, as far as it is known."""

    def number(key: str) -> float | None:
        value = window.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    parts = []
    for name in ("cpu", "gpu"):
        low, mean, high = (number(f"{name}_mhz_{key}") for key in ("min", "mean", "max"))
        if low is not None and mean is not None and high is not None:
            moved = f" ({low:.0f} to {high:.0f})" if high > (1 + MOVED) * low else ", steady"
            parts.append(f"{name.upper()} at {mean:.0f} MHz{moved}")
    if (power_w := number("power_w")) is not None:
        parts.append(f"{power_w:.1f} W ({window.get('power_source')})")
    if (degc := number("temperature_max_degc")) is not None:
        parts.append(f"{degc:.0f} degC at most")
    return ", ".join(parts)
