"""What is left of a recording when its process is killed, its disk is full, or the power goes."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from support.processes import Process, Ros, wait_until

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import JointState

from perf_inference.cli import main
from perf_inference.nodes.reports.messages import OK, from_key_values, level, timing_status
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.recording.jsonl.line import LineError, unsealed

START = "20260102_030405"
Start = Callable[..., Process]
# A killed participant leaves its shared memory behind; this one has none.
ENVIRONMENT = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
SAVE_INTERVAL_S = 1.0
SETTLED = 50


class Load:
    """Publishes joint states and timings from a thread of its own, and knows when it sent which."""

    def __init__(self, ros: Ros, hz: float) -> None:
        self.sent_ns: list[int] = []  # of joint state 0, 1, 2 ...
        self._states = ros.node.create_publisher(JointState, "joint_states", 1000)
        self._timings = ros.node.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
        self._period_s = 1 / hz
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        names = [f"joint_{number}" for number in range(7)]
        while not self._stop.wait(self._period_s):
            number = len(self.sent_ns)
            self._states.publish(JointState(name=names, position=[float(number)] * 7, velocity=[0.5] * 7))
            self.sent_ns.append(time.time_ns())
            if number % 10 == 0:
                record = {"node": "n", "engine": "e", "precision": "p", "device": "d", "seq": number // 10 + 1,
                          "received_ns": number, "infer_ms": 1.0}  # fmt: skip
                self._timings.publish(DiagnosticArray(status=[timing_status(record, "h/1")]))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def load(ros: Ros, hz: float) -> Iterator[Load]:
    made = Load(ros, hz)
    try:
        yield made
    finally:
        made.close()


def whole(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Return (whole lines, others)."""
    good, bad = [], []
    for line in path.read_bytes().splitlines(True):
        (good if is_whole(line) else bad).append(line)
    return good, bad


def is_whole(line: bytes) -> bool:
    try:
        unsealed(line)
    except LineError:
        return False
    return True


def numbers(lines: list[bytes]) -> list[int]:
    records = [orjson.loads(line) for line in lines]
    return [int(record["message"]["position"][0]) for record in records if record.get("topic") == "/joint_states"
            and "record" not in record]  # fmt: skip


def kill_at_a_random_moment(start_node: Start, sender: Load, folder: Path, chance: random.Random) -> float:
    """Kill a recorder under load and check what is left; return how old the oldest lost message was [s]."""
    process = start_node(
        "recorder_node", "-p", f"output_dir:={folder}", "-p", f"start_time:='{START}'", env=ENVIRONMENT
    )
    directory = folder / f"run_{START}"
    segment = directory / "topics_1.jsonl"
    assert wait_until(lambda: segment.exists() and segment.read_bytes().count(b"\n") > 2 * SETTLED, 30.0), (
        process.output()
    )
    threading.Event().wait(chance.uniform(0, 0.5))
    killed_ns = time.time_ns()
    process.stop(signal.SIGKILL)

    good, bad = whole(segment)
    assert len(bad) <= 1, bad
    assert not bad or segment.read_bytes().endswith(bad[0]), "no damaged line but the last"
    records = [record for line in good if "record" not in (record := orjson.loads(line))]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1)), "what came is here"
    found = numbers(good)
    # While a reader is being discovered the transport may pass over a message: what counts is from then on.
    settled = found[SETTLED:]
    assert settled == list(range(settled[0], settled[-1] + 1)), "and all that was sent came"
    lost = [sent_ns for sent_ns in sender.sent_ns[found[-1] + 1 :] if sent_ns < killed_ns]
    oldest_s = (killed_ns - lost[0]) / 1e9 if lost else 0.0
    assert oldest_s < SAVE_INTERVAL_S, f"lost though {oldest_s:.3f} s old"
    for line in (directory / f"performance_timings_{START}.jsonl").read_bytes().splitlines(True)[:-1]:
        orjson.loads(line)

    out = folder / "recovered"
    status = main(["recover", str(directory), "--out", str(out)])
    assert status == (3 if bad else 0)
    recovered = (out / "topics_1.jsonl").read_bytes().splitlines(True)
    assert [line for line in recovered if b'{"seq":' in line] == [line for line in good if b'{"seq":' in line]
    return oldest_s


@pytest.mark.parametrize("times", [4, pytest.param(200, marks=pytest.mark.long)])
def test_kill_9_at_random_moments_loses_nothing_older_than_the_save_interval(
    ros: Ros, start_node: Start, tmp_path: Path, times: int
) -> None:
    chance = random.Random(times)
    oldest_s = []
    with load(ros, 500.0) as sender:
        for number in range(times):
            oldest_s.append(kill_at_a_random_moment(start_node, sender, tmp_path / f"{number}", chance))
            shutil.rmtree(tmp_path / f"{number}")
        hz = len(sender.sent_ns) / ((sender.sent_ns[-1] - sender.sent_ns[0]) / 1e9)
    worst_ms, median_ms = max(oldest_s) * 1e3, sorted(oldest_s)[times // 2] * 1e3
    print(f"{times} kills at {hz:.0f} messages/s: oldest lost message {worst_ms:.0f} ms old, median {median_ms:.0f} ms")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_the_recording_and_it_goes_on_when_there_is_room(
    ros: Ros, start_node: Start, small_disk: Path
) -> None:
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    process = start_node("recorder_node", "-p", f"output_dir:={small_disk}", "-p", f"start_time:='{START}'")
    process.wait_for("recording into")
    segment = small_disk / f"run_{START}" / "topics_1.jsonl"
    with load(ros, 500.0):
        assert ros.spin_until(lambda: beats and level(beats[-1]) == DiagnosticStatus.ERROR, 60.0)
        assert "cannot be written: No space left on device" in beats[-1].message
        assert process.alive
        full_bytes = segment.stat().st_size
        subprocess.run(["mount", "-o", "remount,size=64M", str(small_disk)], check=True)
        assert ros.spin_until(lambda: level(beats[-1]) == OK, 30.0), beats[-1]
        assert wait_until(lambda: segment.stat().st_size > 2 * full_bytes)
    counts = from_key_values(beats[-1].values)
    assert process.stop() == 0
    good, bad = whole(segment)
    assert bad == []
    found = numbers(good)
    assert (counts["dropped"], found) == (0, list(range(found[0], found[-1] + 1))), "what waited was written"
    about = orjson.loads((segment.parent / "session.json").read_bytes())
    assert about["counts"]["topics"]["/joint_states"]["records"] == len(found)


@pytest.mark.thorough
def test_one_that_is_killed_while_the_disk_is_full_is_started_again(
    ros: Ros, start_node: Start, small_disk: Path
) -> None:
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    arguments = ("recorder_node", "-p", f"output_dir:={small_disk}", "-p", f"start_time:='{START}'")
    with load(ros, 200.0):
        killed = start_node(*arguments, env=ENVIRONMENT)
        assert ros.spin_until(lambda: beats and level(beats[-1]) == DiagnosticStatus.ERROR, 60.0)
        killed.stop(signal.SIGKILL)
        beats.clear()
        process = start_node(*arguments, env=ENVIRONMENT)
        assert ros.spin_until(lambda: beats and level(beats[-1]) == DiagnosticStatus.ERROR, 30.0), process.output()
        subprocess.run(["mount", "-o", "remount,size=64M", str(small_disk)], check=True)
        assert ros.spin_until(lambda: level(beats[-1]) == OK, 30.0), beats[-1]
    assert process.stop() == 0
    assert numbers(whole(small_disk / f"run_{START}" / "topics_2.jsonl")[0])


@pytest.mark.long
def test_recording_stops_while_less_than_min_free_bytes_is_free(ros: Ros, start_node: Start, small_disk: Path) -> None:
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    process = start_node("recorder_node", "-p", f"output_dir:={small_disk}", "-p", "min_free_bytes:=500000")
    with load(ros, 500.0):
        assert ros.spin_until(lambda: beats and level(beats[-1]) == DiagnosticStatus.ERROR, 60.0)
        assert "recording has stopped: " in beats[-1].message
        assert shutil.disk_usage(small_disk).free > 0, "stopped before it was full"
        subprocess.run(["mount", "-o", "remount,size=64M", str(small_disk)], check=True)
        assert ros.spin_until(lambda: level(beats[-1]) == OK, 30.0), beats[-1]
    assert process.stop() == 0


def test_with_durability_power_a_record_counts_as_saved_when_the_disk_has_it(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    process = start_node(
        "recorder_node", "-p", f"output_dir:={tmp_path}", "-p", f"start_time:='{START}'", "-p", "durability:=power"
    )
    process.wait_for("recording into")
    segment = tmp_path / f"run_{START}" / "topics_1.jsonl"
    files = Path(f"/proc/{process.pid}/fd")
    (number,) = [fd.name for fd in files.iterdir() if os.path.realpath(fd) == str(segment)]
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-s", "200", "-o", str(trace), "-e", "trace=write,fdatasync", "-p", str(process.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        if "attached" not in (said := tracer.stderr.readline()):
            pytest.skip(f"strace may not trace here: {said.strip()}")
        with load(ros, 50.0):
            process.wait_for("Auto-saved", 60.0)
            assert wait_until(lambda: segment.read_bytes().count(b"\n") > 60, 30.0)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10.0)
        tracer.stderr.close()
    assert process.stop() == 0
    # Of one thread: lines of others may come between the halves of a call.
    calls = re.findall(r"^(\d+) +(write|fdatasync)\((\d+)(?:, \"([^\"]*))?", trace.read_text(), re.MULTILINE)
    (writer,) = {thread for thread, name, fd, _ in calls if (name, fd) == ("fdatasync", number)}
    order = [name if fd == number else "said" for thread, name, fd, text in calls
             if thread == writer and (fd == number or "Auto-saved" in text)]  # fmt: skip
    assert order.count("write") >= 3, order
    assert order.count("said") >= 1, order
    while order[0] == "fdatasync":  # of a write before the trace
        del order[0]
    for what, following in pairwise(order):
        assert following != "said" or what == "fdatasync", f"it is said when the disk has it: {order}"
        assert what != "write" or following == "fdatasync", f"the disk has it before the next: {order}"
    print(f"{order.count('write')} writes, each followed by its fdatasync")
