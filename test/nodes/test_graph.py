"""One parameters file says which nodes run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from rcl_interfaces.srv import GetParameters
from support.processes import Process, Ros

from perf_inference.bringup.parameters_file import namespace_of, short
from perf_inference.bringup.robot import default_config, read_graph
from perf_inference.errors import ConfigError


def test_the_default_file_starts_a_robot_and_with_sim_its_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real = read_graph(default_config())
    assert [node.name for node in real.nodes] == [
        "policy_node", "yolo_node", "caption_node", "monitor_node", "recorder_node"
    ]  # fmt: skip
    simulated = read_graph(default_config(), sim=True, record=False)
    assert {node.name: node.executable for node in simulated.nodes}["sim_camera"] == "sim_robot_node"
    assert "recorder_node" not in {node.name for node in simulated.nodes}
    assert simulated.run_directory is None


@pytest.mark.slow
def test_two_starts_in_one_second_get_two_directories(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text(f"/**/recorder_node:\n  ros__parameters: {{output_dir: {tmp_path}/runs}}\n")
    assert read_graph(config).run_directory != read_graph(config).run_directory


def test_a_simulation_enables_the_policy_unless_the_file_says_no(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    arm = "/**/arm:\n  ros__parameters: {start: {executable: sim_robot_node}}\n"
    for said, wanted in (("", True), ("enabled: false", None)):
        config.write_text(f"{arm}/**/policy_node:\n  ros__parameters: {{{said}}}\n")
        (_, policy) = read_graph(config, sim=True, record=False).nodes
        assert policy.parameters.get("enabled") is wanted
    config.write_text("/**/policy_node:\n  ros__parameters: {}\n")
    with pytest.raises(ConfigError, match="sim needs a section"):
        read_graph(config, sim=True)


def test_sounds_go_into_the_run_of_the_own_robot(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    recorders = "".join(
        f"/{robot}/recorder_node:\n  ros__parameters: {{output_dir: {tmp_path}/{robot}}}\n" for robot in ("a", "b")
    )
    said = f"/b/speech_node:\n  ros__parameters: {{}}\n/c/speech_node:\n  ros__parameters: {{}}\n{recorders}"
    own = "/a/speech_node:\n  ros__parameters: {sound_dir: /mine}\n"
    config.write_text(said + own)
    graph = read_graph(config)
    first, second = graph.run_directories
    found = {node.label: node.parameters.get("sound_dir") for node in graph.nodes if node.executable == "speech_node"}
    assert found == {"b/speech_node": f"{second}/speech", "c/speech_node": f"{first}/speech", "a/speech_node": None}
    alone = read_graph(config, record=False)
    assert all("sound_dir" not in node.parameters for node in alone.nodes)


def test_the_file_of_a_camera_starts_it_and_a_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph = read_graph(default_config().with_name("camera.yaml"), assignments=["camera_node.source=/dev/video3"])
    names = [node.name for node in graph.nodes]
    assert names[0] == "camera_node"
    assert "speech_node" in names
    assert graph.nodes[0].remappings == ("image:=camera/image_raw",)
    assert "camera_node" in graph.image_publishers()


@pytest.mark.parametrize("said", ["camera_nod.source=", "camera_node.source:", "camera_node.source=[ "])
def test_a_password_in_an_address_is_not_in_the_error(tmp_path: Path, said: str) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text("camera_node:\n  ros__parameters: {}\n")
    with pytest.raises(ConfigError, match="--set") as caught:
        read_graph(config, assignments=[f"{said}rtsp://operator:hunter2@host/stream"])
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in short({"source": "rtsp://operator:hunter2@host/stream"})


def test_what_the_starter_sets_is_a_second_file(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text(f"/**/recorder_node:\n  ros__parameters: {{output_dir: {tmp_path}/runs, session: mine}}\n")
    graph = read_graph(config)
    assert graph.run_directory is not None
    assert graph.run_directory.name.startswith("mine_")
    section = yaml.safe_load(graph.files[1].read_text())["/**/recorder_node"]["ros__parameters"]
    assert f"mine_{section['start_time']}" == graph.run_directory.name


def test_a_section_can_start_a_second_node_of_a_kind_with_its_own_remapping(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text(
        "/**:\n  ros__parameters: {start: {remap: ['image:=camera/image_raw']}}\n"
        "/**/front:\n  ros__parameters: {start: {executable: yolo_node, remap: ['detections:=front/detections']}}\n"
    )
    graph = read_graph(config, namespace="robot1")
    command = graph.command(graph.nodes[0])
    assert graph.nodes[0].remappings[0] == "detections:=front/detections"  # of two that match, rcl takes the first
    assert "perf_inference.nodes.yolo_node" in command
    for argument in ("__node:=front", "__ns:=/robot1", "image:=camera/image_raw", "detections:=front/detections"):
        assert argument in command
    assert "front:image:=camera/image_raw" in graph.container_command()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "/**/yolo_nod:\n  ros__parameters: {}\n",
            "must be named after a node or have start.executable.*got 'yolo_nod'",
        ),
        ("yolo_node: {model: x}\n", "must be a ROS parameters file"),
        ("[1, 2]\n", "must be a ROS parameters file.*got list"),
        ("a: [\n", "is no YAML"),
        ("/**:\n  ros__parameters: {}\n", "starts no node"),
        ("/**/yolo_node:\n  ros__parameters: {start: {remap: 'image:=/cam'}}\n", "start in section '/../yolo_node'"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_graph(config)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"must be a readable file, got /nowhere\.yaml"):
        read_graph(Path("/nowhere.yaml"))


def test_what_the_user_sets_on_the_command_line_comes_last(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text("/**/policy_node:\n  ros__parameters: {rate: 10.0}\n")
    graph = read_graph(config, assignments=["policy_node.rate=5.0", "policy_node.limits.lower=[-1.0, -2.0]"])
    section = yaml.safe_load(graph.files[1].read_text())["/**/policy_node"]["ros__parameters"]
    assert section == {"rate": 5.0, "limits.lower": [-1.0, -2.0]}
    for wrong in ("policy_node.rate", "rate=5", "yolo_node.rate=5", "policy_node.=5"):
        with pytest.raises(ConfigError, match="with a node of policy_node, got"):
            read_graph(config, assignments=[wrong])


def test_a_start_without_a_recording_leaves_no_file_behind(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text("/**/policy_node:\n  ros__parameters: {rate: 10.0}\n")
    graph = read_graph(config, assignments=["policy_node.rate=5.0"])
    assert graph.files[1].is_file()
    graph.close()
    assert not graph.files[1].parent.exists()
    assert config.is_file()


def test_an_enclave_for_all_and_one_of_its_own(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text(
        "/**:\n  ros__parameters: {start: {enclave: /robot1}}\n"
        "/**/yolo_node:\n  ros__parameters: {start: {enclave: /robot1/eyes}}\n"
        "/**/caption_node:\n  ros__parameters: {}\n"
    )
    graph = read_graph(config)
    assert [graph.command(node)[-2:] for node in graph.nodes] == [
        ["--enclave", "/robot1/eyes"],
        ["--enclave", "/robot1"],
    ]
    assert graph.container_command()[-2:] == ["--enclave", "/robot1"]
    for wrong in ("robot1", "/", "/a b", "[]"):
        config.write_text(f"/**/yolo_node:\n  ros__parameters: {{start: {{enclave: {wrong}}}}}\n")
        with pytest.raises(ConfigError, match="must be like /robot1/yolo"):
            read_graph(config)


def test_the_recording_is_where_an_assignment_puts_it(tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text("/**/recorder_node:\n  ros__parameters: {}\n")
    where = tmp_path / "elsewhere"
    graph = read_graph(config, assignments=[f"recorder_node.output_dir={where}", "recorder_node.session=mine"])
    assert graph.run_directory is not None
    assert (graph.run_directory.parent, graph.run_directory.name[:5]) == (where, "mine_")
    (recorder,) = graph.nodes
    assert recorder.parameters["output_dir"] == str(where)


TWO_ROBOTS = (
    "/**/monitor_node:\n  ros__parameters: {}\n"
    "/robot1/yolo_node:\n  ros__parameters: {confidence: 0.1}\n"
    "/robot2/yolo_node:\n  ros__parameters: {confidence: 0.2}\n"
)


def test_two_robots_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text(TWO_ROBOTS)
    graph = read_graph(tmp_path / "robot.yaml", assignments=["yolo_node.iou=0.5"])
    assert [node.label for node in graph.nodes] == ["monitor_node", "robot1/yolo_node", "robot2/yolo_node"]
    assert "__ns:=/robot2" in graph.command(graph.nodes[2])
    assert set(yaml.safe_load(graph.files[1].read_text())) == {"/robot1/yolo_node", "/robot2/yolo_node"}
    with pytest.raises(ConfigError, match="a container takes the nodes of one namespace, these are of /, /robot1"):
        graph.container_command()


@pytest.mark.parametrize(
    ("key", "wanted", "namespace"),
    [
        ("/**/yolo_node", "", ""),
        ("/**/yolo_node", "robot1", "/robot1"),
        ("yolo_node", "", ""),
        ("/robot1/arm/yolo_node", "", "/robot1/arm"),
        ("/robot1/yolo_node", "robot1", "/robot1"),
        ("robot1/yolo_node", "/robot1/", "/robot1"),
        ("/*/yolo_node", "robot1", "/robot1"),
        ("/**/arm/yolo_node", "robot1/arm", "/robot1/arm"),
        ("/robot1/**/yolo_node", "robot1", "/robot1"),
    ],
)
def test_a_section_reaches_its_node(key: str, wanted: str, namespace: str) -> None:
    assert namespace_of(key, wanted) == namespace


@pytest.mark.parametrize(
    ("key", "wanted"),
    [("yolo_node", "robot1"), ("/robot2/yolo_node", "robot1"), ("/*/yolo_node", ""), ("/**/arm/yolo_node", "robot1")],
)
def test_a_section_that_would_not_reach_its_node_is_refused(key: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"its parameters would not reach it; call it /\*\*/yolo_node"):
        namespace_of(key, wanted)


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("/**" * 2000 + "/yolo_node", ""),
        ("/a" * 3000 + "/yolo_node", ""),
        ("/../../yolo_node", ""),
        ("/robot 1/yolo_node", ""),
        ("/rob\x1b[31m/yolo_node", ""),
        ("/**/yolo_node", "../x"),
        ("/**/yolo_node", "a" * 300),
    ],
)
def test_what_is_no_namespace_is_refused(key: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match="a namespace must be words of letters"):
        namespace_of(key, wanted)


def test_many_wildcards_take_no_time() -> None:
    with pytest.raises(ConfigError, match="would not reach it"):
        namespace_of("/**/*" * 40 + "/yolo_node", "/".join("a" * 39))


def test_one_node_is_started_once(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text(
        "/**/yolo_node:\n  ros__parameters: {}\nyolo_node:\n  ros__parameters: {iou: 0.1}\n"
    )
    with pytest.raises(ConfigError, match=r"two sections of .* start the node yolo_node"):
        read_graph(tmp_path / "robot.yaml")


def test_each_robots_node_has_its_own_parameters(
    ros: Ros, start_command: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "robot.yaml").write_text(TWO_ROBOTS)
    start_command("run", "--config", str(tmp_path / "robot.yaml"))
    for robot, confidence in (("robot1", 0.1), ("robot2", 0.2)):
        request = GetParameters.Request(names=["confidence"])
        (value,) = ros.call(GetParameters, f"/{robot}/yolo_node/get_parameters", request).values
        assert value.double_value == confidence
