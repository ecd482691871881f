"""Images between real processes: tuned and stock ones hear each other, on one host and across two networks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from support.cases import sampled
from support.processes import Process, inherited, wait_until

from perf_inference.bench import transport as bench
from perf_inference.bench.transport_pair import Outcome, Size, Traffic, exchange
from perf_inference.bringup import middleware, tuning
from perf_inference.bringup.executables import SIM_IMAGE_BYTES
from perf_inference.bringup.middleware import HELD
from perf_inference.bringup.shared_memory import own_segments
from perf_inference.errors import ConfigError

FRAMES = 40
PICTURES = Traffic(Size.of("640x480"), "reliable", 15.0, FRAMES)  # stock, on a busy machine, cannot keep up with 30
LARGE, STOCK = 16_000_000, 600_000  # segments [bytes]: at least, at most


def environments(publisher: str, subscriber: str, **own: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environments of a publisher and a subscriber that are each stock or tuned."""
    ours = {tuning.TUNING, "FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE"}
    ours |= {*tuning.ALLOCATOR, *tuning.PAGES}
    user = {**{name: value for name, value in os.environ.items() if name not in ours}, **own}

    def made(setup: str, images: bool) -> dict[str, str]:
        return tuning.tuned(user, images) if setup == "tuned" else {**user, tuning.TUNING: "off"}

    return made(publisher, True), made(subscriber, False)


_PAIRS = pytest.mark.parametrize(
    ("publisher", "subscriber"),
    sampled([("stock", "tuned"), ("tuned", "stock"), ("tuned", "tuned")]),
)


@_PAIRS
def test_every_image_arrives_on_one_host(domain: int, publisher: str, subscriber: str) -> None:
    outcome = exchange(PICTURES, *environments(publisher, subscriber))
    assert (outcome.sent, outcome.received) == (FRAMES, FRAMES)
    assert (outcome.segment_bytes > LARGE) == (publisher == "tuned")


RANGE, ONLY = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, {"ROS_LOCALHOST_ONLY": "1"}


@pytest.mark.parametrize(
    ("setups", "own"),
    [
        (("tuned", "tuned"), RANGE),
        pytest.param(("tuned", "stock"), ONLY, marks=pytest.mark.long),
        pytest.param(("stock", "tuned"), RANGE, marks=pytest.mark.long),
        pytest.param(("tuned", "tuned"), ONLY, marks=pytest.mark.long),
        pytest.param(("tuned", "stock"), RANGE, marks=pytest.mark.long),
        pytest.param(("stock", "tuned"), ONLY, marks=pytest.mark.long),
    ],
)
def test_tuned_where_discovery_is_confined_to_this_host(
    domain: int, own: dict[str, str], setups: tuple[str, str], tmp_path: Path
) -> None:
    outcome = exchange(PICTURES, *environments(*setups, XDG_CACHE_HOME=str(tmp_path), **own))
    assert (outcome.sent, outcome.received) == (FRAMES, FRAMES)
    assert (outcome.segment_bytes > LARGE) == (setups[0] == "tuned"), outcome.segment_bytes


@pytest.mark.long
def test_best_effort_images_arrive_where_discovery_is_confined_to_this_host(domain: int, tmp_path: Path) -> None:
    own = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "XDG_CACHE_HOME": str(tmp_path)}
    traffic = PICTURES._replace(qos="best_effort")
    assert exchange(traffic, *environments("tuned", "tuned", **own)).received == FRAMES
    assert exchange(traffic, *environments("stock", "stock", **own)).segment_bytes < STOCK


@pytest.mark.parametrize("localhost", [False, True])
@pytest.mark.long
def test_the_profile_for_fast_dds_2_is_read_by_fast_dds_3_too(domain: int, localhost: bool, tmp_path: Path) -> None:
    own = {
        "ROS_DISTRO": "humble",
        "XDG_CACHE_HOME": str(tmp_path),
        **({"ROS_LOCALHOST_ONLY": "1"} if localhost else {}),
    }
    started = environments("tuned", "tuned", **own)
    for process in started:
        process["FASTDDS_DEFAULT_PROFILES_FILE"] = process.pop("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    outcome = exchange(PICTURES, *started)
    assert outcome.received == FRAMES
    assert outcome.segment_bytes > LARGE


def segments(start: Process, *names: str) -> dict[str, int]:
    """Return the size of the own segment of each node's process, once all have one [bytes]."""
    sizes: dict[str, int] = {}

    def found() -> bool:
        for child in psutil.Process(start.pid).children():
            with contextlib.suppress(OSError, psutil.Error):
                name = next((part[8:] for part in child.cmdline() if part.startswith("__node:=")), "container")
                sizes[name] = max((segment.size_bytes for segment in own_segments(child.pid)), default=0)
        return all(sizes.get(name) for name in names)

    assert wait_until(found, 30), f"{sizes}\n{start.output()}"
    return sizes


@pytest.mark.thorough
@pytest.mark.parametrize("host_only", [pytest.param(False, marks=pytest.mark.thorough), True])
def test_publishers_of_images_alone_get_a_large_segment(
    start_command: Callable[..., Process], host_only: bool, tmp_path: Path
) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path), **({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"} if host_only else {})}
    run = start_command("run", "--sim", "--no-record", "-v", env=env)
    sizes = segments(run, "sim_camera", "sim_arm", "yolo_node", "monitor_node")
    assert [name for name in sizes if sizes[name] > LARGE] == ["yolo_node"], sizes
    assert HELD * SIM_IMAGE_BYTES < sizes["sim_camera"] < 2 * HELD * SIM_IMAGE_BYTES  # which knows its images
    assert all(size < STOCK for name, size in sizes.items() if name not in ("sim_camera", "yolo_node"))
    line = next(line for line in run.output().splitlines() if "transport and allocator: " in line)
    assert ("FASTDDS_DEFAULT_PROFILES_FILE=" if host_only else "DEFAULT?sockets_size=") in line
    assert "2MB for sim_camera, " in line.replace(".xml", "")
    assert "16MB for yolo_node, " in line.replace(".xml", "")


@pytest.mark.thorough
def test_the_container_gets_one_segment_and_no_tuning_gets_none(start_command: Callable[..., Process]) -> None:
    tuned = start_command("run", "--sim", "--no-record", "--container")
    stock = start_command("run", "--sim", "--no-record", "--no-tuning")
    assert segments(tuned, "container")["container"] > LARGE
    assert all(size < STOCK for size in segments(stock, "sim_camera", "yolo_node").values())
    assert "transport and allocator: stock (PERF_INFERENCE_TUNING=off)" in stock.output()


def test_a_node_started_bare_says_what_it_has_set(start_node: Callable[..., Process]) -> None:
    bare = start_node("sim_robot_node", "-p", "part:=camera")
    bare.wait_for("transport and allocator: ")
    assert bare.output().count("transport and allocator: FASTDDS_BUILTIN_TRANSPORTS=DEFAULT?sockets_size=") == 1
    assert own_segments(bare.pid)[0].size_bytes > LARGE


def _output(command: str) -> str:
    return subprocess.run(command.split(), capture_output=True, text=True).stdout


@pytest.fixture
def networks() -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces with a cable between them, and what to run a command in each; shared memory apart."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces need root, ip (iproute2) and unshare")
    names = [f"perf{os.getpid()}{end}" for end in "ab"]
    commands = [f"ip netns add {name}" for name in names]
    commands += [f"ip link add {names[0]} netns {names[0]} type veth peer name {names[1]} netns {names[1]}"]
    for number, name in enumerate(names, 1):
        commands += [f"ip -n {name} addr add 10.213.7.{number}/24 dev {name}", f"ip -n {name} link set {name} up"]
        commands += [f"ip -n {name} link set lo up"]
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"network namespaces cannot be made here: {command}: {done.stderr.strip()}")
        for name in names:  # Fast DDS looks once, at its start, for interfaces that are up
            assert wait_until(lambda name=name: "state UP" in _output(f"ip -n {name} link show dev {name}"))
        own_memory = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs shm /dev/shm && exec "$@"', "sh"]
        first, second = (["ip", "netns", "exec", name, *own_memory] for name in names)
        yield first, second
    finally:
        for name in names:
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True)


@_PAIRS
def test_every_image_arrives_across_two_networks(
    domain: int, networks: tuple[list[str], list[str]], publisher: str, subscriber: str
) -> None:
    started = environments(publisher, subscriber)
    if subscriber == "tuned":
        assert "fastdds_receiver_" in started[1]["FASTDDS_DEFAULT_PROFILES_FILE"]
    outcome = exchange(PICTURES, *started, networks)
    assert (outcome.sent, outcome.received) == (FRAMES, FRAMES)
    assert (outcome.segment_bytes > LARGE) == (publisher == "tuned")


@pytest.mark.long
def test_the_bench_prints_and_writes_what_it_measured(
    domain: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in os.environ.keys() - inherited().keys():  # else it would be the user's, which stays
        monkeypatch.delenv(name)
    file = tmp_path / "rows.json"
    assert bench.main(["--sizes", "640x480", "--frames", "40", "--rounds", "1", "--json", str(file)]) == 0
    rows = json.loads(file.read_text().splitlines()[-1])["rows"]
    assert [(row["size"], row["qos"], row["setup"]) for row in rows] == [
        (size, qos, setup)
        for size in ("640x480",)
        for qos in ("reliable", "best_effort")
        for setup in ("stock", "tuned")
    ]
    assert list(rows[0])[:13] == [
        "size", "setup", "qos", "rate_hz", "sent", "received", "lost_pct", "p50_ms", "p90_ms", "p99_ms", "cpu_ms_sub",
        "cpu_ms_pub", "faults_sub",
    ]  # fmt: skip
    tuned = [row for row in rows if row["setup"] == "tuned"]
    assert [(row["sent"], row["rate_hz"]) for row in tuned] == [(40, 30)] * 2
    reliable, best_effort = tuned
    assert (reliable["received"], reliable["lost_pct"]) == (40, 0)
    assert best_effort["received"] >= 38, "it may lose one now and then, where stock loses all"
    assert all(row["p50_ms"] > 0 and row["p90_ms"] is None and row["p99_ms"] is None for row in tuned)  # 40 samples
    assert rows[0]["p50_ms"] > 2 * rows[1]["p50_ms"]  # 6 and more on an idle machine
    assert rows[1]["floor_ms"] < rows[1]["p50_ms"]
    said = capsys.readouterr().out
    assert "640x480 reliable: p50 " in said
    assert "  640x480 best_effort tuned █" in said


@pytest.mark.parametrize("wrong", ["1920", "0x480", "axb", "0KB", "-1KB"])
def test_a_wrong_size_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="a size must be like 1920x1080 or 1KB, got"):
        Size.of(wrong)


def test_a_percentile_stands_only_on_samples_enough() -> None:
    outcome = Outcome(12, 10, (1_000_000,) * 10, 24_000_000, 12_000_000, 120, 1_000_000)
    row = bench._row(PICTURES._replace(frames=12), "tuned", [outcome], [100_000] * 3)
    assert (row.lost_pct, row.p50_ms, row.cpu_ms_pub, row.cpu_ms_sub, row.faults_sub) == (16.67, None, 2, 1, 10)
    assert row.floor_ms == 0.7
    more = outcome._replace(received=12, latencies_ns=tuple(range(1_000_000, 13_000_000, 1_000_000)))
    assert bench._row(PICTURES, "tuned", [more], [100_000]).p50_ms == 6


@pytest.mark.parametrize(
    ("environment", "transports", "is_found_soon"),
    [
        ({}, "UDPv4", True),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT?sockets_size=16MB"}, "UDPv4", True),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/root/.cache/perf_inference/fastdds_receiver_16MB.xml"}, "UDPv4", True),
        (
            {
                "FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT?sockets_size=8MB",
                "FASTDDS_DEFAULT_PROFILES_FILE": "/opt/any/config/fastdds_discovery.xml",  # of camera_env.sh
                "FASTRTPS_DEFAULT_PROFILES_FILE": "/opt/any/config/fastdds_discovery.xml",
            },
            "UDPv4",
            True,
        ),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, "LARGE_DATA", False),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/etc/mine.xml"}, None, False),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/etc/config/mine.xml"}, None, False),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, None, False),
        ({"ROS_DISTRO": "humble"}, None, True),
        ({"ROS_DISTRO": "jazzy"}, "UDPv4", True),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, None, True),
    ],
)
def test_a_process_that_must_not_hold_up_others_has_no_shared_memory(
    environment: dict[str, str], transports: str | None, is_found_soon: bool, tmp_path: Path
) -> None:
    made = middleware.without_shared_memory({"XDG_CACHE_HOME": str(tmp_path), **environment})
    assert made.get("FASTDDS_BUILTIN_TRANSPORTS") == transports
    profiles = {name: value for name, value in made.items() if name.endswith("_PROFILES_FILE")}
    if is_found_soon:
        old = environment.get("ROS_DISTRO") in ("humble", "jazzy")
        name = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
        assert profiles == {name: str(tmp_path / "perf_inference" / "fastdds_discovery.xml")}
    else:
        assert profiles == {name: value for name, value in environment.items() if name.endswith("_PROFILES_FILE")}
    assert made["XDG_CACHE_HOME"] == str(tmp_path)
    without = middleware.without_shared_memory({"XDG_CACHE_HOME": str(tmp_path), **environment}, found_soon=False)
    assert without.get("FASTDDS_BUILTIN_TRANSPORTS") == transports
    assert not any("discovery" in value for value in without.values())
