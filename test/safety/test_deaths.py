"""Whichever process dies or hangs at full speed towards a limit, an arm without stops comes to rest within them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("onnx", reason="needs onnx (pip install onnx)")

from support.cases import sampled
from support.death_rig import BEYOND_RAD, DEATHS, UNCOVERED, running
from support.paths import search_path
from support.processes import inherited, wait_until

TRIALS = int(os.environ.get("PERF_INFERENCE_TRIALS", "20"))


@pytest.mark.process
@pytest.mark.parametrize(
    "death", sampled(["kill policy", pytest.param("hold policy 2 s", marks=pytest.mark.thorough), "kill gate"])
)
def test_velocities_end_with_either_process(death: str) -> None:
    with running("velocity", 50.0) as rig:
        trial = rig.death(death)
    assert trial.rested_s is not None
    assert trial.beyond_rad < BEYOND_RAD


@pytest.mark.process
@pytest.mark.parametrize("death", [pytest.param("stop policy 3 s", marks=pytest.mark.thorough), "kill both"])
def test_a_trajectory_ends_with_both(death: str) -> None:
    with running("trajectory", 50.0) as rig:
        trial = rig.death(death)
        assert rig.messages > 5
    assert rig.refusals == []
    assert trial.rested_s is not None
    assert trial.beyond_rad < BEYOND_RAD


@pytest.mark.process
def test_a_gate_that_dies_is_followed_by_another_that_is_disabled_and_a_policy_that_dies_leaves_none() -> None:
    with running("velocity", 50.0) as rig:
        rig.enable(True)
        [first] = rig.gates()
        rig.die("kill gate")
        assert wait_until(lambda: rig.gates() not in ([], [first]))
        assert wait_until(rig.at_rest)
        assert not wait_until(lambda: not rig.at_rest(), 1.0), "nobody has enabled it again"
        assert "the gate's process was killed by SIGKILL; another one is started (1 of 3)" in rig.policy.output()
        rig.place([0.0, 0.0])  # away from the limits, which it may have reached
        rig.enable(True)
        assert wait_until(lambda: not rig.at_rest()), rig.policy.output()
        rig.die("kill policy")
        assert wait_until(lambda: not rig.gates())
        assert wait_until(rig.at_rest)
        assert "is gone (" in rig.policy.output()


@pytest.mark.thorough
@pytest.mark.process
def test_a_policy_that_is_started_again_waits_for_the_old_gate() -> None:
    with running("velocity", 50.0) as rig:
        rig.enable(True)
        [old] = rig.gates()
        os.kill(old, 19)  # it hangs: neither stands in the other's way for ever
        rig.die("kill policy")
        rig.policy.wait()
        rig.policy = rig.start()
        assert wait_until(lambda: old not in rig.gates(), 60)
        rig.policy.wait_for(f"process {old}, does not end: it is killed")
        rig.policy.wait_for("drives shoulder, elbow at 50 Hz")
        rig.enable(True)


@pytest.mark.long
@pytest.mark.parametrize("message", ["velocity", "trajectory"])
def test_safety_when_processes_die(message: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "support.death_rig", "--trials", str(TRIALS), "--message", message],
        env=inherited() | {"PYTHONPATH": search_path()}, text=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    print(ended.stdout)
    for death in DEATHS:
        [line] = [line for line in ended.stdout.splitlines() if line.startswith(f"{message:10s} {death}")]
        if (message, death) not in UNCOVERED:
            assert f"beyond by more than {BEYOND_RAD} rad 0, came to rest {TRIALS}" in line
    assert "refused: 0" in ended.stdout
