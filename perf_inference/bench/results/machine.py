"""The machine of a benchmark: what it is, and its clocks, temperature, power and load meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference._version import VERSION, installed
from perf_inference.report.document import Part, Table, TimeLines
from perf_inference.telemetry.history import MachineSample
from perf_inference.telemetry.host import describe_host
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.window import MachineWindow, window_text

_SAME = ("processor", "machine", "cores", "gpus", "governor")
_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_MOST_TRACKED = 7200
Tracked = dict[tuple[str, str], tuple[list[float], list[float]]]


class MachineTrack:
    """Samples the machine from its making on, once a second by default."""

    def __init__(self, period_s: float = 1.0, tegrastats_log: Path | None = None) -> None:
        self._sampler = MachineSampler(tegrastats_log=tegrastats_log, period_s=period_s)
        self._period_s = period_s
        self._tracked: Tracked = {}
        self._stop = threading.Event()
        self.begin_ns = time.monotonic_ns()
        self.described = self._describe(self._sampler.tick())
        self._thread = threading.Thread(target=self._run, name="machine", daemon=True)
        self._thread.start()

    def window(self, begin_ns: int | None = None, end_ns: int | None = None) -> MachineWindow:
        """Return the summary of a window of the monotonic clock; without one, of all until now."""
        return self._sampler.window(begin_ns or self.begin_ns, end_ns or time.monotonic_ns())

    def clocks_mhz(self) -> tuple[float | None, float | None]:
        """Return the clocks of processor and first GPU now [MHz]; None: not known."""
        sample = self._sampler.tick()
        self._take(sample)
        gpu = sample.gpus[0].sm_mhz if sample.gpus else None
        return sample.host.cpu_mhz, gpu

    def clock_text(self) -> str:
        """Return the clocks, power and temperature of the whole benchmark in words."""
        return window_text(self.window().as_dict()) or "clocks not known"

    def parts(self) -> list[Part]:
        """Return the tracks and the machine, for the report."""
        units = {"clock": "MHz", "temperature": "degC", "power": "W", "load": "%"}
        found: list[Part] = []
        for kind, unit in units.items():
            series = {name: track for (what, name), track in list(self._tracked.items()) if what == kind}
            if series:
                found.append(TimeLines(f"{kind.capitalize()} over time", series, unit))
        rows = [(key, _plain(value)) for key, value in self.described.items()]
        rows.append(("during the benchmark", self.clock_text()))
        return [*found, Table("The machine", ("", "value"), rows, at_length=True)]

    def close(self) -> None:
        """End the thread and the children; a second call does nothing."""
        self._stop.set()
        self._thread.join(2 * self._period_s)
        self._sampler.close()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                self._take(self._sampler.tick())
            except Exception:  # noqa: PERF203 - a sensor's driver that misbehaves must not end a benchmark
                continue

    def _take(self, sample: MachineSample) -> None:
        at_s = (sample.monotonic_ns - self.begin_ns) / 1e9
        host = sample.host
        values: dict[tuple[str, str], float | None] = {
            ("clock", "CPU"): host.cpu_mhz,
            ("temperature", "host"): host.temperature_degc,
            ("load", "CPU"): host.cpu_pct,
        }
        for gpu in sample.gpus or ():
            name = f"GPU {gpu.index}"
            values["clock", name], values["temperature", name] = gpu.sm_mhz, gpu.temperature_degc
            values["power", name], values["load", name] = gpu.power_w, gpu.utilisation_pct
        for key, value in values.items():
            if value is not None:
                times, track = self._tracked.setdefault(key, ([], []))
                if len(times) < _MOST_TRACKED:
                    times.append(at_s)
                    track.append(value)

    def _describe(self, sample: MachineSample) -> dict[str, Any]:
        return {
            **describe_host(),
            "governor": sample.host.governor,
            "cpu_mhz": sample.host.cpu_mhz,
            "load_1min": sample.host.load_1min,
            "affinity": sorted(os.sched_getaffinity(0)),
            "siblings": siblings(),
            "gpus": [gpu.name for gpu in sample.gpus or ()],
            "jetson_clocks": sample.jetson.jetson_clocks,
            "nvpmodel": sample.jetson.nvpmodel,
            "mps": bool(os.environ.get("CUDA_MPS_PIPE_DIRECTORY")),
            "perf_inference": VERSION,
            **{name: version for name in _PACKAGES if (version := installed(name))},
        }


def siblings() -> list[list[int]]:
    """Return the groups of processors that share one core, as the kernel tells them; [] where it does not."""
    groups = set()
    for processor in os.sched_getaffinity(0):
        try:
            words = Path(_TOPOLOGY.format(processor)).read_text().strip()
        except OSError:
            continue
        members: set[int] = set()
        for part in words.split(","):
            first, _, last = part.partition("-")
            members |= set(range(int(first), int(last or first) + 1))
        groups.add(tuple(sorted(members)))
    return [list(group) for group in sorted(groups)]


def unlike(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    """Return in what two machines differ so that their figures must not be compared."""
    return [
        f"{key}: {_plain(base.get(key))} and {_plain(head.get(key))}" for key in _SAME if base.get(key) != head.get(key)
    ]


def _plain(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
