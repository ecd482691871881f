"""The loop is closed by looking: with what the policy sees or feels frozen, the targets are missed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from support.processes import Process, wait_until

from perf_inference.engines import MODELS

EPISODES = 100


def share_reached(start_command: Callable[..., Process], *arguments: str) -> float:
    """Return the share [0, 1] of targets that the demo says it reached."""
    demo = start_command("demo", "--episodes", str(EPISODES), "--seed", "0", *arguments)
    assert wait_until(lambda: not demo.alive, EPISODES * 5.5 + 60), demo.output()
    assert demo.wait() == 0, demo.output()
    found = re.search(r"^targets reached: (\d+) of (\d+)", demo.output(), re.MULTILINE)
    assert found, demo.output()
    assert int(found[2]) == EPISODES
    print(f"demo --episodes {EPISODES} --seed 0 {' '.join(arguments)}: {found[0]}")
    return int(found[1]) / EPISODES


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "at_least", "below"),
    [
        ((), 0.95, 1.01),
        (("--zero-actions",), 0.0, 0.30),
        (("--frozen", "camera"), 0.0, 0.50),
        (("--frozen", "joint_states"), 0.0, 0.50),
    ],
    ids=["looking", "zero-actions", "frozen-camera", "frozen-joints"],
)
def test_targets_are_reached_by_looking_only(
    start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], at_least: float, below: float,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert at_least <= share_reached(start_command, *arguments) < below


@pytest.mark.torch
def test_a_pytorch_checkpoint_drives_as_the_onnx_file_does(
    start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODELS / "policy.pt", "regression.pt")
    demo = start_command("demo", "--duration", "15", "--set", "policy_node.model=regression.pt")
    assert wait_until(lambda: not demo.alive, 90), demo.output()
    assert demo.wait() == 0, demo.output()
    found = re.search(r"^targets reached: (\d+) of (\d+)", demo.output(), re.MULTILINE)
    assert found, demo.output()
    print(f"a .pt policy in the demo: {found[0]}")
    assert int(found[1]) > 0.8 * int(found[2]) > 0
    (timings,) = tmp_path.glob("runs/*/performance_timings_*.jsonl")
    records = [json.loads(line) for line in timings.read_text().splitlines()]
    policy = [record for record in records if record["node"] == "policy_node"]
    assert len(policy) > 100
    assert {record["engine"] for record in policy} == {"regression"}
