"""The processor: what sets its clocks, and who else uses it."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from perf_inference.doctor.finding import Finding
from perf_inference.doctor.processes import title
from perf_inference.doctor.snapshot import Interval

_CPU = "devices/system/cpu"
_LOW = ("powersave", "conservative", "userspace")
_FOLLOWS_LOAD = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")  # their "powersave" is another thing
_HOG_PCT, _FULL_PCT = 50.0, 90.0
_HOG_WHEN_FULL_PCT = 20.0
_LISTED = 5


def governor(window: Interval | None = None, sys: Path = Path("/sys")) -> Finding:
    """Judge what sets the clocks of the cores, and what holds them back."""
    folders = sorted((sys / _CPU).glob("cpu[0-9]*/cpufreq"))
    if not folders:
        return Finding("governor", "skipped", "the kernel does not set the clocks here (no cpufreq: a virtual machine)")
    names = sorted({_read(folder / "scaling_governor") for folder in folders} - {""})
    driver = _read(folders[0] / "scaling_driver")
    value = f"{'+'.join(names) or 'unknown'} ({driver or 'unknown driver'})"
    fix = "$ echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    hot = window.grown(lambda snapshot: snapshot.hot_stops) if window is not None else None
    if hot:
        why = "a core that gets too hot is slowed, and latencies grow by as much"
        return Finding("governor", "warning", f"{value}; {hot} times too hot", why, "clean or strengthen the cooling")
    if any(name in _LOW for name in names) and driver not in _FOLLOWS_LOAD:
        why = "the cores stay at a low clock, or take long to leave it: every latency grows"
        return Finding("governor", "warning", value, why, fix)
    capped = [folder for folder in folders if _khz(folder, "scaling_max_freq") < _khz(folder, "cpuinfo_max_freq")]
    if capped:
        now, best = _khz(capped[0], "scaling_max_freq"), _khz(capped[0], "cpuinfo_max_freq")
        value += f"; {len(capped)} cores held at {now / 1e6:.2f} of {best / 1e6:.2f} GHz"
        why = "somebody has set a limit below what the cores can do"
        set_it = f"$ echo {best} | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq"
        return Finding("governor", "warning", value, why, set_it)
    steady = names == ["performance"]
    return Finding("governor", "ok", value + ("" if steady else "; clocks follow the load (performance is steadier)"))


def cores(window: Interval, graph: Collection[int], proc: Path = Path("/proc")) -> list[Finding]:
    """Name the processes that take much of a core and are no part of the graph.

    Args:
        graph: process ids of the graph, and of whoever asks.
    """
    count = os.cpu_count() or 1
    shares = {pid: share for pid in window.after.processes if (share := window.cpu_pct(pid)) is not None}
    busy = window.busy_pct
    full = busy is not None and busy > _FULL_PCT
    least = _HOG_WHEN_FULL_PCT if full else _HOG_PCT
    hogs = sorted(((share, pid) for pid, share in shares.items() if share > least and pid not in graph), reverse=True)
    load = f"{count} cores" + ("" if busy is None else f", {busy:.0f} % busy") + f", load {os.getloadavg()[0]:.1f}"
    findings = [
        Finding(
            "cores",
            "warning",
            f"{title(proc, pid)} (pid {pid}) takes {share:.0f} % of a core and is no part of the graph",
            "what it takes is missing where frames wait for a core",
            f"end it, or let it wait for the others:\n$ renice -n 19 -p {pid}",
        )
        for share, pid in hogs[:_LISTED]
    ]
    quota = window.grown(lambda snapshot: snapshot.quota_stops)
    if quota:
        why = "the container was stopped until its next share of processor time: frames came late by up to 0.1 s"
        value = f"the container's share of processor time was used up {quota} times"
        findings.append(Finding("cores", "warning", value, why, "give it more: docker update --cpus=N CONTAINER"))
    if not findings and full:
        own = sum(share for pid, share in shares.items() if pid in graph)
        why = "no core is free when a frame comes; it waits for one"
        fix = "lower rates, or start fewer threads (the parameter threads) or nodes"
        findings.append(Finding("cores", "warning", f"{load}; the graph takes {own:.0f} % of a core", why, fix))
    return findings or [Finding("cores", "ok", load)]


def _khz(folder: Path, name: str) -> int:
    text = _read(folder / name)
    return int(text) if text.isdecimal() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
