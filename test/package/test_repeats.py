"""A test that is repeated begins anew, and what it took is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT, TESTS

TEST = """
import pytest

times = []

@pytest.mark.timing
def test_it(tmp_path, monkeypatch):
    times.append(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert len(times) == 3

@pytest.mark.timing
def test_red(tmp_path):
    assert False
"""


@pytest.mark.slow
def test_it_begins_anew_and_is_red_only_after_three(tmp_path: Path) -> None:
    pytest.importorskip("pytest_retry", reason="needs pytest-retry")
    (tmp_path / "test_sometimes.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-c", str(ROOT / "pyproject.toml"),
               "--rootdir", str(tmp_path), str(tmp_path)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT)])}
    environment["TMPDIR"] = str(tmp_path)  # its turns are not those of the tests that run now
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed, 2 retried" in ended.stdout, ended.stdout + ended.stderr
    assert ended.stdout.count("failed on attempt") == 4  # the last of the red one is its report
    assert "test_it passed on attempt 3" in ended.stdout
