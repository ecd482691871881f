"""From one file to another: export, precision, the cache of what was built, and the trial before it runs."""

from __future__ import annotations

from perf_inference.building.allowed import AllowedModels
from perf_inference.building.checking import check
from perf_inference.building.preparing import Prepared, load, prepare
from perf_inference.building.proving import prove

__all__ = ["AllowedModels", "Prepared", "check", "load", "prepare", "prove"]
