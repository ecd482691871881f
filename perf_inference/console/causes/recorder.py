"""Why a recorder does not record, or not all."""

from __future__ import annotations

from perf_inference.console.causes.cause import Cause, shown, word
from perf_inference.console.node import NodeSeen

_SPACE = ("free at", "no space", "quota")
_RATE_S, _SOON_S = 10.0, 900.0


def _soon_full(node: NodeSeen) -> Cause | None:
    """Return that the disk is full before long, at the rate of the last seconds."""
    left, watched_s = node.said.others.get("left_bytes"), node.watched_s(_RATE_S)
    written = node.grown(lambda said: said.others.get("bytes"), _RATE_S)
    if not isinstance(left, int) or watched_s < 2 or written <= 0 or left * watched_s > _SOON_S * written:
        return None
    minutes, place = left * watched_s / written / 60, word(node.said.others.get("directory") or "runs")
    text = f"{shown(node.name)}: the disk is full in {minutes:.0f} minutes: {left / 1e6:.0f} MB are left, "
    text += f"{written / watched_s / 1e6:.2g} MB are written a second"
    return Cause("disk_soon_full", 62, text, f"df -h {place}    # make room")


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
    elif (soon := _soon_full(node)) is not None:
        found.append(soon)
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
