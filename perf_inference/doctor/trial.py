"""A library tried in a process of its own, which may crash."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_TRY_S = 120.0


def try_code(code: str) -> tuple[dict[str, Any], str]:
    """Return what the code printed, and how it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, errors="replace", timeout=_TRY_S, cwd="/",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}, f"no answer within {_TRY_S:.0f} s"
    said: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            said.update(json.loads(line))
    if done.returncode == 0:
        return said, ""
    if done.returncode < 0:
        return said, f"the process was ended by signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return said, lines[-1] if lines else f"exit status {done.returncode}"
