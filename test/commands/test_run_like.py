"""What a start was is kept in the run's directory, and `run --like` starts the same."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.processes import Process, wait_until

from perf_inference.bringup.robot import Graph, read_graph
from perf_inference.commands import demo, run, start_record
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


def test_of_a_refused_start_nothing_is_left(started: tuple[Graph, Path]) -> None:
    graph, _ = started
    (directory,) = graph.run_directories
    for name in ("session.json", "topics_1.jsonl", "performance_timings_20260102_030405.jsonl", "nodes.log"):
        (directory / name).touch()
    start_record.remove_refused(graph.run_directories)
    assert not directory.exists()


@pytest.mark.parametrize("kept", ["an inference", "a minute of topics", "another's file", "a link"])
def test_what_was_recorded_is_not_removed(started: tuple[Graph, Path], kept: str) -> None:
    graph, _ = started
    (directory,) = graph.run_directories
    if kept == "an inference":
        (directory / "performance_timings_20260102_030405.jsonl").write_text("{}\n")
    elif kept == "a minute of topics":
        (directory / "topics_1.jsonl").touch()
        os.utime(directory / "starter.yaml", (1.0, 1.0))
    elif kept == "another's file":
        (directory / "notes.txt").touch()
    else:
        (directory / "nodes.log").symlink_to("/dev/null")
    before = sorted(directory.iterdir())
    start_record.remove_refused(graph.run_directories)
    assert sorted(directory.iterdir()) == before


def test_what_the_demo_set_is_set_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    said = parser.parse_args(["--seed", "3", "--delay-ms", "5..7", "--frozen", "camera", "--policy", "chunk_policy",
                              "--zero-actions", "--set", "yolo_node.iou=0.3"])  # fmt: skip
    overrides = demo.overrides_of(said)
    graph = demo.graph_of(said, overrides)
    start_record.keep(graph, demo.as_run(said, graph, overrides), "demo")
    folder = tmp_path / "folder"
    folder.mkdir()
    like = argparse.Namespace(**{**vars(options()), "like": graph.run_directories[0]})
    again = start_record.restored(like, folder)
    assert "ROS_DOMAIN_ID" in os.environ  # not where a real robot may be
    monkeypatch.delenv("ROS_DOMAIN_ID")
    other = read_graph(again.config, again.sim, again.record, assignments=again.assignments)

    def without_time(graph: Graph) -> dict[str, dict[str, Any]]:
        return {one.label: {key: value for key, value in one.parameters.items() if key != "start_time"}
                for one in graph.nodes}  # fmt: skip

    assert without_time(other) == without_time(graph)
    assert other.run_directories[0].name.startswith("demo_")


def test_a_file_that_no_container_takes_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "two.yaml"
    config.write_text("/a/yolo_node:\n  ros__parameters: {}\n/b/yolo_node:\n  ros__parameters: {}\n"
                      f"/a/recorder_node:\n  ros__parameters: {{output_dir: {tmp_path}/runs}}\n")  # fmt: skip
    with pytest.raises(ConfigError, match="a container takes the nodes of one namespace"):
        run.run(options(config=config, container=True, verbose=False))
    assert list((tmp_path / "runs").iterdir()) == []


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
