"""The memory that a board's processor shares with its GPU (a Jetson), of which CUDA counts the page cache as used."""

from __future__ import annotations

import psutil


def free_bytes() -> int:
    """Return what can be had without swapping: Linux' MemAvailable."""
    return int(psutil.virtual_memory().available)


def used_bytes() -> int:
    """Return what all processes and the kernel hold."""
    memory = psutil.virtual_memory()
    return int(memory.total - memory.available)
