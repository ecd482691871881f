"""What a node does not use it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.processes import inherited

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

_HEAVY = ("torch", "transformers", "scipy", "soundfile", "PIL", "perf_inference.engines.chat.engine",
          "perf_inference.engines.huggingface.engine", "perf_inference.tasks.audio.task")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("node", ["yolo_node", "policy_node", "caption_node"])
def test_no_node_imports_libraries_of_others(node: str) -> None:
    code = f"import sys, perf_inference.nodes.{node}; print([name for name in {_HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], env=inherited(), capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"
