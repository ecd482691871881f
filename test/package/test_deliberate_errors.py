"""A deliberate error in each of more than ten modules: its room's tests find it (`make prove PROVE=deliberate`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from support.paths import ROOT, TESTS

import perf_inference

TIMEOUT_S = 300.0
CORE = "not process and not slow and not long and not torch"


class Mistake(NamedTuple):
    """A line of a module, and what stands there by mistake."""

    module: str
    line: str
    instead: str
    tests: str  # where it is looked for: folders or files of test/


MISTAKES = (
    Mistake("measure/statistics.py", "math.ceil(self.n * percent / 100)", "math.floor(self.n * percent / 100)",
            "measure/test_statistics.py"),
    Mistake("measure/mailbox.py", "self._replaced_since_take += 1", "self._replaced_since_take += 2", "measure"),
    Mistake("pipeline.py", "itertools.count(1)", "itertools.count(0)", "measure/test_pipeline.py"),
    Mistake("safety/limits.py", "[min(pair) for pair in zip(self.upper", "[max(pair) for pair in zip(self.upper",
            "safety/test_safety_gate.py"),
    Mistake("recording/run_directory.py", "max(numbers, default=0) + 1", "max(numbers, default=0)",
            "recording/test_run_directory.py"),
    Mistake("telemetry/window.py", "self.energy_j / inferences", "self.energy_j * inferences", "telemetry"),
    Mistake("files/whole.py", "temporary.unlink(missing_ok=True)", "pass", "files/test_whole.py"),
    Mistake("engines/engine.py", "array.dtype == self.dtype\n", "True\n", "engines/test_engine.py"),
    Mistake("report/scales.py", "np.log(clipped / self.low)", "np.log(clipped)", "recording/test_analysis.py"),
    Mistake("doctor/finding.py", 'return 2 if "error" in levels', 'return 1 if "error" in levels', "doctor"),
    Mistake("bringup/supervisor.py", "delay_s = BACK_OFF_S[child.restarts]", "delay_s = BACK_OFF_S[0]",
            "bringup/test_supervisor.py"),
    Mistake("files/private.py", "found.st_uid != os.geteuid() and not", "False and not", "files/test_private_files.py"),
    Mistake("model_build/allowed_models.py", "real in places or real.parent in places",
            "True or real.parent in places", "model_build/test_allowed_models.py"),
    Mistake("cli.py", "return EX_CONFIG if isinstance(error, ConfigError) else 1", "return 0",
            "commands recording/test_recover.py"),
)  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and tests."""
    root = tmp_path_factory.mktemp("mistakes")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(perf_inference.__file__).parent, root / "perf_inference", ignore=ignore)
    shutil.copytree(TESTS, root / "test", ignore=ignore)
    for name in ("pyproject.toml", "docs", "examples", "package.xml", "setup.py", "CHANGELOG.rst"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name)
        else:
            shutil.copy(ROOT / name, root)
    return root


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.module)
def test_a_deliberate_error_is_found_in(mistake: Mistake, copy: Path) -> None:
    path = copy / "perf_inference" / mistake.module
    text = path.read_text()
    assert mistake.line in text, f"{mistake.module} no longer has {mistake.line!r}"
    path.write_text(text.replace(mistake.line, mistake.instead))
    places = [f"test/{place}" for place in mistake.tests.split()]
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-m"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"}
    try:
        ended = subprocess.run(
            [*command, CORE, *places], cwd=copy, env=environment, text=True, capture_output=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    finally:
        path.write_text(text)
    found = re.search(r"^FAILED (\S+)", ended.stdout, re.MULTILINE)
    assert ended.returncode == 1, ended.stdout[-2000:]
    assert found is not None, ended.stdout[-2000:]
    print(f"\n{mistake.module}: {mistake.line.strip()!r} -> {mistake.instead.strip()!r}: {found[1]}")


def test_every_line_is_where_it_is_looked_for() -> None:
    package = Path(perf_inference.__file__).parent
    gone = [mistake.module for mistake in MISTAKES if (package / mistake.module).read_text().count(mistake.line) != 1]
    assert not gone
