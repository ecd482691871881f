"""What a Jetson was set to: the power mode (`nvpmodel`) and fixed clocks (`jetson_clocks`). Read, never changed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.telemetry.board import gpu_devices

_MODE = re.compile(r"NV Power Mode:[ \t]*(\S[^\n]*)")


@dataclass(frozen=True)
class JetsonSettings:
    """What the tools were told; None: this is no Jetson, or there is no answer."""

    nvpmodel: str | None = None  # the power mode's name
    jetson_clocks: bool | None = None  # whether the clocks are fixed, as that tool does


class Jetson:
    """Reads the settings; `nvpmodel -q` runs at most once in `every_s` [s], and nobody waits for its answer."""

    def __init__(
        self,
        command: Sequence[str] = ("nvpmodel", "-q"),
        *,
        every_s: float = 60.0,
        timeout_s: float = 5.0,
        sys: Path = Path("/sys"),
        clocks: Clocks = CLOCKS,
    ) -> None:
        self._command = list(command)
        self._every_ns, self._timeout_ns = round(every_s * 1e9), round(timeout_s * 1e9)
        self._sys = sys
        self._clocks = clocks
        self._nvpmodel_here = shutil.which(self._command[0]) is not None
        self._asked_ns: int | None = None
        self._child: subprocess.Popen[str] | None = None
        self._mode: str | None = None

    def sample(self) -> JetsonSettings:
        """Return the settings as far as they are known by now."""
        if self._nvpmodel_here:
            self._follow_nvpmodel()
        return JetsonSettings(self._mode, clocks_fixed(self._sys))

    @property
    def asking(self) -> bool:
        """Whether `nvpmodel` has been asked and has not answered yet."""
        return self._child is not None

    def close(self) -> None:
        """End a question that is still open; a second call does nothing."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _follow_nvpmodel(self) -> None:
        now_ns = self._clocks.monotonic_ns()
        since_ns = None if self._asked_ns is None else now_ns - self._asked_ns
        if self._child is None:
            if since_ns is None or since_ns >= self._every_ns:
                self._asked_ns = now_ns
                self._ask()
        elif self._child.poll() is not None:
            self._mode = power_mode(self._child.communicate()[0])
            self._child = None
        elif since_ns is not None and since_ns >= self._timeout_ns:
            self.close()
            self._mode = None

    def _ask(self) -> None:
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # some lines: they fit into the pipe
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError:
            self._nvpmodel_here = False


def power_mode(answer: str) -> str | None:
    """Return the mode's name from what `nvpmodel -q` printed."""
    match = _MODE.search(answer)
    return match[1].strip() if match else None


def clocks_fixed(sys: Path = Path("/sys")) -> bool | None:
    """Return whether each core and the GPU may run at one clock only, as `jetson_clocks` sets them.

    The kernel says so to everybody: the tool need not be here. One clock that may vary is enough for False. None: this
    is no Jetson, or of the GPU's clocks the kernel does not say all (no file, an empty one, bounds of 0).
    """
    devices = [_fixed(device) for device in gpu_devices(sys)]
    policies = (sys / "devices/system/cpu/cpufreq").glob("policy*")
    cores = [fixed for policy in policies if (fixed := _fixed(policy, "scaling_")) is not None]  # some may be offline
    if not devices or not cores:
        return None
    if False in devices or False in cores:
        return False
    return None if None in devices else True


def _fixed(folder: Path, prefix: str = "") -> bool | None:
    try:
        lowest, highest = (int((folder / f"{prefix}{end}_freq").read_text()) for end in ("min", "max"))
    except (OSError, ValueError):
        return None
    return lowest == highest if lowest > 0 and highest > 0 else None
