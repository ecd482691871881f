"""Processes that a benchmark has started: what they took, and their end."""

from __future__ import annotations

import subprocess
from typing import Any

import psutil


def cpu_s(pid: int) -> float:
    """Return the processor time that a process took so far, of all its threads [s].

    Raises:
        psutil.NoSuchProcess: there is none of this number.
    """
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def end(process: subprocess.Popen[Any], limit_s: float) -> None:
    """End a process and wait for it; one that has not ended after the limit is killed."""
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
