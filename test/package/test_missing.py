"""Without OpenCV, rclpy, ONNX Runtime and PyTorch each command and each help does its work, or says one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest
from support.paths import ROOT

from perf_inference import missing
from perf_inference.bringup.executables import NODES
from perf_inference.cli import COMMANDS
from perf_inference.commands.bench import BENCHES
from perf_inference.errors import EX_CONFIG

ABSENT = (
    "cv2", "rclpy", "onnx", "onnxruntime", "torch", "openvino", "transformers", "safetensors", "pyarrow", "grpc",
    "tritonclient", "std_msgs", "sensor_msgs", "geometry_msgs", "diagnostic_msgs", "trajectory_msgs", "std_srvs",
    "rcl_interfaces", "builtin_interfaces", "rosgraph_msgs",
)  # fmt: skip
CALLS = [
    *([command, "--help"] for command in COMMANDS),
    *(["bench", bench, "--help"] for bench in BENCHES),
    ["demo"], ["run", "--config", "no.yaml"], ["predict", "detector", "no.jpg"], ["predict", "no.onnx", "no.jpg"],
    ["build", "detector"], ["build", "detector", "--precision", "int8"], ["build", "no.pt"], ["prune", "captioner"],
    ["prune", "no.pt"], ["check", "no.yaml"], ["analyze", "no"], ["recover", "no"], ["convert", "no", "out"],
    ["bench", "ladder", "detector"], ["bench", "gap", "detector"], ["bench", "contention", "detector"],
    ["bench", "engines"], ["bench", "vision"], ["bench", "images"], ["bench", "share"], ["bench", "transport"],
    ["bench", "gate"], ["bench", "jitter"], ["bench", "overhead", "--frames", "100"], ["bench", "torch"],
    ["bench", "replay", "no", "--graph", "no"],
]  # fmt: skip
SCRIPT = """
import contextlib, io, json, sys
for name in {absent!r}:
    sys.modules[name] = None
from perf_inference.cli import main
said = []
for call in {calls!r}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(call)
        except SystemExit as error:
            status = error.code
        except BaseException as error:
            status = repr(error)
    said.append((call, status, out.getvalue(), err.getvalue()))
print(json.dumps(said))
"""


def run(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip


@pytest.mark.slow
def test_each_command_works_or_says_one_sentence(tmp_path: Path) -> None:
    result = run(SCRIPT.format(absent=ABSENT, calls=CALLS), tmp_path)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert len(said) == len(CALLS)
    for call, status, out, err in said:
        assert status in (0, 1, 2, EX_CONFIG), (call, status)
        assert "Traceback" not in out + err, call
        if status != 0:
            assert err.strip(), call
        if status == EX_CONFIG:
            assert err.count("\n") == 1, (call, err)
    missed = {call[0] for call, status, _, err in said if "is not installed" in err}
    assert {"predict", "build", "demo", "run", "bench"} <= missed
    helps = {call[0] for call, status, out, _ in said if call[1:] == ["--help"] and out.startswith("usage:")}
    assert {"bench", "analyze", "convert", "demo", "run", "recover", "doctor", "build"} <= helps


@pytest.mark.slow
@pytest.mark.parametrize("node", NODES)
def test_a_node_without_rclpy_says_one_sentence(tmp_path: Path, node: str) -> None:
    names = ABSENT if node == "yolo_node" else ABSENT[:2]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({names!r}))\n"
        f"sys.orig_argv = ['python', '/x/bin/{node}']\nimport perf_inference.nodes.{node}"
    )
    result = run(code, tmp_path)
    assert result.returncode == EX_CONFIG, result.stderr
    assert result.stderr == missing.NO_ROS + "\n"


def test_the_extras_are_those_of_setup_py(monkeypatch: pytest.MonkeyPatch) -> None:
    import setuptools

    monkeypatch.setattr(setuptools, "setup", lambda **given: None)
    monkeypatch.chdir(ROOT)
    extras = run_path(str(ROOT / "setup.py"))["EXTRAS"]
    for name, packages in missing.EXTRAS.items():
        assert sorted(re.split(r"[>=<]", one)[0] for one in extras[name]) == sorted(packages), name


def test_numpy_1_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "_numpy", lambda: "1.26.4")
    monkeypatch.setattr(sys, "executable", "/my venv/bin/python")
    assert missing.extra("build") == "'/my venv/bin/python' -m pip install onnx 'numpy<2'"
    monkeypatch.setenv("ROS_DISTRO", "humble")
    said = missing.sentence(ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    assert said == "cv2 is not installed: sudo apt install python3-opencv"
    assert missing.sentence(ModuleNotFoundError("No module named 'mine'", name="mine")) == ""
