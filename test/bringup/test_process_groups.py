"""Nodes that share a process, as the parameters file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.processes import Process, wait_until

from perf_inference.bringup.executables import CONTAINER
from perf_inference.bringup.process_groups import processes
from perf_inference.bringup.robot import read_graph
from perf_inference.bringup.start import commands
from perf_inference.errors import ConfigError


def _config(folder: Path, **sections: str) -> Path:
    file = folder / "robot.yaml"
    file.write_text("".join(f"{name}:\n  ros__parameters: {{{said}}}\n" for name, said in sections.items()))
    return file


def test_nodes_of_a_group_are_one_process(tmp_path: Path) -> None:
    config = _config(
        tmp_path, yolo_node="start: {process: perception, remap: ['image:=/front/image']}", monitor_node="",
        caption_node="start: {process: perception}", policy_node="start: {process: control}",
    )  # fmt: skip
    perception, monitor, control = processes(read_graph(config))
    assert (perception.name, monitor.name, control.name) == ("perception", "monitor_node", "control")
    assert (perception.shared, monitor.shared, control.shared) == (True, False, True)
    assert (perception.images, monitor.images, control.images) == (True, False, False)
    command = perception.command
    assert command[1:5] == ["-m", "perf_inference.nodes.container", "yolo_node=yolo_node", "caption_node=caption_node"]
    assert command[-2:] == ["-r", "yolo_node:image:=/front/image"]
    assert "policy_node=policy_node" not in command
    assert monitor.command[2] == "perf_inference.nodes.monitor_node"
    (everything,) = processes(read_graph(config), container=True)
    assert (everything.name, len(everything.nodes)) == (CONTAINER, 4)


def test_the_recorder_starts_first_then_the_policy_then_as_the_file_has_them(tmp_path: Path) -> None:
    group = "start: {process: watching}"
    config = _config(
        tmp_path, yolo_node="", monitor_node=group, policy_node="", caption_node="", recorder_node=group
    )  # fmt: skip
    assert list(commands(read_graph(config), False)) == ["watching", "policy_node", "yolo_node", "caption_node"]
    (single,) = commands(read_graph(config), True)
    assert single == CONTAINER


def test_a_group_for_all_nodes_and_for_each_robot(tmp_path: Path) -> None:
    said = "start: {process: all_of_it}"
    config = tmp_path / "robot.yaml"
    config.write_text(
        f"/**:\n  ros__parameters: {{{said}}}\n"
        + "".join(
            f"/{robot}/{node}:\n  ros__parameters: {{}}\n" for robot in "ab" for node in ("yolo_node", "monitor_node")
        )
        + "/b/caption_node:\n  ros__parameters: {start: {process: slow}}\n"
    )
    found = {process.name: [node.label for node in process.nodes] for process in processes(read_graph(config))}
    assert found == {
        "a/all_of_it": ["a/yolo_node", "a/monitor_node"], "b/all_of_it": ["b/yolo_node", "b/monitor_node"],
        "b/slow": ["b/caption_node"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("yolo", "error"),
    [
        ("start: {process: monitor_node}", "must be another name than a node's, got 'monitor_node'"),
        ("start: {process: [a]}", r"start.process in section 'yolo_node' of .* must be a name, got \['a'\]"),
        ("start: {process: 'a b'}", "must be a name, got 'a b'"),
        ("start: {process: container}", "must be a name, got 'container'"),
        (
            "start: {process: one, enclave: /here}",
            "must have one start.enclave, got yolo_node: /here, caption_node: None",
        ),
    ],
)
def test_groups_that_cannot_be(tmp_path: Path, yolo: str, error: str) -> None:
    config = _config(tmp_path, yolo_node=yolo, caption_node="start: {process: one}", monitor_node="")
    with pytest.raises(ConfigError, match=error):
        processes(read_graph(config))


def test_the_enclave_of_a_group_is_its_nodes(tmp_path: Path) -> None:
    said = "start: {process: one, enclave: /here}"
    config = _config(tmp_path, yolo_node=said, caption_node=said)
    (one,) = processes(read_graph(config))
    assert one.command[-2:] == ["--enclave", "/here"]


def test_a_group_runs_in_one_process_and_is_started_again_together(
    start_command: Callable[..., Process], tmp_path: Path
) -> None:
    said = "start: {process: watching}"
    config = _config(tmp_path, monitor_node=said, sim_robot_node=f"{said}, part: arm")
    run = start_command("run", "--sim", "--config", str(config))
    assert wait_until(lambda: "simulating: arm" in run.output(), 30), run.output()
    (child,) = psutil.Process(run.pid).children()
    assert {"monitor_node=monitor_node", "sim_robot_node=sim_robot_node"} < set(child.cmdline())
    child.kill()
    assert wait_until(lambda: run.output().count("simulating: arm") == 2, 30), run.output()
    assert "watching was killed by SIGKILL; restart 1 of 3" in run.output()
