"""What the doctor makes of what it has read, without ROS: recorded texts of the kernel, and graphs made by hand."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from perf_inference.commands import doctor
from perf_inference.doctor import (
    accelerator,
    allocator,
    clocks,
    disk,
    flows,
    inputs,
    network,
    processor,
    report,
    software,
)
from perf_inference.doctor.finding import CHECKS, Finding, counted, exit_status
from perf_inference.doctor.graph import Beats, Endpoint, Flow, GraphFacts, Mismatch, Source
from perf_inference.doctor.processes import (
    Participant,
    Participants,
    Usage,
    domain_of,
    parse_stat,
    participants,
    title_of,
)
from perf_inference.doctor.snapshot import Interval, Snapshot, take_snapshot, udp_overflows
from perf_inference.doctor.transport import missing, needs_udp, transport
from perf_inference.measure.heartbeat import Beat, Heartbeat
from perf_inference.telemetry.jetson import JetsonSettings
from perf_inference.telemetry.nvml import GpuSample

STAT = (
    "3346 (a (b) c) S 3340 3346 3340 34816 3346 4194560 48321 120 3 0 512 88 0 0 20 0 14 0 281177 1873461248 "
    "22514 18446744073709551615 1 1 0 0 0 0 0 16781312 134235138 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
SNMP = (
    "Ip: Forwarding DefaultTTL\nIp: 1 64\n"
    "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n"
    "Udp: 50235 5817 12 49972 11 0 0 156 0\n"
)
MAPS = (
    "7f966651a000-7f96656a1000 rw-s 00000000 00:1b 5866 {shm}/fastdds_29c5e791684088da\n"
    "7f9667739000-7f9667760000 r--p 00000000 fe:00 5311502 /opt/ros/kilted/lib/librmw_fastrtps_shared_cpp.so\n"
    "7f96677a0000-7f96677b0000 r--p 00000000 fe:00 5311503 /opt/ros/kilted/lib/librmw_implementation.so\n"
    "7f96677c1000-7f96677f0000 r--p 00000000 fe:00 5311565 /opt/ros/kilted/lib/librmw_fastrtps_cpp.so\n"
)
IMAGE = "sensor_msgs/msg/Image"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles that are written for the middleware go elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def fake_process(
    proc: Path, pid: int, maps: str, environ: dict[str, str], links: list[str], command: list[str]
) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "maps").write_text(maps)
    (folder / "environ").write_text("".join(f"{name}={value}\0" for name, value in environ.items()))
    (folder / "cmdline").write_text("\0".join(command) + "\0")
    (folder / "comm").write_text("python3\n")
    (folder / "root").symlink_to("/")
    for number, link in enumerate(links):
        (folder / "fd" / str(number)).symlink_to(link)


def participant(pid: int = 7, **changes: object) -> Participant:
    given = {"name": "camera", "rmw": "rmw_fastrtps_cpp", "domain": 0, "segment_bytes": 549_408, "environment": {}}
    return Participant(pid, **{**given, **changes})  # type: ignore[arg-type]


def among(*here: Participant) -> Participants:
    return Participants(0, here)


def snapshot(t_s: float, processes: dict[int, Usage] | None = None, **changes: object) -> Snapshot:
    empty = Snapshot(round(t_s * 1e9), processes or {}, 0, 0, None, None, None, 100.0 + t_s, {})
    return replace(empty, **changes)  # type: ignore[arg-type]


def window(*faults: tuple[int, int], seconds: float = 2.0) -> Interval:
    """Return a window in which each process (pid, faults) had so many page faults."""
    return Interval(
        snapshot(0, {pid: Usage(0, 0, 1) for pid, _ in faults}),
        snapshot(seconds, {pid: Usage(0, count, 1) for pid, count in faults}),
    )


def image_flow(publisher: int = 7, subscriber: int = 8, received: int = 20, size: int = 1_000_000) -> Flow:
    source = Source("/camera", True, received, 0, 10.0, 10.0, 1.0, None)
    ends = (Endpoint("/camera", publisher, True),), (Endpoint("/viewer", subscriber, True),)
    return Flow(
        "/image",
        IMAGE,
        *ends,
        True,
        (source,) if received else (),
        received,
        received * size,
        size if received else 0,
    )


def seen(*flows: Flow, pids: frozenset[int] = frozenset()) -> GraphFacts:
    return GraphFacts(2.0, flows, pids_low=pids)


# -- processes


def test_a_stat_line_whose_command_has_brackets() -> None:
    assert parse_stat(STAT) == Usage(cpu_ticks=600, minor_faults=48321, started_ticks=281177)


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["/usr/bin/python3", "-m", "perf_inference.nodes.yolo_node", "--ros-args"], "yolo_node"),
        (["python3.11", "-P", "/opt/x/talker.py"], "talker.py"),
        (["python", "-c", "while True: pass"], "python -c"),
        (["/opt/ros/lib/demo_nodes_cpp/talker", "--ros-args", "-r", "__node:=front"], "front"),
        (["/opt/ros/lib/demo_nodes_cpp/talker"], "talker"),
        ([], ""),
    ],
)
def test_titles(words: list[str], title: str) -> None:
    assert title_of(words) == title


@pytest.mark.parametrize(
    ("ports", "domain"), [([7000, 26661], 77), ([7411], 0), ([7000], None), ([], None), ([7400], None)]
)
def test_the_domain_is_told_by_the_ports(ports: list[int], domain: int | None) -> None:
    assert domain_of(ports) == domain


def test_a_participant_as_proc_shows_it(tmp_path: Path) -> None:
    proc, shm = tmp_path / "proc", tmp_path / "shm"
    shm.mkdir()
    (shm / "fastdds_29c5e791684088da").write_bytes(bytes(549_408))
    links = [f"{shm}/fastdds_29c5e791684088da_el", f"{shm}/fastdds_port8661_el", "socket:[1]"]
    environ = {"ROS_DOMAIN_ID": "9", "MALLOC_ARENA_MAX": "2", "SECRET": "x"}
    fake_process(proc, 12, MAPS.format(shm=shm), environ, links, ["python3", "-m", "a.camera_node"])
    fake_process(proc, 13, MAPS.format(shm=shm), environ, [], ["viewer"])  # no ports: its environment counts
    fake_process(proc, 14, "7f96-7f97 r--p 00000000 fe:00 53 /lib/libc.so.6\n", {}, [], ["bash"])
    (proc / "self").mkdir()
    found = participants(5, proc)
    environment = {"ROS_DOMAIN_ID": "9", "MALLOC_ARENA_MAX": "2"}
    assert found.here == (Participant(12, "camera_node", "rmw_fastrtps_cpp", 5, 549_408, environment),)
    assert (found.elsewhere, found.unreadable) == (1, 0)
    assert participants(9, proc).here[0].pid == 13
    (proc / "13/ns").mkdir()
    (proc / "13/ns/net").symlink_to("net:[1]")  # of a container
    assert not participants(9, proc).here


def test_a_process_that_was_replaced_has_no_share() -> None:
    seen = Interval(snapshot(0, {5: Usage(0, 0, 1)}), snapshot(1, {5: Usage(90, 9, 2), 6: Usage(90, 9, 1)}))
    assert (seen.cpu_pct(5), seen.faults(5), seen.cpu_pct(6)) == (None, None, None)


def test_the_first_touch_of_shared_memory_is_not_held_against_a_process() -> None:
    before, after = {5: Usage(0, 100, 1, 1000)}, {5: Usage(0, 9000, 1, 9192)}
    assert Interval(snapshot(0, before), snapshot(1, after)).faults(5) == 708
    assert Interval(snapshot(0, after), snapshot(1, {5: Usage(0, 9300, 1, 0)})).faults(5) == 300


def test_a_snapshot_of_this_machine() -> None:
    taken = take_snapshot([os.getpid()])
    assert taken.processes[os.getpid()].minor_faults > 100
    assert taken.all_ticks > taken.idle_ticks > 0
    assert (os.getpid(), os.getpid()) in taken.threads
    assert udp_overflows(SNMP) == 11
    assert udp_overflows("Ip: 1\n") is None


# -- transport and allocator


def test_who_publishes_more_than_its_segment_holds() -> None:
    small = participant()
    (finding,) = transport(among(small, participant(8)), seen(image_flow()))
    assert (finding.level, finding.value) == (
        "warning", "camera (pid 7) has a segment of 0.55 MB and publishes /image with 1.00 MB a message",
    )  # fmt: skip
    assert "export FASTDDS_BUILTIN_TRANSPORTS=" in finding.fix
    (fits,) = transport(among(small, participant(8)), seen(image_flow(size=100_000)))
    assert fits.level == "ok"
    (tuned,) = transport(among(participant(segment_bytes=16_750_544), participant(8)), seen(image_flow()))
    assert tuned.level == "ok"


def test_images_of_which_none_arrives() -> None:
    (finding,) = transport(among(participant()), seen(image_flow(received=0)))
    assert "publishes /image (sensor_msgs/msg/Image), of which nothing arrives" in finding.value


def test_a_setting_that_localhost_voids() -> None:
    own = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT?sockets_size=8MB"}
    (finding,) = transport(among(participant(environment=own)), seen(image_flow()))
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, which it has, voids" in finding.why
    assert "$ export FASTDDS_DEFAULT_PROFILES_FILE=" in finding.fix
    assert finding.fix.endswith("$ unset FASTDDS_BUILTIN_TRANSPORTS")
    mine = participant(environment={"FASTDDS_DEFAULT_PROFILES_FILE": "/home/me/dds.xml"})
    assert transport(among(mine), seen(image_flow()))[0].fix.startswith("give the shared memory in /home/me/dds.xml")
    ours = participant(environment={"FASTDDS_DEFAULT_PROFILES_FILE": "/any/config/fastdds_discovery.xml"})
    fix = transport(among(ours), seen(image_flow()))[0].fix  # camera_env.sh has set it: it has no shared memory
    assert "export FASTDDS_BUILTIN_TRANSPORTS=" in fix
    assert "discovery" not in fix


def test_transports_and_middlewares_that_do_not_mix() -> None:
    large = participant(9, name="lidar", environment={"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"})
    (alone,) = transport(among(participant(), large), seen())
    assert (alone.level, alone.value) == (
        "error", "lidar (pid 9) has FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA, camera (pid 7) has not",
    )  # fmt: skip
    (mixed,) = transport(among(participant(), participant(9, rmw="rmw_zenoh_cpp")), seen())
    assert (mixed.level, "never hear each other" in mixed.why) == ("error", True)
    (partly,) = transport(among(participant(), participant(9, rmw="rmw_cyclonedds_cpp")), seen())
    assert partly.level == "warning"


def test_nobody_and_no_ros() -> None:
    (nobody,) = transport(Participants(3, elsewhere=2), seen())
    assert (nobody.level, "2 in other domains or containers; ROS_DOMAIN_ID chooses" in nobody.value) == (
        "skipped",
        True,
    )
    (unknown,) = transport(among(participant()), None)
    assert unknown.value.endswith("without rclpy it is not known who sends large messages")


def test_a_participant_that_is_not_heard() -> None:
    apart = participant(65536 + 9, name="lidar", environment={"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"})
    (finding,) = transport(among(participant(), apart), seen(pids=frozenset({7})))
    assert finding.value == (
        "lidar (pid 65545) runs in domain 0 and is not heard: ROS_AUTOMATIC_DISCOVERY_RANGE=OFF"
    )  # fmt: skip
    assert transport(among(participant(), apart), seen(pids=frozenset({7, 9})))[0].level == "ok"
    assert transport(among(participant(), apart), seen())[0].level == "ok"  # an RMW that does not tell


def test_what_a_process_was_not_started_with() -> None:
    assert "FASTDDS_BUILTIN_TRANSPORTS" in missing(participant())
    assert missing(participant(rmw="rmw_zenoh_cpp")) == {
        "ZENOH_CONFIG_OVERRIDE": "transport/shared_memory/enabled=true"
    }
    assert missing(participant(rmw="rmw_zenoh_cpp", environment={"ZENOH_CONFIG_OVERRIDE": "mine"})) == {}


def test_what_needs_the_network() -> None:
    flow = image_flow()
    far = replace(flow, subscribers=(Endpoint("/viewer", None, False),))
    assert needs_udp(among(participant()), [flow]) == ""
    assert needs_udp(among(participant()), [far]) == "/image goes between hosts"
    assert "without shared memory" in needs_udp(among(participant(segment_bytes=None)), [flow])
    assert needs_udp(among(participant()), [image_flow(size=10)]) == ""


def test_page_faults_are_counted_against_the_messages() -> None:
    # 20 images of 1 MB, at 10 Hz within 2 s: 20 MB out of pid 7 and into pid 8; 200 faults a MB are the limit
    found = among(participant(), participant(8, name="viewer", environment={"MALLOC_ARENA_MAX": "2"}))
    (ok,) = allocator.allocator(found, [image_flow()], window((7, 100), (8, 4000)))
    assert (ok.level, ok.value) == ("ok", "2 nodes with large messages, at most 200 page faults per MB")
    (cold,) = allocator.allocator(found, [image_flow()], window((7, 100), (8, 4020)))
    assert cold.value == "viewer (pid 8): 201 page faults per MB of messages (2010/s), MALLOC_ARENA_MAX=2"
    (before,) = allocator.allocator(found, [image_flow()], window((7, 100), (8, 0)), window((8, 2010), seconds=1.0))
    assert before.value.startswith("viewer (pid 8): 201 page faults per MB of messages (2010/s)")
    young = Interval(snapshot(0, {8: Usage(0, 0, 9700)}), snapshot(1, {8: Usage(0, 2010, 9700)}))  # 3 s at 100 ticks/s
    (starting,) = allocator.allocator(found, [image_flow()], window((7, 100), (8, 0)), young)
    assert starting.level == "ok"
    (few,) = allocator.allocator(found, [image_flow(received=1)], window((7, 9000), (8, 9000)))
    assert few.level == "skipped"
    (small,) = allocator.allocator(found, [image_flow(size=100_000)], window((7, 9000), (8, 9000)))
    assert small.level == "skipped"


def test_what_an_environment_says_of_the_allocator() -> None:
    assert allocator.described(participant(environment=None)) == "environment not readable"
    assert allocator.described(participant(environment={"LD_PRELOAD": "/lib/libjemalloc.so.2"})) == "jemalloc"


# -- what arrives


def test_losses_and_silence() -> None:
    flow = image_flow()
    source = flow.sources[0]

    def told(**changes: object) -> list[Finding]:
        changed = replace(flow, sources=(replace(source, **changes),))  # type: ignore[arg-type]
        return flows.topics(GraphFacts(2.0, (changed,)))

    assert [finding.level for finding in told()] == ["ok"]
    assert [finding.level for finding in told(lost=1)] == ["ok"]
    (lossy,) = told(lost=20, sent_hz=20.0)
    assert (lossy.level, lossy.value) == (
        "warning", "/image: /camera sent 20.0 Hz, 10.0 Hz arrived here (20 of 40 lost)",
    )  # fmt: skip
    (silent,) = told(longest_pause_s=0.12, silent_s=0.6)
    assert "then nothing for 0.6 s" in silent.value
    assert [finding.level for finding in told(longest_pause_s=0.2, silent_s=0.6)] == ["ok"]  # it is irregular
    assert told(lost=None)[0].value.endswith("this ROS 2 tells no gaps")


def test_topics_that_were_not_listened_to_are_told() -> None:
    flow = replace(image_flow(received=0), not_heard="message type x/msg/Y is not installed here")
    assert flows.topics(GraphFacts(1.0, (flow,)))[-1].value == "/image: message type x/msg/Y is not installed here"


def test_a_mismatch_that_is_not_certain_is_a_warning() -> None:
    mismatch = Mismatch("/t", "/a", "/b", "best_effort", "reliable", ("why",), "fix", certain=False)
    assert [finding.level for finding in flows.qos(GraphFacts(1.0, mismatches=(mismatch,), pairs=1))] == ["warning"]


def beats(first: dict[str, object], last: dict[str, object], driven_by: str = "image") -> Beats:
    common = {"driven_by": driven_by, "total_p50_ms": 9.5, "input.image.topic": "/camera/image"}
    return Beats(
        Beat(0.0, "here/1", True, "running", Heartbeat.of({**common, **first})),  # type: ignore[dict-item]
        Beat(2.0, "here/1", True, "running", Heartbeat.of({**common, **last})),  # type: ignore[dict-item]
    )


def judged(one: Beats) -> list[Finding]:
    return inputs.inputs(GraphFacts(2.0, beats={"yolo_node": one}), among(), window())


def test_a_node_that_is_slower_than_its_input() -> None:
    begun = {"ledger.image.received": 1000, "ledger.image.replaced": 700, "ledger.image.lost_before": 9}
    slow = beats(begun, {"ledger.image.received": 1060, "ledger.image.replaced": 730, "ledger.image.lost_before": 9})
    (finding,) = judged(slow)
    assert finding.value == "yolo_node: of 60 messages of /camera/image within 2.0 s 30 replaced by a newer one"
    assert finding.why == "the node is slower than its input: one message takes 9.5 ms (p50)"
    steady = beats(begun, {**begun, "ledger.image.received": 1060, "ledger.image.replaced": 702})
    assert [one.level for one in judged(steady)] == ["ok"]
    looks = beats(begun, {**begun, "ledger.image.received": 1060, "ledger.image.replaced": 757}, driven_by="tick")
    assert [one.level for one in judged(looks)] == ["ok"]  # it looks at its own rate
    lost = beats(begun, {**begun, "ledger.image.received": 1040, "ledger.image.lost_before": 29})
    assert "20 lost before the callback" in judged(lost)[0].value


def test_an_input_that_nobody_feeds_and_one_slower_than_promised() -> None:
    silent = beats({}, {"ledger.image.received": 0, "input.image.problem": "no message yet on /camera/image"})
    assert judged(silent)[0].value == "yolo_node: no message yet on /camera/image"
    slow = beats({}, {"ledger.image.received": 9, "input.image.frame_rate_node": 20.0,
                      "input.image.expected_frequency": 30.0})  # fmt: skip
    assert "20.0 Hz come of /camera/image where expected_frequency is 30" in judged(slow)[0].value


def test_a_camera_is_no_topic() -> None:
    gone = {"input.image.problem": "lost for 3.0 s: /dev/video0 was removed", "reconnects": 1}
    (finding,) = judged(beats({}, gone))
    assert (finding.value, finding.fix) == (
        f"yolo_node: {gone['input.image.problem']}",
        "the camera, and source of yolo_node",
    )
    begun = {"ledger.image.received": 100, "ledger.image.lost_before": 0, "reconnects": 0}
    (finding,) = judged(beats(begun, {**begun, "ledger.image.received": 140, "ledger.image.lost_before": 20}))
    assert "the driver gave less than its rate promised" in finding.why


def test_a_recorder_that_drops_and_what_it_writes() -> None:
    first = {"records": 10, "bytes": 1_000_000, "dropped": 0, "failed": 0, "directory": "/data/run"}
    last = {**first, "records": 90, "bytes": 5_000_000, "dropped": 4}
    facts = GraphFacts(2.0, beats={"recorder_node": beats(first, last)})
    assert inputs.recorder(facts, "here") == (2_000_000.0, ["/data/run"])
    assert inputs.recorder(facts, "elsewhere") == (None, [])
    assert "4 records dropped" in inputs.inputs(facts, among(), window())[0].value


def test_clocks_of_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "ntp", lambda: None)
    flow = image_flow()

    def told(**changes: object) -> Finding:
        source = replace(flow.sources[0], **changes)  # type: ignore[arg-type]
        (finding,) = clocks.clocks(GraphFacts(2.0, (replace(flow, sources=(source,)),)))
        return finding

    assert told().level == "ok"
    ahead = told(here=False, least_delay_ms=-12.5)
    assert (ahead.level, ahead.value) == (
        "warning", "/image: messages of /camera arrive 12.5 ms before they were sent",
    )  # fmt: skip
    assert "took 250 ms from another host" in told(here=False, least_delay_ms=250.0).value
    assert told(here=True, least_delay_ms=250.0).level == "ok"  # slow, but the same clock
    assert "up to 30.0 ms in the future" in told(stamp_ahead_ms=30.0).value
    assert told(stamp_ahead_ms=1e12).level == "ok"  # simulated or replayed
    monkeypatch.setattr(clocks, "ntp", lambda: False)
    assert told(here=False).value == "this clock is not synchronised"


# -- the machine


def test_udp_buffers_matter_where_something_needs_them(tmp_path: Path) -> None:
    core = tmp_path / "sys/net/core"
    core.mkdir(parents=True)
    (core / "rmem_max").write_text("212992\n")
    (core / "wmem_max").write_text("212992\n")
    assert network.udp_buffers("", None, tmp_path).level == "ok"
    small = network.udp_buffers("/image goes between hosts", None, tmp_path)
    assert (small.level, small.fix.splitlines()[0]) == (
        "warning", "$ sudo sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608",
    )  # fmt: skip
    over = Interval(snapshot(0, udp_overflows=3), snapshot(2, udp_overflows=10))
    assert "; 7 datagrams found a full buffer within 2.0 s" in network.udp_buffers("", over, tmp_path).value
    assert network.udp_buffers("", None, tmp_path / "none").level == "skipped"


@pytest.mark.parametrize(
    ("governor", "driver", "highest", "level"),
    [
        ("performance", "acpi-cpufreq", 4_000_000, "ok"),
        ("powersave", "acpi-cpufreq", 4_000_000, "warning"),
        ("powersave", "intel_pstate", 4_000_000, "ok"),
        ("schedutil", "cppc_cpufreq", 4_000_000, "ok"),
        ("performance", "tegra194", 1_200_000, "warning"),
    ],
)
def test_governors(tmp_path: Path, governor: str, driver: str, highest: int, level: str) -> None:
    folder = tmp_path / "devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    for name, text in (("scaling_governor", governor), ("scaling_driver", driver), ("scaling_max_freq", highest),
                       ("cpuinfo_max_freq", 4_000_000)):  # fmt: skip
        (folder / name).write_text(f"{text}\n")
    finding = processor.governor(None, tmp_path)
    assert finding.level == level, finding
    hot = Interval(snapshot(0, hot_stops=1), snapshot(2, hot_stops=3))
    assert "2 times too hot" in processor.governor(hot, tmp_path).value
    assert processor.governor(None, tmp_path / "none").level == "skipped"


def test_cores_that_others_take() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    processes = {7: Usage(0, 0, 1), 8: Usage(0, 0, 1), 9: Usage(0, 0, 1)}
    later = {7: Usage(2 * ticks, 0, 1), 8: Usage(2 * ticks, 0, 1), 9: Usage(ticks // 2, 0, 1)}

    def told(idle: int) -> list[Finding]:
        seen = Interval(snapshot(0, processes), snapshot(2, later, all_ticks=100, idle_ticks=idle))
        return processor.cores(seen, {7}, Path("/nowhere"))

    assert [one.value.partition(" takes")[0] for one in told(idle=50)] == ["? (pid 8)"]
    assert [one.value.partition(" takes")[0] for one in told(idle=5)] == ["? (pid 8)", "? (pid 9)"]
    stopped = Interval(snapshot(0, quota_stops=1), snapshot(2, quota_stops=5))
    assert "used up 4 times" in processor.cores(stopped, set())[0].value


GPU = GpuSample(0, "RTX", "uuid", 50.0, 1000.0, 8000.0, 60.0, 80.0, 170.0, 1800.0, 2100.0, 7000.0, 7000.0, ())


@pytest.mark.parametrize(
    ("reasons", "level", "fix"),
    [
        ((), "ok", ""),
        (("gpu_idle",), "ok", ""),
        (("sw_power_cap",), "warning", "nvidia-smi -i 0 -pl WATTS"),
        (("hw_thermal_slowdown",), "warning", "more cooling"),
        (("applications_clocks_setting",), "warning", "nvidia-smi -i 0 -rac"),
        (None, "ok", ""),
    ],
)
def test_gpus(reasons: tuple[str, ...] | None, level: str, fix: str) -> None:
    (finding,) = accelerator.judge_gpus([replace(GPU, clock_reasons=reasons)], "")
    assert (finding.level, fix in finding.fix) == (level, True)
    assert "clock 1800 of 2100 MHz, power 80 of 170 W" in finding.value
    assert accelerator.judge_gpus(None, "no driver")[0] == Finding("gpu", "skipped", "no driver")


def test_jetsons(tmp_path: Path) -> None:
    assert [one.level for one in accelerator.judge_jetson(JetsonSettings("MAXN_SUPER", True))] == ["ok", "ok"]
    assert [one.level for one in accelerator.judge_jetson(JetsonSettings("15W", False))] == ["warning", "warning"]
    assert accelerator.judge_jetson(JetsonSettings())[0].level == "skipped"
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\nsleep 0.1; echo 'NV Power Mode: 25W'; echo 1\n")
    tool.chmod(0o755)
    assert accelerator.jetson([str(tool), "-q"], tmp_path)[0].value == "power mode 25W"


def test_disks(tmp_path: Path) -> None:
    speed = disk.DiskSpeed(tmp_path, 100e6, 5.0, 500_000_000_000)
    assert disk.judge(speed, None).level == "ok"
    assert disk.judge(speed, 2e6).level == "ok"
    assert disk.judge(speed, 60e6).level == "warning"
    assert disk.judge(speed, 120e6).level == "error"
    assert "full in 8 min" in disk.judge(replace(speed, free_bytes=1_000_000_000), 2e6).why
    assert disk.judge(replace(speed, free_bytes=900_000_000), None).level == "warning"
    measured = disk.measure(tmp_path / "runs" / "new", 0.05)
    assert (measured.directory, measured.bytes_per_s > 1e6) == (tmp_path, True)
    assert not list(tmp_path.iterdir())
    assert disk.disk(Path("/proc/runs"), None).level == "error"


def test_a_recorder_says_its_directory_as_it_sees_it(tmp_path: Path) -> None:
    proc, work = tmp_path / "proc", tmp_path / "work"
    (work / "runs").mkdir(parents=True)
    for pid, folder in ((7, tmp_path), (8, work)):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "cwd").symlink_to(folder)
    found = among(participant(7), participant(8))
    assert disk.place(["runs"], found, proc) == work / "runs"
    assert disk.place(["/data/runs"], found, proc) == Path("/data/runs")
    assert disk.place(["elsewhere"], found, proc) is None


# -- software


def fake_package(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("body", "level", "said"),
    [
        ("class CvBridge:\n def cv2_to_imgmsg(s, *a): return 1\n def imgmsg_to_cv2(s, *a): pass\n", "ok", "converts"),
        ("raise ImportError('numpy.core.multiarray failed to import')\n", "error", "numpy.core.multiarray failed"),
        ("import os; os.abort()\n", "error", "ended by signal 6"),
    ],
)
def test_cv_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, level: str, said: str) -> None:
    fake_package(tmp_path, "cv_bridge", body, monkeypatch)
    finding = software.cv_bridge()
    assert (finding.level, said in finding.value) == (level, True), finding


def test_a_torch_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, "torch", "raise OSError('libcudart.so.12: cannot open')\n", monkeypatch)
    finding = software.torch("12.4", 1)
    assert (finding.level, "libcudart.so.12" in finding.value) == ("error", True)


def test_torch_against_the_driver() -> None:
    def level(said: dict[str, object], driver: str | None = "12.4", gpus: int = 1) -> str:
        return software.judge_torch({"torch": "2.6", **said}, "", driver, gpus).level

    works = {"cuda": "12.4", "available": True, "works": True, "device": "RTX"}
    assert level(works) == "ok"
    assert level({"cuda": None}, gpus=0) == "ok"
    assert level({"cuda": None}) == "warning"
    assert level({"cuda": "13.0", "available": False}) == "error"
    arches = {"cuda": "12.4", "available": True, "sm": "sm_120", "arches": ["sm_90"]}
    assert "no code for sm_120 (it has sm_90)" in software.judge_torch({"torch": "2", **arches}, "x", "12.8", 1).value


# -- the report


def test_the_exit_status() -> None:
    ok, warning, error = (Finding("qos", level, "x") for level in ("ok", "warning", "error"))  # type: ignore[arg-type]
    assert [exit_status(found) for found in ([], [ok], [ok, warning], [error, ok, warning])] == [0, 0, 1, 2]
    assert counted([ok, error, error]) == {"ok": 1, "warning": 0, "error": 2, "skipped": 0}


def test_a_report_of_80_columns_that_leaves_commands_whole() -> None:
    command = f"$ {'x' * 100}"
    found = [
        Finding("udp", "ok", "value " * 30),
        Finding("qos", "error", "value", "why " * 40, f"a sentence that is long enough to wrap {'a ' * 40}\n{command}"),
    ]
    lines = list(report.lines(found))
    assert [line for line in lines if len(line) > 80] == [f"                {command}"]
    assert lines[0] == "machine"
    assert any(line.startswith("  ERROR   qos           value") for line in lines)
    assert any(line.startswith("          fix: a sentence") for line in lines)
    assert lines[-1] == "1 ok, 0 warnings, 1 error, 0 not applicable here (-)"


def test_without_rclpy_the_graph_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    wanted = ("shared_memory", "transport", "allocator", "qos", "topics", "inputs", "clocks")
    seen = doctor.observe(wanted, 0.1)
    found = {finding.check: finding for finding in doctor.examine(wanted, seen, tmp_path, None)}
    assert list(found) == list(wanted)
    for check in ("qos", "topics", "inputs", "clocks"):
        assert found[check] == Finding(
            check, "skipped", "rclpy is not installed or sourced: the graph cannot be looked at"
        )
    assert found["shared_memory"].level != "skipped"


def test_every_check_is_in_a_group() -> None:
    assert set(CHECKS.values()) == {"machine", "software", "running nodes"}
