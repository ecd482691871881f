"""Run learned policies, captioners and detectors on a robot's own computer, and say truthfully how fast they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perf_inference._moved import serve_old_paths
from perf_inference._version import VERSION

if TYPE_CHECKING:
    from perf_inference.measure.performance_monitor import PerformanceMonitor

__all__ = ["PerformanceMonitor", "__version__"]

__version__ = VERSION
serve_old_paths()


def __getattr__(name: str) -> Any:
    """Import on first use, so that a node which needs none of it starts without it."""
    if name != "PerformanceMonitor":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from perf_inference.measure.performance_monitor import PerformanceMonitor

    return PerformanceMonitor
