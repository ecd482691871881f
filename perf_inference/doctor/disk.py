"""The disk that recordings go to: how fast it takes them, and for how long."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perf_inference.doctor.finding import Finding, word
from perf_inference.doctor.processes import Participants

_CHUNK_BYTES = 1 << 20
_MOST_BYTES = 256 << 20
_BUSY = 0.5  # of the disk's speed
_LEAST_FREE_BYTES = 1_000_000_000
_LEAST_S = 3600.0


@dataclass(frozen=True)
class DiskSpeed:
    """What was measured."""

    directory: Path
    bytes_per_s: float
    slowest_sync_ms: float
    free_bytes: int


def measure(directory: Path, seconds: float = 0.5) -> DiskSpeed:
    """Write and synchronise for so long, into a file without a name.

    Raises:
        OSError: the directory cannot be written to.
    """
    place = nearest(directory)
    chunk = os.urandom(_CHUNK_BYTES)
    written, slowest_ns = 0, 0
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        start_ns = end_ns = time.monotonic_ns()
        while end_ns - start_ns < seconds * 1e9 and written < _MOST_BYTES:
            written += file.write(chunk)
            before_ns = time.monotonic_ns()
            os.fdatasync(file.fileno())
            end_ns = time.monotonic_ns()
            slowest_ns = max(slowest_ns, end_ns - before_ns)
    found = os.statvfs(place)
    return DiskSpeed(
        place, written * 1e9 / max(1, end_ns - start_ns), slowest_ns / 1e6, found.f_bavail * found.f_frsize
    )


def place(recorded: Sequence[str], found: Participants, proc: Path = Path("/proc")) -> Path | None:
    """Return where a running recorder writes, which may say so relative to its own working directory."""
    for text in recorded:
        if Path(text).is_absolute():
            return Path(text)
        for one in found.here:
            with suppress(OSError):
                directory = Path(os.readlink(proc / str(one.pid) / "cwd")) / text
                if directory.is_dir():
                    return directory
    return None


def nearest(directory: Path) -> Path:
    """Return the directory, or the first above it that exists."""
    place = directory.absolute()
    while not place.is_dir():
        place = place.parent
    return place


def disk(directory: Path, recorded_bytes_per_s: float | None) -> Finding:
    """Measure and judge; `recorded_bytes_per_s` is what a running recorder writes (None: none runs)."""
    try:
        return judge(measure(directory), recorded_bytes_per_s)
    except OSError as error:
        why = "a recorder that is to write there ends at its start"
        fix = f"$ sudo chown $USER {word(nearest(directory))}\nor give the recorder another output_dir"
        return Finding("disk", "error", f"{directory} cannot be written to: {error.strerror}", why, fix)


def judge(speed: DiskSpeed, rate: float | None) -> Finding:
    """Judge the disk against what is recorded."""
    value = (
        f"{speed.bytes_per_s / 1e6:.0f} MB/s to {speed.directory} (slowest sync {speed.slowest_sync_ms:.0f} ms), "
        f"{speed.free_bytes / 1e9:.1f} GB free; "
    )
    value += "no recorder runs" if rate is None else f"the recorder writes {rate / 1e6:.2f} MB/s"
    if rate is not None and rate > speed.bytes_per_s * _BUSY:
        level = "error" if rate > speed.bytes_per_s else "warning"
        why = "records wait for the disk, and are dropped when too many do"
        fix = "a faster disk (the recorder's output_dir), or fewer topics (exclude), or encoding cdr"
        return Finding("disk", "error" if level == "error" else "warning", value, why, fix)
    full_s = speed.free_bytes / rate if rate else None
    if full_s is not None and full_s < _LEAST_S:
        why = f"the disk is full in {full_s / 60:.0f} min, and recording stops"
        return Finding("disk", "warning", value, why, f"$ du -sh {word(speed.directory)}/*")
    if speed.free_bytes < _LEAST_FREE_BYTES:
        why = "a recording stops when the disk is full"
        return Finding("disk", "warning", value, why, f"$ du -sh {word(speed.directory)}/*")
    return Finding("disk", "ok", value)
