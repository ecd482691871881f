"""A middleware that hangs while a node is made holds the interpreter; the process ends all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import inherited

pytest.importorskip("rclpy")

HANGS = """
#include <unistd.h>
int rcl_node_init(void) { write(2, "hangs\\n", 6); for (;;) sleep(1000); }
"""
START = """
from perf_inference.nodes.ros import runner
runner.JOIN_LIMIT_S = 1.0
runner.main(lambda: runner.RunnableNode("hangs"))
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_it_ends_and_says_where_it_was(tmp_path: Path, domain: int) -> None:
    source, library = tmp_path / "hangs.c", tmp_path / "hangs.so"
    source.write_text(HANGS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    environment = {**os.environ, **inherited(), "LD_PRELOAD": str(library)}
    ended = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1, ended
    assert ended.stderr.startswith("hangs\nTimeout (0:00:01)!")
    assert "in __init__" in ended.stderr
