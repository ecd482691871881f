"""`perf-inference doctor` against set-ups that are broken on purpose, and a healthy one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.onnx_models import slow_detector
from support.paths import SUPPORT
from support.processes import Process, Ros, end_all, wait_until

from perf_inference.bringup import shared_memory, tuning
from perf_inference.doctor.finding import CHECKS
from perf_inference.doctor.processes import participants

PEER = str(SUPPORT / "doctor_peer.py")
GRAPH = ("transport", "allocator", "qos", "topics", "inputs", "clocks")
SET_BY_US = (
    "FASTDDS_BUILTIN_TRANSPORTS",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    tuning.TUNING,
    *tuning.ALLOCATOR,
    *tuning.PAGES,
)


class Diagnosis:
    """What the doctor printed, and its exit status."""

    def __init__(self, *arguments: str, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "perf_inference.cli", "doctor", "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.status, self.errors = done.returncode, done.stderr
        assert done.stdout, done.stderr
        said = json.loads(done.stdout)
        self.findings: list[dict[str, str]] = said["findings"]
        self.summary: dict[str, Any] = said["summary"]
        assert self.summary["exit_status"] == self.status

    def __str__(self) -> str:
        return "; ".join(f"{finding['level']} {finding['check']}: {finding['value']}" for finding in self.findings)

    def __call__(self, check: str) -> dict[str, str]:
        """Return the worst finding of a check."""
        found = [finding for finding in self.findings if finding["check"] == check]
        return max(found, key=lambda finding: ("skipped", "ok", "warning", "error").index(finding["level"]))


def only(*checks: str) -> list[str]:
    return [word for check in checks for word in ("--only", check)]


@pytest.fixture
def start_peer(domain: int) -> Iterator[Callable[..., Process]]:
    """Start `start_peer("publish", "camera", 1280, 960, 15, "RELIABLE", tuned=True)`: a node of somebody else."""
    pytest.importorskip("rclpy")
    started: list[Process] = []

    def start(*arguments: object, tuned: bool) -> Process:
        stock = {name: value for name, value in os.environ.items() if name not in SET_BY_US}
        env = tuning.tuned(stock) if tuned else stock
        process = Process([sys.executable, PEER, *map(str, arguments)], {**env, "PYTHONUNBUFFERED": "1"})
        started.append(process)
        return process

    yield start
    end_all(started, signal.SIGINT)


def ready(camera: Process, *viewers: Process) -> None:
    """Wait until the camera runs and the viewers have received from it: they find each other within 3 s."""
    camera.wait_for("ready")
    for viewer in viewers:
        viewer.wait_for("received")


# -- broken on purpose


def test_a_qos_mismatch_is_told_with_both_profiles(ros: Ros) -> None:
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import JointState
    from std_msgs.msg import String

    weak = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    ros.node.create_publisher(String, "chatter", weak)
    ros.node.create_subscription(String, "chatter", lambda message: None, 10)
    ros.node.create_publisher(JointState, "joints", 10)
    ros.node.create_subscription(JointState, "joints", lambda message: None, weak)  # fits
    seen = Diagnosis(*only("qos"), "--seconds", "1")
    assert seen.status == 2, str(seen)
    (finding,) = seen.findings
    assert finding["level"] == "error"
    value = finding["value"]
    assert value == "/chatter: /test offers best_effort volatile; /test asks for reliable volatile"
    assert "Best effort publisher and reliable subscription" in finding["why"]
    assert "-p qos_overrides./chatter.subscription.reliability:=best_effort" in finding["mend"]
    assert "-p qos_overrides./chatter.publisher.reliability:=reliable" in finding["mend"]


def test_two_types_on_a_topic_are_told(ros: Ros) -> None:
    from std_msgs.msg import Bool, String

    other = Ros()  # a node refuses a second type on a topic
    try:
        other.node.create_publisher(Bool, "chatter", 10)
        ros.node.create_subscription(String, "chatter", lambda message: None, 10)
        seen = Diagnosis(*only("qos"), "--seconds", "1")
    finally:
        other.close()
    assert seen.status == 2, str(seen)
    assert "offers std_msgs/msg/Bool; /test asks for std_msgs/msg/String" in seen("qos")["value"]


@pytest.mark.thorough
def test_a_topic_that_nobody_listens_to_is_left_alone(ros: Ros) -> None:
    from std_msgs.msg import String

    on_demand = ros.node.create_publisher(String, "on_demand", 10)
    wanted = ros.node.create_publisher(String, "wanted", 10)
    ros.node.create_subscription(String, "wanted", lambda message: None, 10)
    process = subprocess.Popen(
        [sys.executable, "-m", "perf_inference.cli", "doctor", *only("topics"), "--seconds", "1.5"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    listeners: list[int] = []
    readers = 0
    while process.poll() is None:
        ros.spin_until(lambda: False, 0.05)
        listeners.append(on_demand.get_subscription_count())
        readers = max(readers, wanted.get_subscription_count())
    said = process.communicate()[0]
    assert readers == 2, said  # it did look
    assert max(listeners) == 0


@pytest.mark.thorough
def test_a_stock_transport_is_found_and_named(start_peer: Callable[..., Process]) -> None:
    camera = start_peer("publish", "camera", 1280, 960, 10, "RELIABLE", tuned=False)
    ready(camera, start_peer("subscribe", "viewer", 1280, 960, 10, "RELIABLE", tuned=False))
    seen = Diagnosis(*only("transport"), "--seconds", "1")
    assert seen.status == 1, str(seen)
    (finding,) = seen.findings
    assert finding["level"] == "warning"
    assert f"doctor_peer.py (pid {camera.pid}) has a segment of 0.55 MB and publishes /image" in finding["value"]
    assert "$ export FASTDDS_BUILTIN_TRANSPORTS='DEFAULT?sockets_size=" in finding["mend"]


@pytest.mark.thorough
def test_a_stock_allocator_is_found_and_named(start_peer: Callable[..., Process]) -> None:
    camera = start_peer("publish", "camera", 1280, 960, 10, "BEST_EFFORT", tuned=True)
    viewer = start_peer("subscribe", "viewer", 1280, 960, 10, "BEST_EFFORT", tuned=False)
    ready(camera, viewer)
    born_s = psutil.Process(viewer.pid).create_time()
    assert wait_until(lambda: time.time() - born_s > 5.5)  # what a process does at its start is not held against it
    seen = Diagnosis(*only("transport", "allocator"), "--seconds", "1")
    assert seen.status == 1, str(seen)
    assert seen("transport")["level"] == "ok", str(seen)
    (finding,) = [finding for finding in seen.findings if finding["check"] == "allocator"]
    assert finding["level"] == "warning"
    assert finding["value"].startswith(f"doctor_peer.py (pid {viewer.pid}): ")
    assert finding["value"].endswith("no MALLOC_* in its environment")
    assert "$ export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=134217728" in finding["mend"]


@pytest.mark.long
def test_best_effort_images_that_never_arrive_are_explained(start_peer: Callable[..., Process]) -> None:
    camera = start_peer("publish", "camera", 1920, 1080, 10, "BEST_EFFORT", tuned=False)
    viewer = start_peer("subscribe", "viewer", 1920, 1080, 10, "BEST_EFFORT", tuned=False)
    ready(camera)
    viewer.wait_for("ready")
    seen = Diagnosis(*only("transport"), "--seconds", "1")
    assert seen.status == 1, str(seen)
    assert f"(pid {camera.pid}) has a segment of 0.55 MB and publishes /image" in seen("transport")["value"]


@pytest.mark.thorough
def test_slow_subscribers_are_found_and_named(
    start_node: Callable[..., Process], start_peer: Callable[..., Process], tmp_path: Path
) -> None:
    model = slow_detector(tmp_path / "slow.onnx", 512, 4)
    detector = start_node(
        "yolo_node", "-p", f"model:={model}", "-p", "threads:=1", "-r", "image:=image", env={"OMP_NUM_THREADS": "1"}
    )
    camera = start_peer("publish", "camera", 64, 48, 400, "BEST_EFFORT", tuned=True)
    foreign = start_peer("subscribe", "viewer", 64, 48, 400, "BEST_EFFORT", 100, tuned=True)
    ready(camera, foreign)
    detector.wait_for("yolo_node")
    seen = Diagnosis(*only("inputs"), "--seconds", "2")
    assert seen.status == 1, str(seen)
    told = [finding for finding in seen.findings if finding["level"] == "warning"]
    assert told, str(seen)
    ours = next(finding for finding in told if finding["value"].startswith("yolo_node: of "))
    assert "messages of /image" in ours["value"]
    assert "replaced by a newer one" in ours["value"]
    assert "ms (p50)" in ours["why"]
    assert [f for f in told if f["value"].startswith(f"/viewer: a thread of pid {foreign.pid} has work")], str(seen)


def test_segments_of_a_killed_participant_are_found_and_cleaned(
    start_peer: Callable[..., Process], tmp_path: Path, domain: int
) -> None:
    camera = start_peer("publish", "camera", 640, 480, 10, "BEST_EFFORT", tuned=True)
    ready(camera)
    (one,) = participants(domain).here
    assert (one.pid, one.name, one.rmw) == (camera.pid, "doctor_peer.py", "rmw_fastrtps_cpp")
    assert one.segment_bytes is not None
    assert one.segment_bytes > 16_000_000
    own = {Path(os.readlink(file)).name for file in Path(f"/proc/{camera.pid}/fd").iterdir()}
    locks = {name for name in own if name.startswith("fastdds_") and name.endswith("_el")}
    alive = tmp_path / "alive"
    alive.mkdir()
    assert Diagnosis(*only("leftovers"), "--shm", str(alive)).status == 0
    camera.stop(signal.SIGKILL)
    for name in locks:  # out of the way of other tests
        for part in (name, name.removesuffix("_el"), f"sem.{name.removesuffix('_el')}_mutex"):
            if (shared_memory.SHM / part).exists():
                shutil.move(shared_memory.SHM / part, tmp_path / part)
    directory = ("--shm", str(tmp_path))
    assert wait_until(lambda: len(shared_memory.leftovers(tmp_path)) == len(locks))
    seen = Diagnosis(*only("leftovers"), *directory)
    assert seen.status == 1, str(seen)
    (finding,) = seen.findings
    segment = next(name for name in locks if "port" not in name).removesuffix("_el")
    assert segment in finding["value"]
    assert finding["mend"] == f"$ perf-inference doctor --clean --shm {tmp_path}"
    cleaned = Diagnosis(*only("leftovers"), *directory, "--clean")
    assert cleaned.status == 0
    assert not list(tmp_path.glob("fastdds_*"))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "status", "level"), [("8m", 2, "error"), ("24m", 1, "warning"), ("128m", 0, "ok")])
def test_a_tiny_shared_memory_is_told(tmp_path: Path, size: str, status: int, level: str) -> None:
    mount = f'mount -t tmpfs -o size={size} tmpfs {tmp_path} && exec "$@"'
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here (unshare --map-root-user --mount)")
    seen = Diagnosis(*only("shared_memory"), "--shm", str(tmp_path), prefix=prefix)
    assert (seen.status, seen("shared_memory")["level"]) == (status, level)
    assert f"at {tmp_path}" in seen("shared_memory")["value"]
    if status:
        assert f"mount -o remount,size=512M {tmp_path}" in seen("shared_memory")["mend"]


@pytest.mark.timing
@pytest.mark.slow
def test_a_process_that_takes_a_core_is_named() -> None:
    spinner = Process([sys.executable, "-c", "while True: pass"], dict(os.environ))
    told: list[dict[str, Any]] = []
    try:
        for _ in range(5):  # where other tests take the cores too, it may get less than half of one for a while
            seen = Diagnosis(*only("cores"), "--seconds", "1")
            told = [finding for finding in seen.findings if f"(pid {spinner.pid})" in finding["value"]]
            if told:
                break
    finally:
        spinner.stop(signal.SIGKILL)
    assert seen.status == 1, str(seen)
    assert len(told) == 1, str(seen)
    assert told[0]["value"].startswith("python -c (pid")
    assert told[0]["mend"].endswith(f"$ renice -n 19 -p {spinner.pid}")


def test_a_middleware_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch, domain: int) -> None:
    pytest.importorskip("rclpy")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_nothing_cpp")
    seen = Diagnosis(*only("transport", "qos"), "--seconds", "0.1")
    assert seen.status == 2, str(seen)
    assert seen("transport")["value"].startswith("ROS does not start here: ")
    assert seen("qos")["level"] == "skipped"
    assert "Traceback" not in seen.errors


def test_gaps_rates_and_delays_of_two_publishers() -> None:
    # a sends 1, 2, 5 at 0, 10, 40 ms, and each takes 2 ms; b sends 7, 8, and its clock is 5 ms ahead
    pytest.importorskip("rclpy")
    from sensor_msgs.msg import Imu

    from perf_inference.doctor.graph import Endpoint
    from perf_inference.nodes.graph.topic_probe import TopicProbe

    gids = {"a": bytes(15) + b"a", "b": bytes(15) + b"b"}
    rows = [("a", 1, 0, 2), ("b", 7, 5, 1), ("a", 2, 10, 12), ("a", 5, 40, 42), ("b", 8, 55, 50)]

    class Reader:
        def take_with_info(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
            for name, sequence, sent_ms, received_ms in rows:
                stamp = b"\0\1\0\0" + (10).to_bytes(4, "little") + (sent_ms * 1_000_000).to_bytes(4, "little")
                yield (
                    stamp + bytes(88),
                    {
                        "publisher_gid": {"data": gids[name]} if told else None,
                        "publication_sequence_number": sequence,
                        "source_timestamp": 10_000_000_000 + sent_ms * 1_000_000,
                        "received_timestamp": 10_000_000_000 + received_ms * 1_000_000,
                    },
                )

    told = True
    probe = TopicProbe(Reader(), Imu, alone=False)  # type: ignore[arg-type]
    probe.take()
    ends = {gids[name]: Endpoint(f"/{name}") for name in gids}
    a, b = probe.sources(ends)
    assert (a.node, a.received, a.lost, a.least_delay_ms, a.stamp_ahead_ms) == ("/a", 3, 2, 2.0, None)
    assert (a.sent_hz, a.received_hz, a.longest_pause_s) == (100.0, 50.0, 0.03)
    assert (b.node, b.received, b.lost, b.least_delay_ms, b.stamp_ahead_ms) == ("/b", 2, 0, -5.0, 5.0)
    assert (probe.received, probe.bytes, probe.largest_bytes) == (5, 500, 100)
    told = False  # Jazzy: no word on whose a message is
    several = TopicProbe(Reader(), Imu, alone=False)  # type: ignore[arg-type]
    several.take()
    assert next(several.sources(ends)).lost is None
    rows = [row for row in rows if row[0] == "a"]
    one = TopicProbe(Reader(), Imu, alone=True)  # type: ignore[arg-type]
    one.take()
    (only_a,) = one.sources({gids["a"]: ends[gids["a"]]})
    assert (only_a.node, only_a.lost) == ("/a", 2)


# -- healthy


def test_a_healthy_graph_gives_0(start_node: Callable[..., Process], start_peer: Callable[..., Process]) -> None:
    ours = tuning.tuned({name: value for name, value in os.environ.items() if name not in SET_BY_US})
    start_node("sim_robot_node", "-p", "camera_rate:=5.0", "-r", "camera/image_raw:=image", env=ours)
    detector = start_node("yolo_node", "-p", "model:=detector", "-p", "threads:=1", env=ours)
    camera = start_peer("publish", "camera", 1280, 960, 5, "BEST_EFFORT", tuned=True)
    ready(camera, start_peer("subscribe", "viewer", 1280, 960, 5, "BEST_EFFORT", tuned=True))
    detector.wait_for("yolo_node")
    seen = Diagnosis(*only(*GRAPH, "shared_memory", "engine_cache"), "--seconds", "2")
    assert seen.status == 0, str(seen)
    levels = {check: seen(check)["level"] for check in GRAPH}
    assert levels == dict.fromkeys(GRAPH, "ok"), str(seen)
    assert seen("transport")["value"].startswith("4 participants in domain ")
    assert seen("inputs")["value"].startswith("2 nodes keep up with their inputs")
    assert seen.summary["ok"] >= 7


@pytest.mark.long
def test_the_report_for_a_person(ros: Ros) -> None:
    command = [sys.executable, "-m", "perf_inference.cli", "doctor", "--seconds", "0.1", *only(*CHECKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line and line[0] not in " 0123456789"] == ["machine", "software", "running nodes"]
    assert all(len(line) <= 80 for line in lines if "$ " not in line), done.stdout
    assert "\x1b" not in done.stdout
    assert all(any(line[10:].startswith(check) for line in lines) for check in CHECKS), done.stdout
