"""A Jetson: what its tools and its kernel say; the rest is done by hand (jetson_by_hand.md)."""

from __future__ import annotations

import time
from pathlib import Path

from perf_inference.bench.gpu_check.section import Outcome, Skip
from perf_inference.devices.jetson import is_jetson
from perf_inference.telemetry.jetson import Jetson
from perf_inference.telemetry.machine import MachineSampler

_RELEASE, _MODEL = Path("/etc/nv_tegra_release"), Path("/proc/device-tree/model")
_PLACES = ("class/devfreq/*/cur_freq", "class/devfreq/*/device/load", "bus/i2c/drivers/ina3221/*/hwmon/hwmon*/*_label",
           "devices/gpu.0/load", "class/hwmon/hwmon*/name")  # fmt: skip


def settings() -> Outcome:
    """Say which board it is, its power mode and whether its clocks are fixed."""
    _require()
    reader = Jetson()
    found = reader.sample()
    while reader.asking:
        time.sleep(0.1)
        found = reader.sample()
    reader.close()
    model = _MODEL.read_text(errors="replace").strip("\0\n") if _MODEL.is_file() else "no device tree"
    release = _RELEASE.read_text(errors="replace").strip() if _RELEASE.is_file() else "no nv_tegra_release"
    return Outcome(f"{model}; {release}; {found}")


def tegrastats() -> Outcome:
    """Take a sample of tegrastats and print it as it was understood."""
    _require()
    sampler = MachineSampler(period_s=0.5)
    sampler.start()
    time.sleep(4.0)
    newest = sampler.newest()
    sampler.close()
    if newest is None or newest.tegrastats is None:
        return Outcome(f"no line of tegrastats: {sampler.tegrastats}", False)
    return Outcome(str(newest.tegrastats.sample.as_dict()))


def kernel_files() -> Outcome:
    """List the files of clocks, load and power that this user can read."""
    _require()
    lines = []
    for pattern in _PLACES:
        for path in sorted(Path("/sys").glob(pattern)):
            try:
                lines.append(f"{path}: {path.read_text().strip()}")
            except OSError as error:  # noqa: PERF203
                lines.append(f"{path}: {error.strerror}")
    return Outcome(f"{len(lines)} files", bool(lines), text="\n".join(lines))


def _require() -> None:
    if not is_jetson():
        raise Skip("no Jetson (no /etc/nv_tegra_release)")


CHECKS = (settings, tegrastats, kernel_files)
