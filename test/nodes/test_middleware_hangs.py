"""A middleware that hangs while a node is made or destroyed holds the interpreter; the process ends all the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import inherited

from perf_inference.bringup.child_process import SUPERVISED, Process

pytest.importorskip("rclpy")

HANGS = """
#include <unistd.h>
int FUNCTION(void *_) { write(2, "hangs\\n", 6); for (;;) sleep(1000); }
"""
JOINS = """
from perf_inference.nodes.ros import runner
runner.JOIN_LIMIT_S = 1.0
runner.main(lambda: runner.RunnableNode("hangs"))
"""
LEAVES = """
import os, signal
from perf_inference.nodes.ros import leaving, runner
leaving.LEAVE_LIMIT_S = {limit}
class Ends(runner.RunnableNode):
    def __init__(self):
        super().__init__("hangs")
        self.create_timer(0.1, lambda: os.kill({ends}, signal.SIGTERM))
runner.main(Ends)
"""
LISTENS = """
import os
from perf_inference.nodes.bench.collector import Collector
from perf_inference.nodes.ros import leaving
leaving.LEAVE_LIMIT_S = 1.0
Collector("hangs", int(os.environ["ROS_DOMAIN_ID"])).close()
"""


@pytest.fixture
def hanging(tmp_path: Path, domain: int) -> Callable[..., subprocess.Popen[str]]:
    """Start a script whose function of ROS's C library never returns."""
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")

    def start(function: str, script: str, **more: str) -> subprocess.Popen[str]:
        source, library = tmp_path / "hangs.c", tmp_path / "hangs.so"
        source.write_text(HANGS.replace("FUNCTION", function))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        environment = {**os.environ, **inherited(), "LD_PRELOAD": str(library), **more}
        return subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)

    return start


@pytest.mark.parametrize(
    ("function", "script", "where"),
    [
        ("rcl_node_init", JOINS, "in __init__"),
        ("rcl_node_fini", LEAVES.format(limit=1.0, ends="os.getpid()"), "in destroy_node"),
        ("rcl_node_fini", LISTENS, "in destroy_node"),
    ],
    ids=["joins", "leaves", "a command leaves"],
)
def test_it_ends_and_says_where_it_was(
    hanging: Callable[..., subprocess.Popen[str]], function: str, script: str, where: str
) -> None:
    process = hanging(function, script)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "hangs\nTimeout (0:00:01)!" in said
    assert where in said


@pytest.mark.parametrize(
    "given",
    [
        "",
        "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)",
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})",
    ],
    ids=["as usual", "SIGALRM ignored", "SIGALRM blocked"],
)
def test_it_does_not_outlive_its_starter(hanging: Callable[..., subprocess.Popen[str]], given: str) -> None:
    starter = subprocess.Popen(["sleep", "60"])
    script = given + LEAVES.format(limit=60.0, ends=starter.pid)
    process = hanging("rcl_node_fini", script, **{SUPERVISED: f"{starter.pid}:{Process.of(starter.pid).started}"})
    starter.wait(timeout=60)
    _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGALRM, said
    assert "hangs" in said
