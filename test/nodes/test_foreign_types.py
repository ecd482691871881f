"""A message type's name decides nothing about which code is run: attempted over the network and by recordings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from rosbags.rosbag2 import Writer
from std_msgs.msg import Int32
from support.paths import SUPPORT
from support.processes import Process, Ros, inherited

from perf_inference.bringup import search_path
from perf_inference.errors import ConfigError
from perf_inference.nodes.ros.message_types import message_class

Start = Callable[..., Process]
SEVEN = b"\x00\x01\x00\x00\x07\x00\x00\x00"  # std_msgs/msg/Int32 as CDR
RUN = "from pathlib import Path; Path(r'{ran}').write_text(__name__)\n"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that is written when one of the traps is imported."""
    return tmp_path / "ran"


@pytest.fixture
def trap(tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which somebody has laid out a message package."""
    folder = tmp_path / "trap"
    package(folder, "here_msgs", RUN.format(ran=ran))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sourced workspace with a package whose Python ends the process that imports it."""
    folder = tmp_path / "install"
    package(folder / "lib" / "python3" / "site-packages", "ending_msgs", "raise SystemExit(3)\n")
    register(folder, "ending_msgs")
    sourced = os.environ.get("AMENT_PREFIX_PATH")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(filter(None, (str(folder), sourced))))
    return folder


def package(folder: Path, name: str, code: str) -> None:
    (folder / name / "msg").mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    (folder / name / "msg" / "__init__.py").write_text("class Thing:\n    pass\n")


def register(prefix: Path, name: str) -> None:
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True, exist_ok=True)
    (index / name).touch()


def with_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))


@pytest.fixture
def forge(domain: int) -> Iterator[Callable[..., None]]:
    """Publish topics whose types have these names: `forge(evil="this::msg::X")`."""
    processes: list[Process] = []

    def start(**topics: str) -> None:
        command = [sys.executable, str(SUPPORT / "type_forger.py")]
        process = Process([*command, *(f"{topic}={name}" for topic, name in topics.items())], inherited())
        processes.append(process)
        process.wait_for("ready")

    yield start
    for process in processes:
        process.stop()


@pytest.mark.parametrize(
    "name",
    ["this/msg/X", "this/X", "antigravity/msg/X", "lib2to3.__main__/msg/X", "../msg/X", "std_msgs/msg/../x",
     "std_msgs/os/X", "std_msgs/msg/__builtins__", "rclpy/msg/X", "std_msgs/msg/Stringy", "std_msgs/msg/String\n",
     "\u0440os/msg/X", "a" * 300 + "/msg/X", "", "std_msgs/msg/String\x00", "perf_inference/msg/X", "os/path/Join"],
)  # fmt: skip
def test_names_of_no_message_are_refused_and_nothing_is_imported(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(ConfigError, match=r"must be named like sensor_msgs/msg/Imu|is not installed here") as caught:
        message_class(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    imported = {module.split(".")[0] for module in set(sys.modules) - before}
    assert {name for name in imported if not name.startswith("_sysconfigdata")} <= {"std_msgs"}


def test_installed_types_are_found() -> None:
    assert message_class("std_msgs/msg/Int32") is message_class("std_msgs/Int32") is Int32


def test_a_module_on_the_path_is_no_message_package(
    trap: Path, ran: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(trap))
    with pytest.raises(ConfigError, match="here_msgs/msg/Thing is not installed here"):
        message_class("here_msgs/msg/Thing")
    register(prefix, "here_msgs")  # of this name there is a package, but Python finds another one first
    with pytest.raises(ConfigError, match=r"'\S+/trap/here_msgs', where .* none of the prefixes"):
        message_class("here_msgs/msg/Thing")
    register(trap, "here_msgs")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join((".", "", str(prefix))))
    with pytest.raises(ConfigError, match="in none of the prefixes"):
        message_class("here_msgs/msg/Thing")
    assert not ran.exists()


def test_a_package_that_ends_the_process_is_an_error(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(prefix / "lib" / "python3" / "site-packages"))
    with pytest.raises(ConfigError, match=r"ending_msgs/msg/Thing cannot be imported \(SystemExit: 3\)"):
        message_class("ending_msgs/msg/Thing")


def test_a_recorder_and_a_doctor_import_nothing_that_a_topic_names(
    ros: Ros, start_node: Start, start_command: Start, forge: Callable[..., None], trap: Path, ran: Path, prefix: Path,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    with_path(monkeypatch, prefix / "lib" / "python3" / "site-packages")
    types = {"a": "this::msg::X", "b": "here_msgs::msg::Thing", "c": "ending_msgs::msg::Thing", "d": "os::path::Y"}
    forge(**types)
    publisher = ros.node.create_publisher(Int32, "good", 10)
    ros.node.create_subscription(Int32, "good", lambda message: None, 10)
    ros.node.create_timer(0.05, lambda: publisher.publish(Int32(data=7)))
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path / 'runs'}", "-p", "all_topics:=true")
    assert ros.spin_until(lambda: all(f"not recorded: /{topic}" in recorder.output() for topic in types), 60), (
        recorder.output()
    )
    assert "ending_msgs/msg/Thing cannot be imported (SystemExit: 3)" in recorder.output()
    doctor = start_command("doctor", "--only", "topics", "--json")
    assert ros.spin_until(lambda: not doctor.alive, 40)
    assert "/a, /b, /c: message type this/msg/X is not installed here" in doctor.output(), doctor.output()
    assert recorder.alive
    assert recorder.stop() == 0, recorder.output()
    assert any(b'"data":7' in path.read_bytes() for path in (tmp_path / "runs").rglob("topics_*.jsonl"))
    for output in (recorder.output(), doctor.output()):
        assert "Zen of Python" not in output
        assert "Traceback" not in output
    assert not ran.exists()


@pytest.mark.thorough
def test_a_replay_imports_nothing_that_a_recording_names(
    ros: Ros, start_node: Start, trap: Path, ran: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_path(monkeypatch, prefix / "lib" / "python3" / "site-packages")
    said = {
        "/a": "this/msg/X",
        "/b": "here_msgs/msg/Thing",
        "/c": "ending_msgs/msg/Thing",
        "/good": "std_msgs/msg/Int32",
    }
    with Writer(tmp_path / "bag", version=8) as writer:
        for topic, name in said.items():
            connection = writer.add_connection(topic, name, msgdef="int32 data\n", rihs01="RIHS01_" + "0" * 64)
            writer.write(connection, 1, SEVEN)
    heard = ros.collect(Int32, "good")
    node = start_node("replay_node", "-p", f"source:={tmp_path / 'bag'}", "-p", "exit_when_done:=true")
    assert ros.spin_until(lambda: not node.alive, 20), node.output()
    assert node.wait() == 0, node.output()
    assert [message.data for message in heard] == [7]
    assert all(f"{topic} is not played" in node.output() for topic in ("/a", "/b", "/c")), node.output()
    assert "Zen of Python" not in node.output()
    assert not ran.exists()


def path_after(folder: Path, *, python_path: str | None, flags: list[str]) -> list[str]:
    """Return what `sys.path` is in a process of this folder that has left the working directory."""
    code = "import sys\nfrom perf_inference.bringup.search_path import leave_working_directory\n"
    code += "leave_working_directory()\nimport perf_inference.bringup.domain\nprint(*sys.path, sep='\\n')\n"
    (folder / "program.py").write_text(code)
    environment = {name: value for name, value in inherited().items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    if python_path is not None:
        environment["PYTHONPATH"] = python_path
    command = [sys.executable, *(part.replace("CODE", code) for part in flags)]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.split("\n")[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["-m", "program"], ["-c", "CODE"], ["program.py"]])
@pytest.mark.parametrize("python_path", ["{root}", "{root}:", ":{root}", "{root}:.", ".:{root}"])
def test_the_working_directory_is_left(tmp_path: Path, flags: list[str], python_path: str) -> None:
    root = str(Path(search_path.__file__).resolve().parents[2])
    kept = path_after(tmp_path, python_path=python_path.format(root=root), flags=flags)
    assert str(tmp_path) not in kept
    assert all(map(os.path.isabs, kept))
    assert root in kept


def test_a_working_directory_that_the_user_has_named_stays(tmp_path: Path) -> None:
    root = str(Path(search_path.__file__).resolve().parents[2])
    assert str(tmp_path) in path_after(tmp_path, python_path=f"{root}:{tmp_path}", flags=["-m", "program"])


def test_children_do_not_look_where_they_are_started(trap: Path, ran: Path) -> None:
    (trap / "json.py").write_text(RUN.format(ran=ran))
    environment = {**inherited(), **search_path.of_children({})}
    code = "import sys, perf_inference.bringup.domain; print('' in sys.path)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    if sys.version_info >= (3, 11):
        assert done.stdout == "False\n"
    root = str(Path(search_path.__file__).resolve().parents[2])
    added = search_path.of_children({"PYTHONPATH": ":/opt/a:"})
    assert added["PYTHONSAFEPATH"] == "1"
    assert added["PYTHONPATH"] in (f"{root}:/opt/a", "/opt/a")  # an installed one needs no root
