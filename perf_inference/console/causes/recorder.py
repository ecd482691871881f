"""Why a recorder does not record, or not all."""

from __future__ import annotations

from perf_inference.console.causes.cause import Cause, shown, word
from perf_inference.console.node import NodeSeen

_SPACE = ("free at", "no space", "quota")


def causes(node: NodeSeen) -> list[Cause]:
    """Return what is wrong with a recording; nothing for what is no recorder."""
    others = node.said.others
    if "records" not in others:
        return []
    found, name, message = [], shown(node.name), node.message
    place = word(others.get("directory") or "runs")
    stopped = message.startswith("recording has stopped") or "cannot be written" in message
    if stopped:
        full = any(part in message.lower() for part in _SPACE)
        fix = f"df -h {place}    # make room; it goes on by itself" if full else f"ls -ld {place}"
        found.append(Cause("disk_full" if full else "disk", 92, f"{name}: {shown(message)}", fix))
    dropped = node.grown(lambda said: said.others.get("dropped"), 10.0)
    if dropped:
        found.append(
            Cause(
                "disk_slow",
                84,
                f"{name}: the disk is too slow: {dropped} records dropped within 10 s",
                "perf-inference doctor --only disk",
                dropped,
            )
        )
    failed = node.grown(lambda said: said.others.get("failed"), 10.0)
    if failed:
        found.append(
            Cause(
                "unreadable",
                61,
                f"{name}: {failed} records of the last 10 s cannot be read: {shown(others.get('last_error'))}",
                "perf-inference doctor --only topics",
                failed,
            )
        )
    lost = node.grown(lambda said: said.others.get("lost_before"), 10.0)
    if lost:
        found.append(
            Cause(
                "lost_records",
                59,
                f"{name}: {lost} messages of the last 10 s were lost before it",
                "perf-inference doctor --only cores --only udp",
                lost,
            )
        )
    if message.startswith("not heard"):
        found.append(Cause("not_heard", 46, f"{name}: {shown(message)}", "perf-inference doctor --only leftovers"))
    if others.get("paused") in (True, "true") or message == "paused":
        found.append(Cause("paused", 47, f"{name} is paused: topics are not recorded", "perf-inference call resume"))
    if not found and node.newest is not None and node.newest.ok:
        records = others.get("records")
        found.append(Cause("records", 2, f"{name}: {records} records, {others.get('queue', '-')} wait for the disk"))
    return found
