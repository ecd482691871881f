"""A Jetson's GPU clock, GPU load and power as its kernel shows them to every user, in containers too.

No root and no tegrastats: `/sys/class/devfreq` has the GPU's clocks (one device up to Orin, `gpu-gpc-*` and `gpu-nvd-*`
on Thor), and the power monitors INA3221 and INA238 have their hwmon files (kernel documentation, hwmon/ina3221 and
hwmon/ina238). What the kernel does not say is None or left out, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Other makers' boards have a device `fb000000.gpu`: NVIDIA's is told by its driver's name or its address.
_GPU = re.compile(r"[0-9a-f]+\.(?:gp10b|gv11b|ga10b|gb10b)|[15]7000000\.gpu")
_GPC = re.compile(r"gpu-gpc-\d+")  # clusters of multiprocessors
_NVD = re.compile(r"gpu-nvd-\d+")  # the codecs beside them
_INPUT_RAIL = "VIN"  # of Thor, measured by the INA238; its file has no name


@dataclass(frozen=True)
class BoardSample:
    """One reading."""

    gpu_mhz: Mapping[str, float] = field(default_factory=dict)  # by devfreq's name, without the codecs
    gpu_load_pct: float | None = None
    power_w: Mapping[str, float] = field(default_factory=dict)  # by rail


def read_board(sys: Path = Path("/sys")) -> BoardSample | None:
    """Return what the kernel says now; None: this is no Jetson."""
    devices = [device for device in gpu_devices(sys) if not _NVD.fullmatch(device.name)]
    if not devices:
        return None
    clocks = {device.name: _number(device / "cur_freq") for device in devices}
    loads = [load for device in devices if (load := _number(device / "device/load")) is not None]
    return BoardSample(
        gpu_mhz={name: hz / 1e6 for name, hz in clocks.items() if hz is not None},
        gpu_load_pct=max(loads) / 10 if loads else None,  # the file counts in thousandths
        power_w=dict(_rails(sys)),
    )


def gpu_devices(sys: Path = Path("/sys")) -> list[Path]:
    """Return the folders in which devfreq sets the clocks of a Jetson's GPU; none on any other machine."""
    found = sorted((sys / "class/devfreq").glob("*"))
    return [device for device in found if any(kind.fullmatch(device.name) for kind in (_GPU, _GPC, _NVD))]


def _rails(sys: Path) -> Iterator[tuple[str, float]]:
    """Yield name and power [W] of each rail that is measured."""
    for monitor in sorted((sys / "class/hwmon").glob("hwmon*")):
        chip = _text(monitor / "name")
        if chip == "ina3221":
            for channel in (1, 2, 3):  # those above are sums, and the voltage over the shunt
                name = _text(monitor / f"in{channel}_label")
                millivolts = _number(monitor / f"in{channel}_input")
                milliamperes = _number(monitor / f"curr{channel}_input")
                if name not in ("", "NC") and millivolts is not None and milliamperes is not None:  # NC: not connected
                    yield name, millivolts * milliamperes / 1e6
        elif chip == "ina238":
            microwatts = _number(monitor / "power1_input")
            if microwatts is not None:
                yield _text(monitor / "label") or _INPUT_RAIL, microwatts / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # no such file, or the chip does not answer
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text.lstrip("-").isdecimal() else None
