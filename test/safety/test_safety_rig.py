"""An arm without stops, driven by the real policy_node over DDS, stays within its limits whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

from support.paths import search_path
from support.processes import inherited
from support.safety_rig import running

BEYOND_RAD = 0.02
SOME = ("nan", "others_only", "late_0.28")
TRIALS = int(os.environ.get("PERF_INFERENCE_TRIALS", "20"))


@pytest.mark.thorough
@pytest.mark.process
def test_an_arm_without_stops_is_stopped_within_its_limits() -> None:
    with running(10.0, clock=False) as rig:
        for fault in SOME:
            trial = rig.trial(fault)
            assert trial.moved_rad > 0.05, f"{fault}: the arm never moved"
            assert trial.beyond_rad < BEYOND_RAD, fault


@pytest.mark.long
@pytest.mark.parametrize("rate_hz", [10, 50])
def test_safety_of_an_arm_without_stops(rate_hz: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "support.safety_rig", "--trials", str(TRIALS), "--rate", str(rate_hz)],
        env=inherited() | {"PYTHONPATH": search_path()}, text=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    print(ended.stdout)
    lines = ended.stdout.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if f"beyond by more than {BEYOND_RAD} rad 0, moved {TRIALS}" not in line] == []
