"""What dead processes leave in shared memory is found and removed, and nothing that lives is touched."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.processes import Process, wait_until

from perf_inference.bringup.shared_memory import clean, describe, is_cut_off, leftovers, mapped_segments, own_segments

SEGMENT = "fastdds_0123456789abcdef"


def put(folder: Path, name: str, size_bytes: int = 0, age_s: float = 60.0) -> Path:
    file = folder / name
    file.write_bytes(bytes(size_bytes))
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_a_segment_and_a_port_that_nobody_has_locked_are_removed(tmp_path: Path) -> None:
    put(tmp_path, SEGMENT, 1 << 20)
    for name in (f"{SEGMENT}_el", "fastdds_port7411", "fastdds_port7411_el", "sem.fastdds_port7411_mutex",
                 "fastdds_port7400", "fastdds_port7400_sl"):  # fmt: skip
        put(tmp_path, name)
    others = [put(tmp_path, name) for name in ("fast_datasharing_1", "sem.other", f"my_{SEGMENT}_el", SEGMENT + "x")]
    assert [left.name for left in leftovers(tmp_path)] == [SEGMENT, "fastdds_port7400", "fastdds_port7411"]
    removed = clean(tmp_path)
    assert removed[0].size_bytes == 1 << 20
    assert describe(removed) == "freed 1.0 MB of shared memory of 1 process that was killed earlier"
    assert describe(removed * 2) == "freed 2.1 MB of shared memory of 2 processes that were killed earlier"
    assert describe(removed[1:]) == ""  # ports stay after a clean end too
    assert sorted(tmp_path.iterdir()) == sorted(others)
    assert clean(tmp_path) == []
    assert describe([]) == ""


@pytest.mark.parametrize("lock", ["_el", "_sl"])
def test_what_is_locked_stays(tmp_path: Path, lock: str) -> None:
    put(tmp_path, SEGMENT)
    with open(put(tmp_path, SEGMENT + lock), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX if lock == "_el" else fcntl.LOCK_SH)
        assert clean(tmp_path) == []
    assert len(clean(tmp_path)) == 1


def test_a_lock_file_that_is_being_made_stays(tmp_path: Path) -> None:
    put(tmp_path, SEGMENT)
    put(tmp_path, SEGMENT + "_el", age_s=0.0)
    assert clean(tmp_path) == []


def test_no_such_folder_has_no_leftovers(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "none") == []


@pytest.mark.alone  # a starter beside it would remove what it looks at
def test_a_killed_node_leaves_a_segment_and_a_living_one_keeps_its_own(start_node: Callable[..., Process]) -> None:
    pytest.importorskip("rclpy")
    killed, living = (start_node("sim_robot_node", "-p", "part:=camera", "-r", f"__ns:=/{name}") for name in "ab")
    for process in (killed, living):
        process.wait_for("simulating")
    segments = {process.pid: own_segments(process.pid) for process in (killed, living)}
    assert all(len(own) == 1 and own[0].size_bytes > 16_000_000 for own in segments.values()), segments
    left, kept = (Path("/dev/shm") / segments[process.pid][0].name for process in (killed, living))
    killed.send(signal.SIGKILL)
    killed.wait()
    assert left.exists()

    def removed() -> bool:  # a starter somewhere else may have been faster
        return any(item.name == left.name and item.size_bytes > 16_000_000 for item in clean()) or not left.exists()

    assert wait_until(removed)
    assert not left.exists()
    assert not Path(f"{left}_el").exists()
    assert kept.exists()
    assert mapped_segments(living.pid)
    assert living.stop() == 0
    assert not kept.exists()


def test_a_port_without_a_lock_is_removed_unless_somebody_has_it_mapped(tmp_path: Path) -> None:
    used = put(tmp_path, "fastdds_port7511", 4096)
    free = [put(tmp_path, name) for name in ("fastdds_port7513", "sem.fastdds_port7513_mutex")]
    young = put(tmp_path, "fastdds_port7515", age_s=0.0)
    with open(used, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        (removed,) = clean(tmp_path)
        assert (removed.name, removed.files) == ("fastdds_port7513", tuple(free))
    assert sorted(tmp_path.iterdir()) == [used, young]


@pytest.mark.thorough
@pytest.mark.alone
def test_the_starter_tells_whose_shared_memory_was_removed(
    start_command: Callable[..., Process], tmp_path: Path
) -> None:
    pytest.importorskip("rclpy")
    config = tmp_path / "robot.yaml"
    node = "ros__parameters: {start: {executable: sim_robot_node}, part: camera}"
    config.write_text(f"/**/first:\n  {node}\n/**/second:\n  {node}\n")
    run = start_command("run", "--sim", "--config", str(config))
    assert wait_until(lambda: run.output().count("simulating: camera") == 2, 30), run.output()
    first = next(c.pid for c in psutil.Process(run.pid).children() if "__node:=first" in c.cmdline())
    assert not is_cut_off(first)
    (own,) = own_segments(first)
    (Path("/dev/shm") / own.name).unlink()
    run.wait_for("first: its shared memory was removed from /dev/shm", 20)
    assert is_cut_off(first)
    assert "second: its shared memory" not in run.output()
    assert run.stop() == 0
