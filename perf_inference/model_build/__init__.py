"""From one file to another: export, precision, the cache of what was built, and the trial before it runs."""

from __future__ import annotations

from perf_inference.model_build.allowed_models import AllowedModels
from perf_inference.model_build.plan import Plan, metadata_of, resolve
from perf_inference.model_build.preflight import check
from perf_inference.model_build.preparation import Prepared, load, prepare
from perf_inference.model_build.trial.record import prove

__all__ = ["AllowedModels", "Plan", "Prepared", "check", "load", "metadata_of", "prepare", "prove", "resolve"]
