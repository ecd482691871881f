"""What a start was is kept in the run's directory, and `run --like` starts the same."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.processes import Process, wait_until

from perf_inference.bringup.robot import Graph, read_graph
from perf_inference.commands import start_record
from perf_inference.errors import EX_CONFIG, ConfigError

CONFIG = """
/**/yolo_node:
  ros__parameters: {{model: {model}, confidence: 0.7}}
/**/recorder_node:
  ros__parameters: {{output_dir: {runs}, session: mine}}
"""


def options(**values: Any) -> argparse.Namespace:
    """Return what `perf-inference run` is given."""
    known: dict[str, Any] = {
        "namespace": "", "sim": False, "container": False, "tuning": True, "record": True, "checkpoint": None,
        "model_type": None, "assignments": [], "config": None, "like": None,
    }  # fmt: skip
    return argparse.Namespace(**{**known, **values})


@pytest.fixture
def started(tmp_path: Path) -> tuple[Graph, Path]:
    """A start whose digests are written, and its model."""
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    config = tmp_path / "robot.yaml"
    config.write_text(CONFIG.format(model=model, runs=tmp_path / "runs"))
    said = options(config=config, assignments=["yolo_node.iou=0.3"])
    graph = read_graph(config, assignments=said.assignments)
    start_record.keep(graph, said)
    path = graph.run_directories[0] / start_record.NAME
    assert wait_until(lambda: json.loads(path.read_text())["models_sha256"])
    return graph, model


def test_a_start_is_kept_and_restored(started: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, model = started
    said = json.loads((graph.run_directories[0] / start_record.NAME).read_text())
    assert said["models_sha256"] == {str(model): hashlib.sha256(b"a model").hexdigest()}
    assert said["nodes"]["yolo_node"]["set_by_starter"] == {"iou": 0.3}
    (tmp_path / "robot.yaml").write_text("/**/monitor_node:\n  ros__parameters: {}\n")  # changed since
    folder = tmp_path / "folder"
    folder.mkdir()
    again = start_record.restored(options(like=graph.run_directories[0], assignments=["yolo_node.top=3"]), folder)
    assert again.config.read_text() == said["config_text"]
    assert again.assignments == ["yolo_node.iou=0.3", "yolo_node.top=3"]
    assert [node.label for node in read_graph(again.config, record=False).nodes] == ["yolo_node"]


def test_a_model_that_has_changed_is_refused(started: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, model = started
    model.write_bytes(b"another")
    with pytest.raises(ConfigError, match=r"m\.onnx' has SHA-256 .*bring that file back"):
        start_record.restored(options(like=graph.run_directories[0]), tmp_path)
    model.unlink()
    with pytest.raises(ConfigError, match="is not there"):
        start_record.restored(options(like=graph.run_directories[0]), tmp_path)


def test_what_is_not_as_it_was_is_said(
    started: tuple[Graph, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graph, _ = started
    assert start_record.differences(options(like=graph.run_directories[0])) == []
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_other")
    assert start_record.differences(options(like=graph.run_directories[0])) == ["rmw was None, is rmw_other"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": "a", "config_text": 3, "options": {}}', "\x00"])
def test_a_damaged_start_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / start_record.NAME).write_text(text)
    with pytest.raises(ConfigError):
        start_record.restored(options(like=tmp_path), tmp_path)
    with pytest.raises(ConfigError, match="there is no"):
        start_record.restored(options(like=tmp_path / "none"), tmp_path)
    with pytest.raises(ConfigError, match="leave --config"):
        start_record.restored(options(like=tmp_path, sim=True), tmp_path)


def test_an_embedded_model_has_a_digest() -> None:
    assert start_record.sha256_of("detector") is not None
    assert start_record.sha256_of("/no/such.onnx") is None
    assert start_record.sha256_of("grpc://host:8081/m") is None


def test_only_what_the_starter_wrote_is_removed(started: tuple[Graph, Path]) -> None:
    graph, _ = started
    (directory,) = graph.run_directories
    (directory / "session.json").write_text("{}")
    start_record.remove_refused(graph.run_directories)
    assert directory.is_dir()
    (directory / "session.json").unlink()
    start_record.remove_refused(graph.run_directories)
    assert not directory.exists()


def test_the_same_is_started_again(start_command: Callable[..., Process], tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    config = tmp_path / "robot.yaml"
    config.write_text(f"/**/recorder_node:\n  ros__parameters: {{output_dir: {tmp_path}/runs, min_free_bytes: 7}}\n")
    first = start_command("run", "--config", str(config))
    first.wait_for("recording into")
    assert first.stop() == 0, first.output()
    (run,) = (tmp_path / "runs").iterdir()
    session = json.loads((run / "session.json").read_text())
    assert session["start"]["config_text"] == config.read_text()
    assert session["parameters"]["min_free_bytes"] == 7
    config.unlink()
    again = start_command("run", "--like", str(run))
    again.wait_for("recording into")
    assert again.stop() == 0, again.output()
    (other,) = set((tmp_path / "runs").iterdir()) - {run}
    assert json.loads((other / "session.json").read_text())["parameters"]["min_free_bytes"] == 7
    shutil.rmtree(run)
    refused = start_command("run", "--like", str(other), "--set", "recorder_node.min_free_bytes=many")
    assert refused.wait() == EX_CONFIG, refused.output()
    assert set((tmp_path / "runs").iterdir()) == {other}  # no empty directory is left
