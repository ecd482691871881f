"""Whose parameters a running node has, asked from outside: the file's, or the start is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from rcl_interfaces.srv import GetParameters
from support.cases import sampled
from support.processes import Process, Ros

from perf_inference.bringup.robot import read_graph
from perf_inference.errors import EX_CONFIG, ConfigError

WHOLE_ROBOT = """
/**:
  ros__parameters: {start: {remap: ['image:=camera/image_raw']}}
controller_server:
  ros__parameters: {controller_frequency: 20.0, FollowPath: {plugin: 'dwb_core::DWBLocalPlanner'}}
local_costmap:
  local_costmap:
    ros__parameters: {plugins: [voxel_layer, inflation_layer]}
robot1:
  ros__parameters: {a: 1}
  eyes:
    yolo_node:
      ros__parameters: {confidence: 0.11}
  '**':
    ros__parameters: {iou: 0.33}
robot2/eyes/yolo_node:
  ros__parameters: {confidence: 0.22}
"""


def had(ros: Ros, node: str, *names: str) -> list[object]:
    """Return the values that a node says it has."""
    answer = ros.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=list(names)), 60)
    return [
        {2: v.integer_value, 3: v.double_value, 4: v.string_value, 8: list(v.double_array_value),
         9: list(v.string_array_value)}[v.type] for v in answer.values
    ]  # fmt: skip


@pytest.fixture
def configurations(shared_data: Path) -> Path:
    return shared_data / "faults" / "config"


@pytest.mark.parametrize(
    ("name", "options"), sampled([("ns2", []), ("ns2", ["--namespace", "robot1"]), ("nested", [])])
)
def test_a_section_for_a_namespace_reaches_its_node(
    ros: Ros, start_command: Callable[..., Process], configurations: Path, name: str, options: list[str]
) -> None:
    process = start_command("run", "--config", str(configurations / f"{name}.yaml"), *options)
    assert had(ros, "/robot1/yolo_node", "confidence") == [0.95], process.output()


@pytest.mark.parametrize("name", ["plain", "policy_plain"])
def test_a_plain_name_in_a_namespaced_start_is_refused(
    start_command: Callable[..., Process], configurations: Path, name: str
) -> None:
    process = start_command("run", "--config", str(configurations / f"{name}.yaml"), "--namespace", "robot1")
    assert process.wait() == EX_CONFIG, process.output()
    assert "its parameters would not reach it; call it /**/" in process.output()


@pytest.mark.parametrize(("node", "name"), [("yolo_node", "plain"), ("policy_node", "policy_plain")])
def test_so_it_is_where_the_node_is_started_by_itself(
    start_node: Callable[..., Process], configurations: Path, node: str, name: str
) -> None:
    process = start_node(node, "--params-file", str(configurations / f"{name}.yaml"), "-r", "__ns:=/robot1")
    assert process.wait() == EX_CONFIG, process.output()
    assert f"is not for /robot1/{node}" in process.output()
    assert len(process.output().strip().splitlines()) == 1


def test_a_policy_has_the_joints_and_limits_of_the_file(
    ros: Ros, start_node: Callable[..., Process], configurations: Path
) -> None:
    process = start_node("policy_node", "--params-file", str(configurations / "policy_plain.yaml"))
    joints, upper, velocity = had(ros, "/policy_node", "joint_names", "limits.upper", "limits.velocity")
    assert joints == ["j1", "j2"], process.output()
    assert (upper, velocity) == ([0.1, 0.1], [0.05, 0.05])


def test_a_value_that_a_later_section_takes_away_ends_the_start(
    start_command: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "robot.yaml").write_text(
        "/**/policy_node:\n  ros__parameters: {rate: 5.0}\n/**:\n  ros__parameters: {rate: 10.0}\n"
    )
    process = start_command("run", "--config", str(tmp_path / "robot.yaml"))
    assert process.wait() == EX_CONFIG, process.output()
    assert "'rate' of /policy_node is 10.0, but section '/**/policy_node' of" in process.output()


def test_the_nodes_of_two_robots_within_a_file_of_many(
    ros: Ros, start_command: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "robot.yaml").write_text(WHOLE_ROBOT)
    process = start_command("run", "--config", str(tmp_path / "robot.yaml"))
    assert had(ros, "/robot1/eyes/yolo_node", "confidence", "iou") == [0.11, 0.33], process.output()
    assert had(ros, "/robot2/eyes/yolo_node", "confidence", "iou") == [0.22, 0.5]
    assert "left to other packages: controller_server, local_costmap/local_costmap, robot1\n" in process.output()
    names = {f"{space}/{name}" for name, space in ros.node.get_node_names_and_namespaces()}
    assert not {name for name in names if "yolo" in name} - {"/robot1/eyes/yolo_node", "/robot2/eyes/yolo_node"}


def test_remappings_and_simulation_are_for_the_nodes_that_they_reach(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text(
        "/**:\n  ros__parameters: {start: {remap: ['a:=1']}}\n"
        "/robot1/**:\n  ros__parameters: {enabled: false, start: {remap: ['a:=2']}}\n"
        "/robot1/policy_node:\n  ros__parameters: {start: {remap: ['a:=3']}}\n"
        "/robot2/policy_node:\n  ros__parameters: {}\n"
        "/robot1/arm:\n  ros__parameters: {start: {executable: sim_robot_node}}\n"
    )
    one, two, _ = read_graph(tmp_path / "robot.yaml", sim=True).nodes
    assert (one.remappings, two.remappings) == (("a:=3", "a:=2", "a:=1"), ("a:=1",))
    assert "enabled" not in one.parameters
    assert two.parameters["enabled"] is True


@pytest.mark.parametrize(
    ("text", "namespace", "said"),
    [
        ("/robot1/yolo_node:\n  ros__parameters: {}\n/robot2/**:\n  ros__parameters: {}\n", "", "reaches none of"),
        ("/robot1/yolo_node:\n  ros__parameters: {}\n/robot2/yolo_node:\n  ros__parameters: {}\n", "robot1", "robot2"),
        ("/**/yolo_node:\n  ros__parameters: {}\n/robot1/yolo_node:\n  ros__parameters: {}\n", "", "is for .* too"),
        ("robot1:\n  yolo_nod:\n    ros__parameters: {}\n", "", "got 'yolo_nod'"),
        ("robot1:\n  yolo_ndoe:\n    ros__parameters: {}\n", "", "got 'yolo_ndoe'"),
        ("a:\n  ros__parameters: {start: {remap: []}}\n", "", "start.executable"),
        ("robot1:\n  yolo_node: {confidence: 0.9}\n", "", "must be a ROS parameters file"),
        ("robot1: {}\n", "", "must be a ROS parameters file"),
        ("robot1:\n  /yolo_node:\n    ros__parameters: {}\n", "", "a namespace must be words"),
        ("amcl:\n  ros__parameters: {}\n", "", "starts no node"),
    ],
)
def test_a_section_of_ours_that_reaches_nobody_is_refused(tmp_path: Path, text: str, namespace: str, said: str) -> None:
    (tmp_path / "robot.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_graph(tmp_path / "robot.yaml", namespace=namespace)


def test_each_robots_recording_has_its_directory(tmp_path: Path) -> None:
    text = "".join(
        f"/robot{n}/recorder_node:\n  ros__parameters: {{output_dir: {tmp_path}/runs, session: r{n}}}\n" for n in (1, 2)
    )
    (tmp_path / "robot.yaml").write_text(text)
    directories = read_graph(tmp_path / "robot.yaml").run_directories
    assert [directory.name[:3] for directory in directories] == ["r1_", "r2_"]
