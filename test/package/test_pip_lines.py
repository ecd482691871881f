"""No hint of ours has pip replace the NumPy of a ROS installation."""

from __future__ import annotations

import pytest
from support.paths import ROOT

from perf_inference import missing

# where there is no ROS installation, or what is told is to put its NumPy back
ALLOWED = {
    "missing.py",
    "devices/cuda_runtime.py",
    "cli.py",
    "bench/transport.py",
    "engines/lerobot/engine.py",
    "doctor/software.py",
    "doctor/onnx_runtime.py",
}


def test_a_pip_line_keeps_numpy_where_ros_was_built_against_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.setattr(missing, "_numpy", lambda: "2.3.0")
    assert missing.extra("build").endswith(" -m pip install onnx")
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert missing.pip("scipy").endswith(" -m pip install scipy 'numpy<2'")
    monkeypatch.setenv("ROS_DISTRO", "rolling")
    assert missing.pip("scipy").endswith(" -m pip install scipy")
    monkeypatch.setattr(missing, "_numpy", lambda: "1.26.4")
    assert missing.pip("scipy").endswith(" -m pip install scipy 'numpy<2'")


def test_every_hint_is_made_so() -> None:
    package = ROOT / "perf_inference"
    own = {str(path.relative_to(package)) for path in package.rglob("*.py") if "pip install" in path.read_text()}
    assert own <= ALLOWED
