"""No hint of ours has pip replace the NumPy of a ROS installation."""

from __future__ import annotations

import pytest
from support.paths import ROOT

from perf_inference.errors import pip_install

# where there is no ROS installation, or what is told is to put its NumPy back
ALLOWED = {
    "errors.py",
    "devices/cuda_runtime.py",
    "cli.py",
    "bench/transport.py",
    "doctor/software.py",
    "doctor/onnx_runtime.py",
}


def test_a_pip_line_keeps_numpy_where_ros_was_built_against_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    assert pip_install("perf_inference[build]") == "pip install 'perf_inference[build]'"
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert pip_install("scipy") == "pip install scipy 'numpy<2'"
    monkeypatch.setenv("ROS_DISTRO", "rolling")
    assert pip_install("scipy") == "pip install scipy"


def test_every_hint_is_made_so() -> None:
    package = ROOT / "perf_inference"
    own = {str(path.relative_to(package)) for path in package.rglob("*.py") if "pip install" in path.read_text()}
    assert own <= ALLOWED
