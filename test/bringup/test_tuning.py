"""The settings are added for the middleware in use, and never put over the user's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from perf_inference.bringup import domain, tuning
from perf_inference.bringup.executables import SIM_IMAGE_BYTES
from perf_inference.bringup.middleware import CYCLONE, ZENOH, KernelLimits, Setting, transport
from perf_inference.bringup.process_groups import processes
from perf_inference.bringup.robot import default_config, read_graph
from perf_inference.bringup.tuning import ALLOCATOR, PAGES, choose, describe, may_publish_images, tuned
from perf_inference.demo.scenes import HEIGHT_PX, WIDTH_PX

MB = 1 << 20
ROOMY = KernelLimits(1000 * MB, 4 * MB)
FAST_DDS, PROFILE = "FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE"


def variables(environment: dict[str, str], publishers: int = 1, limits: KernelLimits = ROOMY) -> dict[str, str]:
    return dict(transport(environment, publishers, limits).variables)


def test_publishers_of_images_get_shared_memory_the_others_larger_sockets(tmp_path: Path) -> None:
    chosen = choose({"XDG_CACHE_HOME": str(tmp_path)}, ["camera", "yolo_node"], ROOMY)
    file, found = (str(tmp_path / "perf_inference" / f"fastdds_{name}.xml") for name in ("receiver_16MB", "discovery"))
    assert chosen.of(images=True) == {
        FAST_DDS: "DEFAULT?sockets_size=16MB", PROFILE: found, **ALLOCATOR, **PAGES,
        "PERF_INFERENCE_TUNING": "by_starter",
    }  # fmt: skip
    assert chosen.of(images=False) == {
        PROFILE: file, **ALLOCATOR, **PAGES, "PERF_INFERENCE_TUNING": "by_starter"
    }  # fmt: skip
    assert (
        f"transport and allocator: {FAST_DDS}=DEFAULT?sockets_size=16MB {PROFILE}={found} for camera, yolo_node, "
        f"{PROFILE}={file} for the others, MALLOC_MMAP_THRESHOLD_=33554432 "
        "MALLOC_TRIM_THRESHOLD_=134217728 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 (PERF_INFERENCE_TUNING=off: stock)"
    ) == chosen.line
    assert chosen.short == "transport and allocator: set for images"


@pytest.mark.parametrize("value", ["off", "0", "False"])
def test_switched_off_nothing_is_added(value: str) -> None:
    own = {"PERF_INFERENCE_TUNING": value}
    assert tuned(own) == own
    assert describe(own) == f"transport and allocator: stock (PERF_INFERENCE_TUNING={value})"


@pytest.mark.parametrize(
    "own",
    [
        {"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"},
        {"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
        {FAST_DDS: "SHM"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp", "CYCLONEDDS_URI": "file:///mine.xml"},
        {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp", "ZENOH_SESSION_CONFIG_URI": "/mine.json5"},
    ],
)
def test_what_the_user_has_set_stays(own: dict[str, str]) -> None:
    assert variables(own) == {}
    assert not transport(own, 1, ROOMY).others
    own["MALLOC_TRIM_THRESHOLD_"] = "1"
    assert tuned(own) == {**own, "PERF_INFERENCE_TUNING": "by_starter"}
    assert "as you have set it, allocator as you have set it" in describe(own)
    assert "as you have set it, allocator as you have set it" in choose(own).short


def test_a_profile_in_the_working_directory_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DEFAULT_FASTDDS_PROFILES.xml").touch()
    assert transport({}, 1, ROOMY) == Setting({}, {}, "as your DEFAULT_FASTDDS_PROFILES.xml has it")
    assert variables({"SKIP_DEFAULT_XML": "1"})


@pytest.mark.parametrize(
    ("free_mb", "publishers", "sockets_mb"), [(1000, 3, 16), (110, 3, 16), (64, 1, 8), (64, 3, 8), (40, 3, None)]
)
def test_the_segments_fit_into_what_is_free(free_mb: int, publishers: int, sockets_mb: int | None) -> None:
    setting = transport({}, publishers, KernelLimits(free_mb * MB, 4 * MB))
    assert setting.variables.get(FAST_DDS) == (f"DEFAULT?sockets_size={sockets_mb}MB" if sockets_mb else None)
    if sockets_mb is None:
        assert "need 50 MB of /dev/shm and 40 are free: mount -o remount" in setting.remark


def test_no_transport_that_could_not_register_its_sockets() -> None:
    assert "65500 bytes does not fit into a socket of 60000" in transport({}, 1, KernelLimits(1000 * MB, 60_000)).remark
    assert variables({}, limits=KernelLimits(None, None))[FAST_DDS] == "DEFAULT?sockets_size=8MB"


@pytest.mark.parametrize(
    ("own", "variable", "udp"),
    [
        ({"ROS_DISTRO": "humble"}, "FASTRTPS_DEFAULT_PROFILES_FILE", True),
        ({"ROS_DISTRO": "humble", "ROS_LOCALHOST_ONLY": "1"}, "FASTRTPS_DEFAULT_PROFILES_FILE", False),
        ({"ROS_DISTRO": "jazzy", "ROS_LOCALHOST_ONLY": "1"}, "FASTRTPS_DEFAULT_PROFILES_FILE", False),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "FASTDDS_DEFAULT_PROFILES_FILE", False),
    ],
)
def test_a_profile_where_the_variable_does_not_reach(
    own: dict[str, str], variable: str, udp: bool, tmp_path: Path
) -> None:
    setting = transport({**own, "XDG_CACHE_HOME": str(tmp_path)}, 1, ROOMY)
    (file,) = setting.variables.values()
    assert list(setting.variables) == [variable]
    assert Path(file).parent == tmp_path / "perf_inference"
    root = ET.parse(file)
    name = "{http://www.eprosima.com}"
    assert [e.text for e in root.iter(f"{name}segment_size")] == [str(32 * MB)]
    assert [e.text for e in root.iter(f"{name}type")] == (["SHM", "UDPv4"] if udp else ["SHM"])
    others = ["fastdds_receiver_16MB.xml" if udp else "fastdds_discovery.xml"]
    assert [Path(value).name for value in setting.others.values()] == others
    assert [e.text for e in root.iter(f"{name}useBuiltinTransports")] == (["false"] if udp else [])
    assert setting.remark == ("not measured with Fast DDS 2" if "ROS_DISTRO" in own else "")


@pytest.mark.parametrize("own", [{"ROS_DISTRO": "humble", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
                                 {"ROS_DISTRO": "jazzy", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}])  # fmt: skip
def test_no_profile_for_localhost_alone_where_that_is_not_in_force(own: dict[str, str], tmp_path: Path) -> None:
    setting = transport({**own, "XDG_CACHE_HOME": str(tmp_path)}, 1, ROOMY)
    assert not any("this_host" in value for value in setting.variables.values())


def test_a_profile_that_cannot_be_cached_goes_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = {"ROS_DISTRO": "humble", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (file,) = variables(own).values()
    assert Path(file).parent.parent == tmp_path
    assert Path(file).is_file()


def test_tunables_of_the_user_stay() -> None:
    own = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    assert choose(own, limits=ROOMY).of(images=True).keys() & {*ALLOCATOR, *PAGES} == {*ALLOCATOR}


def test_other_middleware_is_served_from_its_documentation() -> None:
    cyclone, zenoh = ({"RMW_IMPLEMENTATION": f"rmw_{name}_cpp"} for name in ("cyclonedds", "zenoh"))
    assert choose(cyclone).of(images=False)["CYCLONEDDS_URI"] == CYCLONE
    assert choose(zenoh).of(images=False)["ZENOH_CONFIG_OVERRIDE"] == ZENOH
    assert "not measured" in describe(cyclone)
    assert transport({"RMW_IMPLEMENTATION": "rmw_connextdds"}).variables == {}


@pytest.mark.parametrize(
    ("command", "images"),
    [
        ("python -m perf_inference.nodes.yolo_node --ros-args -p model:=detector", True),
        ("/ws/install/perf_inference/lib/perf_inference/replay_node --ros-args", True),
        ("python /ws/lib/perf_inference/policy_node --ros-args -r __node:=yolo", False),
        ("python -m perf_inference.nodes.container policy_node=yolo_node monitor_node", False),
        ("python -m perf_inference.nodes.container policy_node yolo_node=front", True),
        ("/venv/bin/python /venv/bin/perf-inference demo", False),
        ("python -m perf_inference.cli demo", False),
        ("python my_program.py", True),
    ],
)
def test_who_may_publish_images(command: str, images: bool) -> None:
    assert may_publish_images(command.split()) is images


def test_a_process_that_a_starter_has_tuned_adds_nothing() -> None:
    pytest.importorskip("rclpy")
    code = f"import os, perf_inference.nodes; print(os.environ.get('{FAST_DDS}'))"
    for own, transport_in_force in (({}, "DEFAULT?sockets_size="), ({tuning.TUNING: "by_starter"}, "None")):
        result = subprocess.run([sys.executable, "-c", code], env=_clean(own), capture_output=True, text=True)
        assert result.stdout.startswith(transport_in_force), result.stderr


def _clean(own: dict[str, str]) -> dict[str, str]:
    import os

    ours = {tuning.TUNING, FAST_DDS, PROFILE, *ALLOCATOR, *PAGES}
    return {**{name: value for name, value in os.environ.items() if name not in ours}, **own}


@pytest.mark.parametrize("first", ["", "import perf_inference.nodes; "])
def test_what_a_listener_has_set_for_itself_is_no_choice_of_the_user_for_a_camera_that_it_starts(first: str) -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    code = f"{first}from perf_inference.bringup.tuning import handed_on, tuned; print(tuned(handed_on())['{FAST_DDS}'])"
    command = [sys.executable, "-c", code, "perf-inference"]
    result = subprocess.run(command, env=_clean({}), capture_output=True, text=True)
    assert result.stdout.startswith("DEFAULT?sockets_size="), result.stderr


def test_two_processes_that_ask_at_once_get_two_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "_HIGHEST", 2)
    script = "from perf_inference.bringup import domain; domain._HIGHEST = 2; "
    script += "print(domain.free_domain(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    theirs = int(process.stdout.readline())
    assert {domain.free_domain() for _ in range(10)} == {3 - theirs}, "ours again and again, never theirs"
    process.communicate("\n")


@pytest.mark.parametrize(
    ("image_bytes", "free_mb", "sockets_mb"),
    [
        (1, 1000, 2),
        (640 * 480 * 3, 1000, 2),
        (1280 * 720 * 3, 1000, 6),
        (1920 * 1080 * 4, 1000, 16),
        (3840 * 2160 * 3, 1000, 16),  # never more than usual
        (3840 * 2160 * 3, 60, 8),
        (640 * 480 * 3, 10, 2),
        (640 * 480 * 3, 4, None),
    ],
)
def test_a_segment_holds_four_images_of_a_known_size(image_bytes: int, free_mb: int, sockets_mb: int | None) -> None:
    setting = transport({}, 2, KernelLimits(free_mb * MB, 4 * MB), image_bytes)
    assert setting.variables.get(FAST_DDS) == (f"DEFAULT?sockets_size={sockets_mb}MB" if sockets_mb else None)


def test_publishers_get_what_their_own_images_need(tmp_path: Path) -> None:
    sizes = {"sim_camera": 640 * 480 * 3}
    chosen = choose({"XDG_CACHE_HOME": str(tmp_path)}, ["sim_camera", "yolo_node"], ROOMY, image_bytes=sizes)
    of = {name: chosen.of(True, name)[FAST_DDS].rpartition("=")[2] for name in ("sim_camera", "yolo_node", "x")}
    assert of == {"sim_camera": "2MB", "yolo_node": "16MB", "x": "16MB"}
    assert FAST_DDS not in chosen.of(False, "sim_camera")
    found = tmp_path / "perf_inference" / "fastdds_discovery.xml"
    for size, name in ("2MB", "sim_camera"), ("16MB", "yolo_node"):
        assert f"{FAST_DDS}=DEFAULT?sockets_size={size} {PROFILE}={found} for {name}, " in chosen.line
    written = {file.name for file in (tmp_path / "perf_inference").iterdir()}
    assert written == {"fastdds_discovery.xml", "fastdds_receiver_16MB.xml"}


def test_the_size_of_images_is_known_of_the_simulated_camera_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = read_graph(default_config(), sim=True, record=False)
    sizes = {process.name: process.image_bytes for process in processes(graph) if process.images}
    assert sizes == {"sim_camera": SIM_IMAGE_BYTES, "yolo_node": 0}
    (one,) = processes(graph, container=True)
    assert one.image_bytes == 0  # yolo_node's may have any size


def test_the_simulated_images_have_the_size_that_is_said() -> None:
    assert (WIDTH_PX, HEIGHT_PX, 3) == (640, 480, SIM_IMAGE_BYTES // 640 // 480)
