"""Whether this is a Jetson, whose CUDA, TensorRT and PyTorch are NVIDIA's own builds and not those of PyPI."""

from __future__ import annotations

from pathlib import Path

_DEVFREQ = Path("/sys/class/devfreq")
_RELEASE, _MODEL = Path("/etc/nv_tegra_release"), Path("/proc/device-tree/model")


def is_jetson() -> bool:
    """Return whether the system says that it is one: by its release file, or in a container by the device tree."""
    try:
        return _RELEASE.exists() or "NVIDIA Jetson" in _MODEL.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def tpc_mask(devfreq: Path = _DEVFREQ) -> str:
    """Return which clusters of multiprocessors the power mode has switched off; nothing: none, or no Jetson."""
    files = sorted(devfreq.glob("*/device/tpc_pg_mask"))
    try:
        return files[0].read_text(encoding="utf-8", errors="replace").strip() if files else ""
    except OSError:
        return ""
