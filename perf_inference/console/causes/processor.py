"""Whether a machine's processor has time left."""

from __future__ import annotations

from perf_inference.console.machine import Machines

_BUSY_PCT, _LEAST, _LOAD = 92.0, 2, 1.3


def is_busy(machines: Machines, host: str, now_s: float) -> bool:
    """Return whether all of its cores were in use lately, and more wanted them; not where no monitor tells."""
    busy, part = machines.busy_pct(host, now_s), machines.host(host, now_s)
    if busy is None or part is None or busy[1] < _LEAST or busy[0] < _BUSY_PCT:
        return False
    load = part.number("load_per_core")
    return load is None or load >= _LOAD
