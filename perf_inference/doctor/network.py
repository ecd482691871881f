"""The kernel's buffers for UDP."""

from __future__ import annotations

from pathlib import Path

from perf_inference.doctor.finding import Finding
from perf_inference.doctor.snapshot import Interval

_ENOUGH_BYTES = 2 << 20
_MEND = "$ sudo sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608\nto keep it: a file in /etc/sysctl.d"


def udp_buffers(needed_by: str, window: Interval | None = None, proc: Path = Path("/proc")) -> Finding:
    """Judge the largest buffers that a program may ask for, and whether one ran over.

    Args:
        needed_by: what in the graph sends large messages through UDP; empty: nothing.
    """
    limits = {name: _limit(proc / "sys/net/core" / name) for name in ("rmem_max", "wmem_max")}
    known = {name: limit for name, limit in limits.items() if limit is not None}
    overflows = window.grown(lambda snapshot: snapshot.udp_overflows) if window is not None else None
    if not known:
        return Finding("udp", "skipped", "the kernel does not show net.core.rmem_max here (a network namespace)")
    value = ", ".join(f"net.core.{name} {limit / 1000:.0f} kB" for name, limit in known.items())
    small = min(known.values()) < _ENOUGH_BYTES
    if overflows:
        value += f"; {overflows} datagrams found a full buffer within {window.span_s:.1f} s" if window else ""
        why = "what finds a full buffer is lost: a best-effort message with it, a reliable one is sent again"
        receivers = "give the receivers processor time: see cores" if not small else _MEND
        return Finding("udp", "warning", value, why, receivers)
    if small and needed_by:
        why = f"an image comes in a burst of 64 kB pieces that must fit into the buffer; {needed_by}"
        return Finding("udp", "warning", value, why, _MEND)
    return Finding("udp", "ok", value + ("; enough while shared memory carries the large messages" if small else ""))


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
