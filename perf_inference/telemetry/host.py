"""The host: processor, clocks, memory, load, and the share of single processes. A value unknown is None, never 0."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_Times = Mapping[int, tuple[int, int]]  # core: (idle, total), in the kernel's ticks
_CPU_DIR = "devices/system/cpu"
_DUMMY_SENSOR = "pmic"  # a fixed 100 or 50 degC on older Jetsons


@dataclass(frozen=True)
class ProcessSample:
    """One process; its share is since the reading before, 100 % is one core."""

    pid: int
    cpu_pct: float | None
    memory_mb: float | None  # resident
    threads: int | None


@dataclass(frozen=True)
class HostSample:
    """One reading; percentages are since the reading before. A core that is off has None for both."""

    cpu_pct: float | None
    cpu_per_core_pct: tuple[float | None, ...]
    cpu_mhz: float | None  # mean over the cores whose clock is known
    cpu_per_core_mhz: tuple[float | None, ...]
    governor: str | None  # what sets the clocks; several: joined by "+"
    load_1min: float | None
    cores: int
    memory_used_mb: float
    memory_total_mb: float
    temperature_degc: float | None  # the hottest sensor
    own: ProcessSample | None = None  # this process
    processes: tuple[ProcessSample, ...] = ()  # those asked for; one that is gone is left out


class Host:
    """Reads the host; the first sample has no processor shares."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc, self._sys = proc, sys
        self._times: _Times = {}
        self._processes: dict[int, _Process] = {}

    def sample(self, pids: Iterable[int] = ()) -> HostSample:
        """Return a reading of now, with the shares of these processes and of this one."""
        before, self._times = self._times, _core_times(self._proc)
        cores = max(_present(self._sys), 1 + max(self._times, default=-1))
        shares = tuple(_share_pct(before.get(core), self._times.get(core)) for core in range(cores))
        clocks = _clocks_mhz(self._proc, self._sys, cores)
        memory = psutil.virtual_memory()
        own, *others = self._shares_of([os.getpid(), *pids])
        return HostSample(
            cpu_pct=_mean(shares),
            cpu_per_core_pct=shares,
            cpu_mhz=_mean(clocks) or _psutil_mhz(),
            cpu_per_core_mhz=clocks,
            governor=_governor(self._sys),
            load_1min=os.getloadavg()[0],
            cores=psutil.cpu_count() or cores,
            memory_used_mb=(memory.total - memory.available) / 1e6,
            memory_total_mb=memory.total / 1e6,
            temperature_degc=_hottest_degc(),
            own=own,
            processes=tuple(process for process in others if process is not None),
        )

    def _shares_of(self, pids: list[int]) -> list[ProcessSample | None]:
        self._processes = {pid: self._processes.get(pid) or _Process(pid) for pid in pids}
        return [self._processes[pid].sample() for pid in pids]


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


class _Process:
    """One process id, and what it had used when it was last looked at."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: psutil.Process | None = None
        self._before: tuple[int, float] | None = None  # when [ns], and processor time [s]

    def sample(self) -> ProcessSample | None:
        """Return its share since the last time; None: it has gone, or is not ours to see."""
        try:
            if self._process is None or not self._process.is_running():  # or its number is another's now
                self._process, self._before = psutil.Process(self._pid), None
            with self._process.oneshot():
                times = self._process.cpu_times()
                memory_bytes, threads = self._process.memory_info().rss, self._process.num_threads()
        except psutil.Error:
            self._process = None
            return None
        now_ns, used_s = time.monotonic_ns(), times.user + times.system
        before, self._before = self._before, (now_ns, used_s)
        share = None if before is None or now_ns <= before[0] else 1e11 * (used_s - before[1]) / (now_ns - before[0])
        return ProcessSample(self._pid, share, memory_bytes / 1e6, threads)


def _core_times(proc: Path) -> _Times:
    """Return the ticks of each core that is on; guests' are part of their hosts'."""
    found = {}
    for line in _read(proc / "stat").splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and len(ticks) >= 5:
            counts = [int(count) for count in ticks[:8]]
            found[int(name[3:])] = (counts[3] + counts[4], sum(counts))  # idle and waiting for a disk
    return found


def _share_pct(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] <= before[1]:
        return None
    idle = (after[0] - before[0]) / (after[1] - before[1])
    return 100 * min(1.0, max(0.0, 1 - idle))


def _present(sys: Path) -> int:
    """Return how many cores there are, with those that are off; the file says `0-7`."""
    last = _read(sys / _CPU_DIR / "present").strip().rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() else 0


def _clocks_mhz(proc: Path, sys: Path, cores: int) -> tuple[float | None, ...]:
    """Return each core's clock: /proc/cpuinfo on x86 (one reading for all), cpufreq elsewhere."""
    clocks: dict[int, float] = {}
    core = -1
    for line in _read(proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "processor" and value.strip().isdecimal():
            core = int(value)
        elif name.strip() == "cpu MHz":
            clocks[core] = float(value)
    if not clocks:
        for core in range(cores):
            khz = _read(sys / _CPU_DIR / f"cpu{core}" / "cpufreq" / "scaling_cur_freq").strip()
            if khz.isdecimal() and int(khz):
                clocks[core] = int(khz) / 1000
    return tuple(clocks.get(core) for core in range(cores))


def _psutil_mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        return None
    return float(frequency.current) if frequency and frequency.current else None


def _governor(sys: Path) -> str | None:
    files = (sys / _CPU_DIR).glob("cpu[0-9]*/cpufreq/scaling_governor")
    return "+".join(sorted({word for file in files if (word := _read(file).strip())})) or None


def _hottest_degc() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    readings = [
        entry.current
        for name, entries in sensors.items()
        for entry in entries
        if entry.current and not name.lower().startswith(_DUMMY_SENSOR)
    ]
    return max(readings) if readings else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _processor_name() -> str | None:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.lower().startswith(("model name", "hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or None
