"""A wrong configuration ends the start with one sentence and status 78, not with a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from support.cases import sampled
from support.processes import Process

from perf_inference.errors import EX_CONFIG

CASES = [
    (
        "yolo_node",
        "runtime:=tensorflow",
        "parameter 'runtime' of yolo_node must be one of auto, onnx, torch, ",
    ),
    ("yolo_node", "confidence:=1.5", "'confidence' of yolo_node must be a number from 0 to 1, got 1.5"),
    ("yolo_node", "confidence:=high", "'confidence' of yolo_node must be a number from 0 to 1, got 'high'"),
    ("yolo_node", "model:=/nowhere.onnx", "model '/nowhere.onnx' is neither a file nor an embedded model"),
    (
        "yolo_node",
        "model:=captioner",
        "'captioner' says that its task is 'caption'; a vision model's is classify, detect",
    ),
    ("yolo_node", "model:={}/broken.onnx", "broken.onnx' is no ONNX model: "),
    ("yolo_node", "device:=cuda:0", "no execution provider for device 'cuda:0' among"),
    ("policy_node", "limits.lower:=[1.0]", "limits.lower must have 2 values, one for each of ['shoulder', 'elbow']"),
    ("policy_node", "model:=detector", "'detector' is no policy: inputs must be force, joints, image"),
    ("caption_node", "model:=detector", "'detector' is no captioner: it needs an output 'tokens'"),
    ("sim_robot_node", "part:=leg", "'part' of sim_robot_node must be one of arm, camera, all, got 'leg'"),
    ("recorder_node", "output_dir:=/proc/nowhere", "/proc/nowhere"),
    ("replay_node", "source:=/nowhere", "/nowhere"),
    ("camera_node", "source:=/nowhere", "there is nothing at '/nowhere'"),
    ("speech_node", "engine:=piper", "piper needs a voice"),
]


@pytest.mark.parametrize(("node", "setting", "said"), sampled(CASES, keep=6))
def test_it_ends_the_start(
    start_node: Callable[..., Process], tmp_path: Path, node: str, setting: str, said: str
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    process = start_node(node, "-p", setting.format(tmp_path))
    assert process.wait() == EX_CONFIG, process.output()
    assert said in process.output()
    assert "Traceback" not in process.output()
    assert len(process.output().strip().splitlines()) == 1, process.output()


def test_a_parameter_that_is_not_known_is_told_with_the_one_that_was_meant(
    start_node: Callable[..., Process],
) -> None:
    process = start_node("monitor_node", "-p", "stale:=4.0")
    process.wait_for("parameter 'stale' is not known to monitor_node and is ignored; did you mean 'stale_s'?")
    assert process.stop() == 0


def test_whole_numbers_are_numbers(start_node: Callable[..., Process]) -> None:
    process = start_node("monitor_node", "-p", "stale_s:=4")
    process.wait_for("publishing /diagnostics")
    assert process.stop() == 0


def test_an_unreadable_parameter_file_is_named(start_node: Callable[..., Process], tmp_path: Path) -> None:
    process = start_node("monitor_node", "--params-file", str(tmp_path / "missing.yaml"))
    assert process.wait() == EX_CONFIG
    assert "missing.yaml" in process.output()
    assert "Traceback" not in process.output()
