"""`perf-inference run --checkpoint FILE` starts a policy of this file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.processes import Process, Ros

from perf_inference.cli import main

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")


def test_a_model_of_another_type_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--checkpoint", "policy", "--model-type", "chunk"]) == 78
    assert "--model-type chunk does not fit 'policy', which gives one action at a time" in capsys.readouterr().err
    assert main(["run", "--checkpoint", "chunk_policy", "--model-type", "regression"]) == 78
    assert "which gives chunks" in capsys.readouterr().err
    assert main(["run", "--model-type", "chunk"]) == 78
    assert "--model-type goes with --checkpoint FILE alone" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_checkpoint_drives_the_simulated_robot(ros: Ros, start_command: Callable[..., Process]) -> None:
    from trajectory_msgs.msg import JointTrajectory

    actions = ros.collect(JointTrajectory, "action", 10)
    process = start_command("run", "--checkpoint", "chunk_policy", "--model-type", "chunk", "--sim", "--no-record")
    assert ros.spin_until(lambda: any(len(message.points) > 1 for message in actions), 60), process.output()
