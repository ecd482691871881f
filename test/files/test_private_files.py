"""Folders and files that others of this machine cannot read, replace or lead astray."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from support.processes import Process, wait_until

from perf_inference.bringup import middleware, shared_memory
from perf_inference.bringup.robot import read_graph
from perf_inference.commands.demo import NodesLog
from perf_inference.engines import find_model
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.onnx.providers import tensorrt_options
from perf_inference.errors import ConfigError, RecordingError
from perf_inference.files.private import is_own_file, is_trusted, open_own, own_folder, replace_file
from perf_inference.model_build import cache, content
from perf_inference.recording.recorder.line_file import LineFile
from perf_inference.recording.recorder.session import Session

SOMEBODY = 12345  # a user id
START = "20260102_030405"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of this user that somebody would like to have written to."""
    file = tmp_path / "precious"
    file.write_text("precious\n")
    return file


# the functions -------------------------------------------------------------------------------------------------------


def test_a_folder_is_its_owners_whatever_the_umask_says(tmp_path: Path, umask: int) -> None:
    assert mode(own_folder(tmp_path / "a" / "b")) == 0o700
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    assert mode(own_folder(tmp_path / "open")) == 0o700
    assert mode(own_folder(tmp_path / "shared", 0o750)) == 0o750


@needs_root
def test_a_folder_or_link_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", SOMEBODY, SOMEBODY)
    with pytest.raises(PermissionError, match=r"belongs to another user \(uid 12345\)"):
        own_folder(tmp_path / "theirs")
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert own_folder(tmp_path / "link") == tmp_path / "link"
    os.chown(tmp_path / "link", SOMEBODY, SOMEBODY, follow_symlinks=False)
    with pytest.raises(PermissionError, match="link of another user"):
        own_folder(tmp_path / "link")
    assert not is_trusted(tmp_path / "theirs")
    assert not is_trusted(tmp_path / "link")
    assert is_trusted(tmp_path / "mine")


def test_a_file_a_pipe_or_nothing_at_all_is_no_folder(tmp_path: Path, victim: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (victim, tmp_path / "pipe"):
        with pytest.raises(OSError, match="no folder"):
            own_folder(path)
    assert not is_trusted(tmp_path / "nothing")


def test_no_link_pipe_or_second_name_is_written_to(tmp_path: Path, victim: Path) -> None:
    folder = own_folder(tmp_path / "mine")
    (folder / "link").symlink_to(victim)
    os.link(victim, folder / "second")
    os.mkfifo(folder / "pipe")
    for name, why in (("link", "a link"), ("second", "second name"), ("pipe", "no regular file|No such device")):
        with pytest.raises(OSError, match=why):
            open_own(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        assert not is_own_file(folder / name)
        replace_file(folder / name, b"new")
        assert is_own_file(folder / name)
        assert (folder / name).read_bytes() == b"new"
    assert victim.read_text() == "precious\n"
    assert sorted(os.listdir(folder)) == ["link", "pipe", "second"]


def test_a_file_is_as_readable_as_its_folder(tmp_path: Path) -> None:
    for access in (0o700, 0o750, 0o755):
        folder = own_folder(tmp_path / oct(access), access)
        before = os.umask(0)
        os.close(open_own(folder / "a", os.O_WRONLY | os.O_CREAT))
        os.umask(before)
        replace_file(folder / "b", b"")
        assert {mode(folder / "a"), mode(folder / "b")} == {access & 0o666}


# the cache and /tmp --------------------------------------------------------------------------------------------------


@needs_root
def test_the_middlewares_profile_follows_nobodys_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "home").mkdir()
    trap = tmp_path / f"perf_inference_{os.getuid()}"
    trap.symlink_to(tmp_path / "home")
    os.chown(trap, SOMEBODY, SOMEBODY, follow_symlinks=False)
    environment = {"HOME": "/proc/nowhere"}
    with pytest.raises(PermissionError, match="link of another user"):
        middleware.write_profile(environment, "receiver", 8)
    setting = middleware.transport(environment, 1, middleware.KernelLimits(1 << 40, 1 << 30))
    assert setting.remark.startswith("stock, because its profile cannot be written")
    assert not list((tmp_path / "home").iterdir())


def test_a_planted_profile_is_replaced_and_not_waited_for(tmp_path: Path, victim: Path) -> None:
    folder = own_folder(tmp_path / "perf_inference")
    name = "fastdds_receiver_8MB.xml"
    for plant in (lambda: os.mkfifo(folder / name), lambda: (folder / name).symlink_to(victim)):
        plant()
        file = middleware.write_profile({"XDG_CACHE_HOME": str(tmp_path)}, "receiver", 8)
        assert file.read_text() == middleware.profile("receiver", 8)
        file.unlink()
    assert victim.read_text() == "precious\n"
    assert mode(folder) == 0o700


def test_the_cache_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    monkeypatch.delenv("PERF_INFERENCE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "perf_inference").mkdir()
    file, made = cache.get(_KEY, ".onnx", lambda path: path.write_bytes(b"built") and None)
    assert made
    assert {mode(tmp_path / "perf_inference"), mode(tmp_path / "perf_inference" / "built")} == {0o700}
    assert cache.find(_KEY, ".onnx") == file


_KEY = cache.Key("model", "00", "onnx", "fp32", "cpu", {}, {})


def test_a_folder_that_the_user_chose_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "disk"))
    (tmp_path / "disk").mkdir()
    os.chmod(tmp_path / "disk", 0o755)
    cache.get(_KEY, ".onnx", lambda path: path.write_bytes(b"built") and None)
    assert mode(tmp_path / "disk") == 0o755
    assert mode(tmp_path / "disk" / "built") == 0o700


@needs_root
def test_what_others_put_into_a_cache_is_neither_loaded_nor_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path))
    cache.get(_KEY, ".onnx", lambda path: path.write_bytes(b"evil") and None)
    os.chown(tmp_path / "built", SOMEBODY, SOMEBODY)
    assert cache.find(_KEY, ".onnx") is None
    with pytest.raises(ConfigError, match="belongs to another user"):
        cache.get(_KEY, ".onnx", lambda path: path.write_bytes(b"good") and None)
    big = tmp_path / "big"
    big.write_bytes(b"\0" * (content.SMALL_BYTES + 1))
    os.utime(big, (0, 0))
    memory = tmp_path / "hashes"
    monkeypatch.setattr(content, "_SETTLED_NS", -1)
    true = content.content_hash([big], memory)
    (note,) = memory.iterdir()
    kept = orjson.loads(note.read_bytes())
    note.write_bytes(orjson.dumps({**kept, "sha256": "ff" * 32}))
    assert content.content_hash([big], memory) != true  # so it is read
    os.chown(memory, SOMEBODY, SOMEBODY)
    assert content.content_hash([big], memory) == true


def test_tensorrts_own_cache_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = tensorrt_options(read_onnx_file(Path(find_model("detector", "onnx"))))
    engines = Path(given["trt_engine_cache_path"])
    assert {mode(engines), mode(engines.parent), mode(tmp_path / "perf_inference")} == {0o700}


# recordings ----------------------------------------------------------------------------------------------------------


def test_a_run_is_its_owners_and_opened_on_request(tmp_path: Path, umask: int) -> None:
    for access, folder, file in (("owner", 0o700, 0o600), ("group", 0o750, 0o640), ("everybody", 0o755, 0o644)):
        session = Session(str(tmp_path), access, START, {}, access)
        lines = LineFile(session.next_topics())
        lines.close()
        assert mode(session.directory) == folder
        assert mode(session.directory / "session.json") == file
        assert mode(lines.path) == file & ~umask


@needs_root
def test_a_run_that_somebody_else_has_prepared_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"run_{START}").mkdir()
    os.chown(tmp_path / f"run_{START}", SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigError, match="belongs to another user"):
        Session(str(tmp_path), "run", START, {})


@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to", "mkfifo"])
def test_the_recorder_appends_to_no_planted_file(tmp_path: Path, victim: Path, plant: str) -> None:
    path = tmp_path / "topics_1.jsonl"
    os.mkfifo(path) if plant == "mkfifo" else getattr(path, plant)(victim)
    with pytest.raises(RecordingError, match="must be a file that can be written: it "):
        LineFile(path)
    (tmp_path / "nodes.log").symlink_to(victim)
    with pytest.raises(OSError, match="it is a link"):
        NodesLog(tmp_path, print)
    assert victim.read_text() == "precious\n"


def test_every_file_of_a_running_recorder(tmp_path: Path, start_node: Callable[..., Process]) -> None:
    pytest.importorskip("rclpy")
    before = os.umask(0)
    node = start_node("recorder_node", "-p", f"output_dir:={tmp_path / 'runs'}", "-p", "tegrastats_log:=true")
    os.umask(before)
    node.wait_for("recording into")
    assert node.stop() == 0, node.output()
    (run,) = (tmp_path / "runs").iterdir()
    assert mode(run) == 0o700
    assert {path.name: mode(path) for path in run.iterdir() if mode(path) != 0o600} == {}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["convert", "recover"])
@pytest.mark.parametrize("source_mode", [0o700, 0o755], ids=oct)
def test_what_is_made_of_a_recording_is_no_more_readable(tmp_path: Path, verb: str, source_mode: int) -> None:
    from perf_inference.measure.clocks import CLOCKS
    from perf_inference.recording.jsonl.segment import Segment

    run = own_folder(tmp_path / "run", source_mode)
    about = {"host": {}, "software": {}, "parameters": {}}
    segment = Segment("a" * 32, 1, 1, about, CLOCKS)
    (run / "topics_1.jsonl").write_bytes(segment.header() + segment.footer())
    out = tmp_path / "out"
    to = [str(out)] if verb == "convert" else ["--out", str(out)]
    ran = subprocess.run(
        [sys.executable, "-c", "import os, sys; os.umask(0); from perf_inference.cli import main; sys.exit(main())",
         verb, str(run), *to], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    made = [out, *out.rglob("*")]
    assert len(made) > 1, ran.stdout + ran.stderr
    assert all(mode(path) & 0o077 & ~source_mode == 0 for path in made)


# shared memory and parameters files ----------------------------------------------------------------------------------


def test_cleaning_shared_memory_waits_for_no_pipe_and_follows_no_link(tmp_path: Path, victim: Path) -> None:
    os.mkfifo(tmp_path / "fastdds_0123456789abcdef_el")
    (tmp_path / "fastdds_0123456789abcde0_el").symlink_to(victim)
    os.utime(victim, (0, 0))
    assert shared_memory.clean(tmp_path) == []
    assert victim.read_text() == "precious\n"


def test_nobody_else_reads_the_images_in_shared_memory(start_node: Callable[..., Process]) -> None:
    pytest.importorskip("rclpy")
    if not os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        pytest.skip("only Fast DDS' segments are known")
    node = start_node("sim_robot_node")
    node.wait_for("simulating")
    assert wait_until(lambda: shared_memory.own_segments(node.pid))
    assert wait_until(
        lambda: all(mode(shared_memory.SHM / one.name) == 0o600 for one in shared_memory.own_segments(node.pid))
    )
    assert node.stop() == 0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "robot.yaml"
    file.write_text("/**/yolo_node:\n  ros__parameters: {}\n")
    file.chmod(0o644)
    return file


def test_a_parameters_file_that_everybody_can_change_starts_nothing(config: Path) -> None:
    assert [node.name for node in read_graph(config).nodes] == ["yolo_node"]
    config.chmod(0o646)
    with pytest.raises(ConfigError, match=rf"everybody can write it: chmod o-w {config}"):
        read_graph(config)
    config.chmod(0o644)
    link = config.parent / "link.yaml"
    link.symlink_to(config)
    config.parent.chmod(0o777)
    for path in (config, link):
        with pytest.raises(ConfigError, match=rf"replace it in its folder: chmod o-w {config.parent}"):
            read_graph(path)
    config.parent.chmod(0o1777)  # as /tmp: only its owner can replace a file
    assert len(read_graph(config).nodes) == 1
    config.parent.chmod(0o700)


def test_nor_does_one_in_an_open_folder_that_a_link_leads_to(config: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open folder"
    open_to_all.mkdir()
    (open_to_all / "robot.yaml").symlink_to(config)
    open_to_all.chmod(0o777)
    with pytest.raises(ConfigError, match=r"chmod o-w '.*/open folder'"):
        read_graph(open_to_all / "robot.yaml")


def test_a_pipe_is_no_parameters_file_and_a_session_no_path(config: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        read_graph(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    with pytest.raises(ConfigError, match="must be a readable file"):
        read_graph(tmp_path / "loop.yaml")
    out = tmp_path / "out"
    config.write_text(f"/**/recorder_node:\n  ros__parameters: {{output_dir: {out}, session: ../../evil}}\n")
    with pytest.raises(ConfigError, match="must be a name of letters"):
        read_graph(config)
    config.write_text(f"/**/recorder_node:\n  ros__parameters: {{output_dir: {config}}}\n")
    with pytest.raises(ConfigError, match="output_dir must be a folder"):
        read_graph(config)
