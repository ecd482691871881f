"""A run of one engine: from the same moment on as all others, free or at a rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

_SPIN_S = 0.002  # before the begin: a sleep ends late


def run(
    infer: Callable[[], object], order: Mapping[str, Any], device_ns: Callable[[], int | None] = lambda: None
) -> dict[str, Any]:
    """Run from the begin on, free or at a rate, until the time is over."""
    begin_ns, rate_hz = int(order["begin_ns"]), float(order.get("rate_hz") or 0.0)
    end_ns = begin_ns + round(1e9 * float(order["seconds"]))
    starts: list[int] = []
    latencies: list[int] = []
    on_device: list[int | None] = []
    _until(begin_ns)
    while (now_ns := time.monotonic_ns()) < end_ns:
        if rate_hz:
            due_ns = begin_ns + round(len(starts) * 1e9 / rate_hz)
            if due_ns >= end_ns:
                break
            _until(due_ns)
            now_ns = time.monotonic_ns()
        infer()
        starts.append(now_ns)
        latencies.append(time.monotonic_ns() - now_ns)
        on_device.append(device_ns())
    return {"starts_ns": starts, "latencies_ns": latencies, "device_ns": on_device}


def _until(moment_ns: int) -> None:
    left_s = (moment_ns - time.monotonic_ns()) / 1e9 - _SPIN_S
    if left_s > 0:
        time.sleep(left_s)
    while time.monotonic_ns() < moment_ns:
        pass
