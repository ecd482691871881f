"""Old paths of public modules work for one release, and say where things are now."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from perf_inference._moved import MOVED

PUBLIC = (
    "PerformanceMonitor", "serving.EngineRuntime", "testing.engine_contract", "telemetry.tegrastats.parse",
    "measure.selftest.main", "engines.pytorch.checkpoint.save_checkpoint", "engines.load",
)  # fmt: skip


@pytest.mark.slow
def test_every_old_path_gives_the_new_module() -> None:
    script = (
        "import importlib, sys, warnings\nwarnings.simplefilter('ignore')\nfrom perf_inference._moved import MOVED\n"
        "for old, new in MOVED.items():\n"
        "    try:\n        there = importlib.import_module('perf_inference.' + new)\n"
        "    except ImportError as error:\n        assert 'perf_inference' not in str(error), error\n        continue\n"
        "    assert importlib.import_module('perf_inference.' + old) is there, old\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_old_path_warns_where_it_is_imported() -> None:
    script = "from perf_inference.building.sources import resolve\nimport perf_inference.model_build.plan as new\n"
    script += "assert resolve is new.resolve"
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "DeprecationWarning: perf_inference.building has moved to perf_inference.model_build" in done.stderr
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr.count("has moved") == 2


def test_a_module_that_became_a_package_still_gives_its_names() -> None:
    from perf_inference.engines.onnx.engine import OnnxEngine

    package = importlib.import_module("perf_inference.engines.onnx")
    with pytest.warns(DeprecationWarning, match=r"engines\.onnx\.OnnxEngine has moved to .*onnx\.engine\.OnnxEngine"):
        assert package.OnnxEngine is OnnxEngine
    with pytest.raises(AttributeError):
        _ = package.nothing


@pytest.mark.slow
@pytest.mark.parametrize("path", PUBLIC)
def test_public_paths_have_not_moved(path: str) -> None:
    needed = {"serving.EngineRuntime": "mlserver", "engines.pytorch.checkpoint.save_checkpoint": "torch"}.get(path)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    assert path not in MOVED
    module, _, name = f"perf_inference.{path}".rpartition(".")
    script = f"import importlib; getattr(importlib.import_module('{module}'), '{name}', None) or "
    script += f"importlib.import_module('{module}.{name}')"
    subprocess.run([sys.executable, "-W", "error::DeprecationWarning:perf_inference", "-c", script], check=True)
