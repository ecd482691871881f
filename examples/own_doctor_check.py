"""A check of your own for `perf-inference doctor`: may this user read the robot's serial port?

perf-inference doctor --only serial_port
"""

from __future__ import annotations

import os
from pathlib import Path

from perf_inference.doctor.finding import Finding

NAME = "serial_port"
PORT = Path(os.environ.get("ROBOT_PORT", "/dev/ttyUSB0"))


def serial_port() -> Finding:
    """Return one finding, or a list of them; an error here is a finding too, and stops no other check."""
    if not PORT.exists():
        return Finding(NAME, "skipped", f"{PORT} is not there")
    if os.access(PORT, os.R_OK | os.W_OK):
        return Finding(NAME, "ok", f"{PORT} can be read and written")
    return Finding(
        NAME,
        "error",
        f"{PORT} may not be read and written by this user",
        why="the arm's driver opens it",
        fix="be in the group that owns it, and log in again:\n$ sudo usermod -aG dialout $USER",
    )
