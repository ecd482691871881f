"""The check of a GPU, where there is none: what it leaves, and that one failure loses nothing else."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT

from perf_inference.bench.gpu_check.found import off_by, reference
from perf_inference.bench.gpu_check.page import page
from perf_inference.bench.gpu_check.running import read_results, run_child
from perf_inference.bench.gpu_check.section import SECTIONS, Outcome, Result, Section, Skip, Table, run_check

SCRIPT = ROOT / "tools" / "gpu_check.sh"
SECTION = Section("jetson", "Jetson", 20.0)


@pytest.mark.slow
def test_the_script_leaves_a_page_and_its_figures(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(SCRIPT), str(tmp_path / "out"), "--only", "jetson"],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {result["section"] for result in results} == {"jetson"}
    assert {result["status"] for result in results} <= {"ok", "skipped"}
    text = (tmp_path / "out" / "page.md").read_text()
    assert "## Jetson" in text
    assert "| kernel_files | skipped | no Jetson" in text
    assert "\n12. " in text, "the checks that are made by hand are listed"


def test_every_section_can_be_imported_and_has_checks() -> None:
    for section in SECTIONS:
        try:
            checks = section.checks()
        except ImportError as error:
            assert error.name in ("onnxruntime", "torch")  # noqa: PT017
            continue
        assert checks
        assert all(check.__doc__ for check in checks.values())


def wrong() -> Outcome:
    return Outcome("3 is not 4", ok=False, values={"seen": 3})


def skipped() -> Outcome:
    raise Skip("no NVIDIA GPU")


def failed() -> Outcome:
    raise ValueError("two\nlines")


_LACKING = ("orjson", "rclpy", "mcap", "rosbags", "openvino", "pyarrow", "aiohttp", "pydantic", "lz4", "zstandard")
_IMPORTS = """
import importlib, sys
lacking, *modules = sys.argv[1:]
sys.modules.update(dict.fromkeys(lacking.split(",")))
for module in modules:
    try:
        importlib.import_module(module)
    except ImportError as error:
        if error.name not in ("torch", "onnxruntime", "tensorrt", "cupy", "pynvml"):
            raise
"""


@pytest.mark.slow
def test_it_needs_no_more_than_it_asks_for() -> None:
    folder = ROOT / "perf_inference" / "bench" / "gpu_check"
    modules = {f"perf_inference.bench.gpu_check.{path.stem}" for path in folder.glob("*.py") if path.stem != "__main__"}
    for path in folder.glob("*.py"):
        for line in ast.walk(ast.parse(path.read_text())):
            if isinstance(line, ast.ImportFrom) and (line.module or "").startswith("perf_inference"):
                modules |= {line.module or ""} if line.module != "perf_inference.bench" else {
                    f"{line.module}.{name.name}" for name in line.names
                }  # fmt: skip
    command = [sys.executable, "-c", _IMPORTS, ",".join(_LACKING), *sorted(modules)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("check", "status", "said"),
    [
        (wrong, "wrong", "3 is not 4"),
        (skipped, "skipped", "no NVIDIA GPU"),
        (failed, "failed", "ValueError: two lines"),
    ],
)
def test_what_a_check_raises_is_its_result(check: object, status: str, said: str) -> None:
    result = run_check(SECTION, "check", check)  # type: ignore[arg-type]
    assert (result.status, result.said) == (status, said)


def test_a_section_that_crashes_is_a_line_with_its_last_words(tmp_path: Path) -> None:
    (result,) = run_child(Section("no_such_section", "None", 30.0), tmp_path, time.monotonic() + 60)
    assert result.status == "failed"
    assert "ended with status 1" in result.said
    assert "StopIteration" in result.said


def test_what_does_not_fit_into_the_time_is_said(tmp_path: Path) -> None:
    (result,) = run_child(SECTION, tmp_path, time.monotonic() + 1)
    assert (result.status, result.said) == ("skipped", "left out: the time for all sections is spent")


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    whole = {"section": "jetson", "check": "a", "status": "ok", "said": "x", "table": [["n"], [["1"]]]}
    (tmp_path / "lines").write_text(json.dumps(whole) + '\n{"section": "jet')
    assert list(read_results(tmp_path / "lines")) == [Result("jetson", "a", "ok", "x", table=Table(["n"], [["1"]]))]


def test_the_page_has_a_row_for_each_result_and_the_tables() -> None:
    result = Result(
        "waiting", "events", "wrong", "5 | 6", 0.1, table=Table(("a", "b"), [("1", "2")]), text="as printed"
    )
    text = page([result], "2026-01-01, x86_64.")
    assert "Checks: 0 ok, 1 wrong, 0 failed, 0 skipped." in text
    assert "| events | wrong | 5 \\| 6 |" in text
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in text
    assert "```\nas printed\n```" in text


def test_a_check_that_is_left_out_is_not_run(tmp_path: Path) -> None:
    (result, *others) = run_child(SECTION, tmp_path, time.monotonic() + 60, without=("settings", "tegrastats"))
    assert (result.check, others) == ("kernel_files", [])


def test_words_are_compared_as_words_and_numbers_by_their_size() -> None:
    class Answers:
        def infer(self, inputs: object) -> dict[str, np.ndarray]:
            return {"tokens": np.array([1, 2, 3, 9]), "scores": np.array([0.5, 0.25], np.float32)}

    same = {"tokens": np.array([1, 2, 3, 4]), "scores": np.array([0.5, 0.25], np.float32)}
    assert off_by(Answers(), (({}, same),)) == 0.25  # type: ignore[arg-type]
    near = {"tokens": np.array([1, 2, 3, 9]), "scores": np.array([0.5, 0.2], np.float32)}
    assert off_by(Answers(), (({}, near),)) == pytest.approx(0.1)  # type: ignore[arg-type]


def test_models_are_compared_on_what_they_meet() -> None:
    pytest.importorskip("onnxruntime")
    pairs = reference("captioner", seeds=2)
    assert len(pairs) == 2
    assert all(expected["tokens"][0, 0] == 1 for _, expected in pairs), "each of them says a sentence: a ..."
