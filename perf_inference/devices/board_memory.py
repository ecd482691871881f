"""The memory that a board's processor shares with its GPU (a Jetson), of which CUDA counts the page cache as used."""

from __future__ import annotations

from typing import Any


def free_bytes() -> int:
    """Return what can be had without swapping: Linux' MemAvailable."""
    return int(_memory().available)


def used_bytes() -> int:
    """Return what all processes and the kernel hold."""
    memory = _memory()
    return int(memory.total - memory.available)


def _memory() -> Any:
    import psutil  # 10 ms, in every process with an engine

    return psutil.virtual_memory()
