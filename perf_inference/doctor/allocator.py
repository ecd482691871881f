"""The allocator of the running nodes: page faults against the large messages that went through them."""

from __future__ import annotations

from collections.abc import Sequence

from perf_inference.bringup import tuning
from perf_inference.doctor.finding import Finding
from perf_inference.doctor.graph import Flow
from perf_inference.doctor.processes import Participant, Participants
from perf_inference.doctor.snapshot import Interval
from perf_inference.printable import OUTSIDE, printable

COLD_FAULTS_PER_MB = 200.0  # a copy into fresh pages faults 256 times per MiB
_LARGE_BYTES = 128 * 1024  # from here on glibc maps each block again
_LEAST_MB = 2.0  # in the window: less says nothing
_STARTED_S = 5.0  # a younger process may still be loading what it needs
_OTHER_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc")


def allocator(
    found: Participants, flows: Sequence[Flow] | None, window: Interval, before: Interval | None = None
) -> list[Finding]:
    """Judge every participant through which large messages went.

    Args:
        before: ended before the doctor joined the graph. Its coming alone may end the faults of a process: what the
            newcomer makes it allocate lies above the large buffers, and keeps them from going back to the kernel.
    """
    if flows is None:
        return [Finding("allocator", "skipped", "without rclpy it is not known how large the messages are")]
    judged = [
        one
        for one in found.here
        if large_mb(one, flows, window.span_s) >= _LEAST_MB and window.faults(one.pid) is not None
    ]
    if not judged:
        return [Finding("allocator", "skipped", f"no large messages within {window.span_s:.1f} s")]
    cold = []
    highest = 0.0
    for one in judged:
        earlier = before if before is not None and before.age_s(one.pid) > _STARTED_S else window
        per_s = max((each.faults(one.pid) or 0) / each.span_s for each in (window, earlier))
        per_mb = per_s * window.span_s / large_mb(one, flows, window.span_s)
        highest = max(highest, per_mb)
        if per_mb > COLD_FAULTS_PER_MB:
            cold.append(_cold(one, per_mb, per_s))
    value = f"{len(judged)} nodes with large messages, at most {highest:.0f} page faults per MB"
    return cold or [Finding("allocator", "ok", value)]


def large_mb(one: Participant, flows: Sequence[Flow], seconds: float) -> float:
    """Return the large messages that went in or out of the process within the time [MB]."""
    low = one.pid & 0xFFFF
    total_bytes = 0.0
    for flow in flows:
        if not flow.received or flow.bytes / flow.received < _LARGE_BYTES:
            continue
        share = sum(end.pid_low == low for end in flow.publishers) / max(1, len(flow.publishers))
        total_bytes += flow.sent_bytes(seconds) * (share + sum(end.pid_low == low for end in flow.subscribers))
    return total_bytes / 1e6


def _cold(one: Participant, per_mb: float, per_s: float) -> Finding:
    value = f"{one}: {per_mb:.0f} page faults per MB of messages ({per_s:.0f}/s), {described(one)}"
    why = (
        "glibc maps and unmaps each large buffer again, and the page faults cost more than the copies: five times the "
        "processor time for a 1080p image"
    )
    words = " ".join(f"{name}={value}" for name, value in tuning.ALLOCATOR.items())
    return Finding("allocator", "warning", value, why, f"start {printable(one.name, OUTSIDE)} with:\n$ export {words}")


def described(one: Participant) -> str:
    """Return what the process' environment says of its allocator."""
    own = one.environment
    if own is None:
        return "environment not readable"
    preloaded = [name for name in _OTHER_ALLOCATORS if name in own.get("LD_PRELOAD", "")]
    if preloaded:
        return preloaded[0]
    given = [f"{name}={value}" for name, value in own.items() if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    return " ".join(given) or "no MALLOC_* in its environment"
