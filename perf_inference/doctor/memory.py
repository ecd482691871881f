"""/dev/shm: its size, and what dead processes have left in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from perf_inference.bringup import shared_memory
from perf_inference.doctor.finding import Finding, word

SEGMENT_BYTES = 16_750_544  # the least that our settings give a publisher of images
_FEWEST = 4  # publishers of images that a machine should have room for
_LISTED = 3


def shared_memory_size(directory: Path, segments_bytes: Sequence[int]) -> Finding:
    """Judge the room for the segments of the publishers of images that run, and of one more.

    Args:
        segments_bytes: of the participants that run.
    """
    check = "shared_memory"
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return Finding(
            check,
            "error",
            f"{directory} cannot be read: {error.strerror}",
            "without it every message between processes goes through the network stack, in pieces of 64 kB",
            f"$ sudo mount -t tmpfs -o size=512M tmpfs {word(directory)}",
        )
    size_bytes, free_bytes = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    value = f"{_mb(size_bytes)} at {directory}, {_mb(free_bytes)} free"
    large = [one for one in segments_bytes if one >= SEGMENT_BYTES / 2]
    wanted_bytes = max(_FEWEST * SEGMENT_BYTES, sum(large) + SEGMENT_BYTES)
    fix = (
        f"$ sudo mount -o remount,size={max(512, 2 * wanted_bytes >> 20)}M {word(directory)}\n"
        "in a container: docker run --shm-size=512m, or --ipc=host"
    )
    if free_bytes < SEGMENT_BYTES:
        why = f"the next publisher of images needs {_mb(SEGMENT_BYTES)}, and gets no shared memory or a bus error"
        return Finding(check, "error", value, why, fix)
    if size_bytes < wanted_bytes:
        why = f"each publisher of images takes {_mb(SEGMENT_BYTES)} or more, and {len(large)} run here now"
        return Finding(check, "warning", value, why, fix)
    return Finding(check, "ok", value)


def leftovers(directory: Path) -> Finding:
    """Look for segments whose process is gone; what is in use is not touched."""
    left = shared_memory.leftovers(directory)
    size_bytes = sum(one.size_bytes for one in left)
    if not left:
        return Finding("leftovers", "ok", f"nothing of dead processes in {directory}")
    names = [one.name for one in sorted(left, key=lambda one: -one.size_bytes)]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    option = "" if directory == shared_memory.SHM else f" --shm {word(directory)}"
    return Finding(
        "leftovers",
        "warning",
        f"dead processes left {_mb(size_bytes)} in {directory}: {', '.join(names[:_LISTED])}{more}",
        "a process that was killed leaves its segment and its ports; they take memory until the machine restarts",
        f"$ perf-inference doctor --clean{option}",
    )


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.1f} GB"
