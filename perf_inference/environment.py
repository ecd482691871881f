"""Settings of a process that large messages need: Fast DDS' shared-memory segment and glibc's allocator.

A stock shared-memory segment (512 kB) cannot hold a camera picture, and a stock allocator maps and unmaps every picture
anew. Both are read when a process starts, hence set here for child processes, and by `tune_this_process` before rclpy
is imported. What the user has set is never changed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

TRANSPORT = {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT?sockets_size=8MB"}
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
SUPERVISED = "PERF_INFERENCE_SUPERVISED"  # the starter's process: end when it ends, even by kill -9
RESTARTED = "PERF_INFERENCE_RESTARTED"  # set for a process that is started again after it died
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h
_OWN_TRANSPORT = ("FASTDDS_BUILTIN_TRANSPORTS", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def tuned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the settings added for which the user has none."""
    return {**environment, **_missing(environment)}


def describe(environment: Mapping[str, str]) -> str:
    """Return one line on what `tuned` adds."""
    added = _missing(environment)
    if not added:
        return "transport and allocator: as you have set them"
    return "transport and allocator: " + " ".join(f"{name}={value}" for name, value in added.items())


def tune_this_process() -> None:
    """Set the same for the process itself; call it before rclpy is imported."""
    missing = _missing(os.environ)
    for name in TRANSPORT:
        if name in missing:
            os.environ[name] = missing[name]
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_MMAP_THRESHOLD_" in missing:
        mallopt(_M_MMAP_THRESHOLD, int(ALLOCATOR["MALLOC_MMAP_THRESHOLD_"]))
        mallopt(_M_TRIM_THRESHOLD, int(ALLOCATOR["MALLOC_TRIM_THRESHOLD_"]))


def _missing(environment: Mapping[str, str]) -> dict[str, str]:
    missing = {}
    fast_dds = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps")
    # Humble's Fast DDS reads the variable but knows no options in it.
    if fast_dds and environment.get("ROS_DISTRO") != "humble" and not any(n in environment for n in _OWN_TRANSPORT):
        missing.update(TRANSPORT)
    if not any(name in environment for name in ALLOCATOR):
        missing.update(ALLOCATOR)
    return missing
