"""Two looks at the machine, and what happened between them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perf_inference.doctor.processes import Usage, usages

_TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Snapshot:
    """The counters of one moment."""

    monotonic_ns: int
    processes: Mapping[int, Usage]
    idle_ticks: int  # of all cores, with those that wait for a disk
    all_ticks: int
    udp_overflows: int | None  # datagrams that found a full buffer
    quota_stops: int | None  # times that a control group's share was used up
    hot_stops: int | None  # times that a core was slowed since it was too hot
    uptime_s: float  # of the machine
    threads: Mapping[tuple[int, int], int]  # [ns] on a core or waiting for one: (process, thread)


@dataclass(frozen=True)
class Interval:
    """What happened between two snapshots."""

    before: Snapshot
    after: Snapshot

    @property
    def span_s(self) -> float:
        return (self.after.monotonic_ns - self.before.monotonic_ns) / 1e9

    @property
    def busy_pct(self) -> float | None:
        """The share of all cores that was used."""
        ticks = self.after.all_ticks - self.before.all_ticks
        idle = self.after.idle_ticks - self.before.idle_ticks
        return max(0.0, 100 * (1 - idle / ticks)) if ticks > 0 else None

    def cpu_pct(self, pid: int) -> float | None:
        """Return the share that a process took, 100 % is one core; None: it was not there all the time."""
        pair = self._pair(pid)
        return None if pair is None else 100 * (pair[1].cpu_ticks - pair[0].cpu_ticks) / _TICKS_HZ / self.span_s

    def age_s(self, pid: int) -> float:
        """Return how old a process was when the window began; 0: it was not there."""
        used = self.before.processes.get(pid)
        return 0.0 if used is None else self.before.uptime_s - used.started_ticks / _TICKS_HZ

    def busiest_thread_pct(self, pid: int) -> float | None:
        """Return the share of the time in which a process' busiest thread had work; None: the kernel does not tell."""
        before = self.before.threads
        grown = [
            used_ns - before[key] for key, used_ns in self.after.threads.items() if key[0] == pid and key in before
        ]
        return min(100.0, max(grown) / 1e7 / self.span_s) if grown and self.span_s > 0 else None

    def faults(self, pid: int) -> int | None:
        """Return the page faults of a process in memory of its own; None: it was not there all the time.

        A segment of shared memory faults too, but once: until all of it has been touched.
        """
        pair = self._pair(pid)
        if pair is None:
            return None
        touched = max(0, pair[1].shared_pages - pair[0].shared_pages)
        return max(0, pair[1].minor_faults - pair[0].minor_faults - touched)

    def grown(self, count: Callable[[Snapshot], int | None]) -> int | None:
        """Return by how much a counter has grown; None: it is not known here."""
        before, after = count(self.before), count(self.after)
        return None if before is None or after is None else after - before

    def _pair(self, pid: int) -> tuple[Usage, Usage] | None:
        before, after = self.before.processes.get(pid), self.after.processes.get(pid)
        if before is None or after is None or before.started_ticks != after.started_ticks or self.span_s <= 0:
            return None
        return before, after


def take_snapshot(pids: Iterable[int] = (), proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Snapshot:
    """Return the counters of now, with those of the threads of these processes."""
    ticks = [int(word) for word in _read(proc / "stat").partition("\n")[0].split()[1:9]]
    return Snapshot(
        monotonic_ns=time.monotonic_ns(),
        processes=usages(proc),
        idle_ticks=sum(ticks[3:5]),
        all_ticks=sum(ticks),
        udp_overflows=udp_overflows(_read(proc / "net/snmp")),
        quota_stops=_quota_stops(sys),
        hot_stops=_hot_stops(sys),
        uptime_s=time.clock_gettime(time.CLOCK_BOOTTIME),
        threads={(pid, thread): work_ns for pid in pids for thread, work_ns in _threads(proc, pid).items()},
    )


def udp_overflows(snmp: str) -> int | None:
    """Return `RcvbufErrors` of /proc/net/snmp: a line with the names, then one with the values."""
    lines = [line.split() for line in snmp.splitlines() if line.startswith("Udp:")]
    with suppress(ValueError, IndexError):
        return int(lines[1][lines[0].index("RcvbufErrors")])
    return None


def _threads(proc: Path, pid: int) -> dict[int, int]:
    """Return for how long each thread had work [ns]; schedstat: on a core, waiting for one, times on one."""
    found = {}
    for folder in (proc / str(pid) / "task").glob("*"):
        words = _read(folder / "schedstat").split()
        if len(words) == 3:
            found[int(folder.name)] = int(words[0]) + int(words[1])
    return found


def _quota_stops(sys: Path) -> int | None:
    for path in ("fs/cgroup/cpu.stat", "fs/cgroup/cpu/cpu.stat"):
        for line in _read(sys / path).splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled" and value.strip().isdecimal():
                return int(value)
    return None


def _hot_stops(sys: Path) -> int | None:
    texts = [
        _read(file).strip() for file in (sys / "devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count")
    ]
    known = [int(text) for text in texts if text.isdecimal()]
    return sum(known) if known else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
