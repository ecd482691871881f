"""What the doctor makes of ONNX Runtime's packages and of the cache of built models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perf_inference.devices import jetson
from perf_inference.doctor import engine_cache, onnx_runtime
from perf_inference.doctor.finding import Finding
from perf_inference.model_build import cache, machine

CPU = {"version": "1.30.0", "providers": ["AzureExecutionProvider", "CPUExecutionProvider"], "missing": ""}
CUDA = {**CPU, "providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]}
BOTH = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"}


def judge(
    installed: dict[str, str], said: dict[str, object], gpu: bool, *, failure: str = "", on_jetson: bool = False
) -> Finding:
    return onnx_runtime.judge(installed, said, failure, gpu, on_jetson)


def test_the_one_that_is_here_is_tried() -> None:
    pytest.importorskip("onnxruntime")
    finding = onnx_runtime.onnx_runtime(gpus=0)
    assert finding.level == "ok"
    assert finding.value.startswith("onnxruntime ")
    assert "providers: " in finding.value
    assert "CPU" in finding.value


def test_two_packages_are_found_by_their_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    other = tmp_path / "onnxruntime_gpu-1.31.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.31.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = onnx_runtime.onnx_runtime(gpus=1)
    assert finding.level == "error", "the CPU's is what is left of them"
    assert "and onnxruntime-gpu 1.31.1, both installed; providers: " in finding.value
    assert finding.fix == "$ pip uninstall -y onnxruntime onnxruntime-gpu\n$ pip install onnxruntime-gpu"


def test_the_packages_against_the_machine() -> None:
    assert judge({"onnxruntime": "1.30.0"}, CPU, gpu=False).level == "ok"
    assert judge({"onnxruntime-gpu": "1.31.1"}, CUDA, gpu=True).level == "ok"
    assert judge(BOTH, CUDA, gpu=True).level == "warning"
    assert judge(BOTH, CPU, gpu=True).level == "error"
    assert judge(BOTH, CPU, gpu=False).fix.endswith("$ pip install onnxruntime")
    unused = judge({"onnxruntime": "1.30.0"}, CPU, gpu=True)
    assert (unused.level, unused.fix) == (
        "warning", "$ pip uninstall -y onnxruntime\n$ pip install onnxruntime-gpu",
    )  # fmt: skip
    lost = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    lacking = judge({"onnxruntime-gpu": "1.31.1"}, {**CUDA, "missing": lost}, gpu=True)
    assert (lacking.level, lost in lacking.why) == ("error", True)
    assert judge({"onnxruntime-gpu": "1.31.1"}, {**CUDA, "missing": lost}, gpu=False).level == "ok"
    none = judge({}, {}, gpu=False, failure="ModuleNotFoundError: No module named 'onnxruntime'")
    assert (none.level, none.fix) == ("error", "$ pip install onnxruntime")


def test_a_jetson_gets_its_own_wheels() -> None:
    finding = judge({"onnxruntime": "1.23.0"}, CPU, gpu=True, on_jetson=True)
    assert finding.fix.endswith("$ pip install --index-url https://pypi.jetson-ai-lab.io/jp6/cu126 onnxruntime-gpu")


def test_what_fails_to_import_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnxruntime.so.1: cannot open')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(jetson, "_RELEASE", tmp_path / "none")
    finding = onnx_runtime.onnx_runtime(gpus=0)
    assert (finding.level, "libonnxruntime.so.1: cannot open" in finding.value) == ("error", True)


def built(name: str, device: str, runtime: str = "onnx") -> None:
    key = cache.Key(name, "0" * 64, runtime, "int8", device, {}, {})
    cache.get(key, ".onnx", lambda target: target.write_bytes(bytes(1_500_000)) and None)


def test_the_cache_says_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path))
    assert engine_cache.engine_cache() == Finding("engine_cache", "ok", f"{tmp_path} is empty: nothing was built yet")
    built("policy", machine.processor())
    built("detector", "Orin, compute capability 8.7, driver for CUDA 12060", "tensorrt")
    finding = engine_cache.engine_cache()
    assert finding.level == "ok"
    assert f"{tmp_path}: 2 models, 3 MB (1 onnx int8, 1 tensorrt int8)" in finding.value
    assert "1 for another device (detector for Orin, compute capability 8.7" in finding.value
    damaged = next((tmp_path / "built").glob("*/what.json"))
    damaged.write_text("{")
    assert f"{tmp_path}: 1 models" in engine_cache.engine_cache().value


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_cache_of_another_user_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path))
    built("policy", machine.processor())
    os.chown(tmp_path / "built", 4321, 4321)
    finding = engine_cache.engine_cache()
    assert (finding.level, finding.value) == ("warning", f"{tmp_path} belongs to another user")
    assert finding.fix.endswith(f"$ sudo chown -R $USER {tmp_path}")
    os.chown(tmp_path / "built", 0, 0)
    assert engine_cache.engine_cache().level == "ok"


@pytest.mark.slow
def test_the_command_has_both_checks() -> None:
    only = ["--only", "onnxruntime", "--only", "engine_cache"]
    done = subprocess.run(
        [sys.executable, "-m", "perf_inference.cli", "doctor", "--json", *only],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = json.loads(done.stdout)["findings"]
    assert [one["check"] for one in found] == ["onnxruntime", "engine_cache"]
