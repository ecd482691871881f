"""What a check has found."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from perf_inference.printable import OUTSIDE, printable

Level = Literal["ok", "warning", "error", "skipped"]

CHECKS = {
    "shared_memory": "machine",
    "leftovers": "machine",
    "udp": "machine",
    "governor": "machine",
    "cores": "machine",
    "gpu": "machine",
    "jetson": "machine",
    "disk": "machine",
    "cv_bridge": "software",
    "torch": "software",
    "onnxruntime": "software",
    "engine_cache": "software",
    "transport": "running nodes",
    "allocator": "running nodes",
    "qos": "running nodes",
    "topics": "running nodes",
    "inputs": "running nodes",
    "clocks": "running nodes",
}
"""Every check of this package, in the order in which they are told, and its group."""


def group_of(check: str) -> str:
    """Return under which heading a check is told."""
    return CHECKS.get(check, "other packages")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    level: Level
    value: str  # what was read or measured
    why: str = ""  # it matters; empty where all is well
    fix: str = ""  # how it is fixed; a line that begins with "$ " is a command


def word(text: object) -> str:
    """Return a text of others as one word of a command: it is to be copied into a shell."""
    return shlex.quote(printable(text, OUTSIDE))


def counted(findings: Iterable[Finding]) -> dict[Level, int]:
    """Return how many there are of each level."""
    found = Counter(finding.level for finding in findings)
    return {"ok": found["ok"], "warning": found["warning"], "error": found["error"], "skipped": found["skipped"]}


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 0, 1 (warnings) or 2 (errors)."""
    levels = {finding.level for finding in findings}
    return 2 if "error" in levels else 1 if "warning" in levels else 0
