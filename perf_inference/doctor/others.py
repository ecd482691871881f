"""Checks of other packages: entry points of the group `perf_inference.doctor_checks`.

    [project.entry-points."perf_inference.doctor_checks"]
    serial_port = "my_package.checks:serial_port"

The entry point's name is the check's name; it is called without arguments and returns a Finding or several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perf_inference.doctor.finding import CHECKS, Finding
from perf_inference.entry_points import entry_points
from perf_inference.errors import in_one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "perf_inference.doctor_checks"


def others() -> dict[str, EntryPoint]:
    """Return the checks of other packages by name; those with a name of our own are left out."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in CHECKS}


def check(point: EntryPoint) -> list[Finding]:
    """Return what the check found, under its own name; whatever goes wrong in it is a finding too."""
    name = point.name
    try:
        result = point.load()()
        found = [*result] if isinstance(result, (list, tuple)) else [result]
        if wrong := [one for one in found if not isinstance(one, Finding)]:
            raise TypeError(f"a check must return Findings, got {type(wrong[0]).__name__}")
        levels = [one for one in found if one.level not in ("ok", "warning", "error", "skipped")]
        if levels:
            raise ValueError(f"a level must be ok, warning, error or skipped, got {levels[0].level!r}")
        return [Finding(name, one.level, one.value, one.why, one.fix) for one in found]
    except (Exception, SystemExit) as error:
        broken = f"this check of another package failed: {in_one_line(error)}"
        return [Finding(name, "warning", broken, f"it is {point.value}", "tell those who wrote it, or uninstall it")]
