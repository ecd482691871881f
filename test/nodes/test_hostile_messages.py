"""Messages that mean harm, over real DDS: counted, said once, shown in /diagnostics, and nobody dies of them."""

from __future__ import annotations

import json
import os
import platform
import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from support.processes import Process, Ros, wait_until

from perf_inference.nodes.recording import topics
from perf_inference.nodes.reports.episode import EPISODE_QOS
from perf_inference.nodes.reports.messages import WARN, from_key_values, level
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.recording.recorder.selection import Encodings, Selection

Start = Callable[..., Process]
QUIET = ("-p", "load_warn:=10000.0", "-p", "memory_warn_pct:=100.0")
# A node's own heartbeat as it should be; each hostile one differs from it.
GOOD: dict[str, str] = {
    "engine": "e", "driven_by": "tick", "inferences": "10", "rate_hz": "10.0", "expected_hz": "10.0",
    "deadline_ms": "100.0", "deadlines": "10", "deadline_misses": "0", "ledger.tick.received": "10",
    "input.image.topic": "/image", "input.image.problem": "null", "input.image.frame_rate_node": "30.0",
    "input.image.expected_frequency": "30.0", "ledger.image.received": "10",
}  # fmt: skip
NUMBERS = (
    "1e308", "-1e308", "99999999999999999999999", "-1", "0", "NaN", "Infinity", "1e-320", "null", "true", "", "x",
    "[1]", "{}", "\x1b[2J", "18446744073709551615",
)  # fmt: skip


def status(name: str, values: dict[str, str], **more: Any) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(**{"name": name, "hardware_id": "box/1", "message": "m", "values": pairs, **more})


def heartbeats() -> Iterator[DiagnosticStatus]:
    """Yield hostile heartbeats, each of a node of its own."""
    yield status("empty", {})
    yield status("", GOOD)
    yield status("level", GOOD, level=b"\xc8")
    yield status("no id", GOOD, hardware_id="")
    yield status("n" * 10_000, GOOD)
    yield status("long", {f"key{number}": "v" * 1000 for number in range(500)})
    yield status("many", {f"key{number}": "1" for number in range(5000)})
    for key in GOOD:
        yield status(f"without {key}", {k: v for k, v in GOOD.items() if k != key})
        for number, value in enumerate(NUMBERS):
            yield status(f"{key} {number}", {**GOOD, key: value})
    twice = status("twice", GOOD)
    twice.values = [*twice.values, *twice.values]
    yield twice


def late(missed: bool) -> Iterator[DiagnosticStatus]:
    """Yield the first or the second heartbeats of nodes with misses: what alarms is what is put into words."""
    counts = {"deadlines": "20", "deadline_misses": "10"} if missed else {}
    for number, value in enumerate(NUMBERS):
        yield status(f"late {number}", {**GOOD, **counts, "deadline_ms": value})


def timings() -> Iterator[DiagnosticStatus]:
    good = {
        "node": "t", "engine": "e", "precision": "p", "device": "d", "seq": "1", "received_ns": "5",
        "arrived_ns": "5", "infer_ms": "1.5", "latency_ms": "2.5", "dropped_before": "0", "warmup": "false",
    }  # fmt: skip
    yield status("t", {})
    for key in good:
        yield status("t", {k: v for k, v in good.items() if k != key})
        for number, value in enumerate(NUMBERS):
            yield status("t", {**good, "seq": str(100 + number), key: value})
    yield status("t", {**good, **{f"stage{number}_ms": "1.0" for number in range(900)}})
    twice = status("t", good)
    twice.values = [*twice.values, *twice.values]
    yield twice


EPISODE = {"index": 1, "state": "running", "started_ns": 1, "reached": 0, "finished": 0, "last": "", "last_s": 0.0}
EPISODES = (
    "", "x", "null", "[]", "{}", "1", "\x1b[2J", "[" * 100_000, json.dumps({**EPISODE, "more": 1}),
    json.dumps({**EPISODE, "state": "finished", "finished": 2**62}),
    *(json.dumps({**EPISODE, key: value}) for key in EPISODE
      for value in (None, "x", -1, 1.5, 1e308, 10**30, [], {}, True, "y" * 10_000)),
)  # fmt: skip
DETECTIONS = (
    "", "null", "[]", "{}", '{"detections": 1}', '{"detections": [1]}', '{"detections": [{"results": []}]}',
    '{"detections": {"a": 1}}', json.dumps({"detections": [{"results": [{"hypothesis": {"class_id": 5}}]}]}),
    json.dumps({"detections": [{"results": [{"hypothesis": {"class_id": "[/] [red]" * 1000}}]}] * 5000}),
)  # fmt: skip


class Sender:
    """Sends on a topic once the node under test listens."""

    def __init__(self, ros: Ros, message_type: Any, topic: str, qos: Any, readers: int = 1) -> None:
        self._ros, self._publisher = ros, ros.node.create_publisher(message_type, topic, qos)
        assert ros.spin_until(lambda: self._publisher.get_subscription_count() >= readers, 20), f"nobody reads {topic}"

    def __call__(self, *messages: Any) -> None:
        """Send, slowly enough that the reader's queue holds all."""
        for message in messages:
            self._publisher.publish(message)
            self._ros.spin_until(lambda: False, 0.005)


class Watcher:
    """The values of /diagnostics and of heartbeats, by name."""

    def __init__(self, ros: Ros) -> None:
        self.ros = ros
        self.beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        self.diagnostics = ros.collect(DiagnosticArray, "/diagnostics")

    def beat(self, name: str) -> dict[str, Any]:
        found = [beat for beat in self.beats if beat.name == name]
        return from_key_values(found[-1].values) if found else {}

    def shown(self, name: str) -> DiagnosticStatus | None:
        newest = self.diagnostics[-1].status if self.diagnostics else ()
        return next((one for one in newest if one.name == f"monitor_node: {name}"), None)

    def values(self, name: str) -> dict[str, Any]:
        found = self.shown(name)
        return from_key_values(found.values) if found is not None else {}


@pytest.fixture
def watcher(ros: Ros) -> Watcher:
    return Watcher(ros)


@pytest.mark.thorough
def test_the_monitor_lives_on_hostile_heartbeats(ros: Ros, watcher: Watcher, start_node: Start) -> None:
    monitor = start_node("monitor_node", *QUIET)
    send = Sender(ros, DiagnosticStatus, "inference/status", 1000, readers=2)
    assert ros.spin_until(lambda: watcher.shown("monitor_node/host"), 20), monitor.output()
    send(*heartbeats(), *late(False))
    assert ros.spin_until(lambda: watcher.shown("late 0/engine"), 20), monitor.output()
    send(*late(True))
    assert ros.spin_until(lambda: watcher.values("monitor_node/host").get("bad_messages"), 30)
    own = watcher.shown("monitor_node/host")
    assert own is not None
    assert (level(own), own.message.startswith("a heartbeat skipped: ")) == (WARN, True)
    assert watcher.values("monitor_node/host")["callback_errors"] == 0
    assert ros.spin_until(lambda: level(watcher.shown("late 0/engine")) == WARN, 30)  # type: ignore[arg-type]
    assert "came after their deadline" in watcher.shown("late 0/engine").message  # type: ignore[union-attr]
    assert monitor.output().count("a heartbeat skipped") == 1, "said once"
    seen = len(watcher.diagnostics)
    assert ros.spin_until(lambda: len(watcher.diagnostics) > seen + 2, 30), "and it goes on"
    assert "Traceback" not in monitor.output()
    assert monitor.stop() == 0


def test_two_processes_of_one_name_are_a_warning(ros: Ros, watcher: Watcher, start_node: Start) -> None:
    monitor = start_node("monitor_node", *QUIET)
    send = Sender(ros, DiagnosticStatus, "inference/status", 1000, readers=2)
    send(status("a", GOOD), status("a", GOOD, hardware_id="box/2"))
    assert ros.spin_until(lambda: watcher.shown("a/engine"), 20), monitor.output()
    assert "several processes" not in watcher.shown("a/engine").message, "a restart"  # type: ignore[union-attr]
    send(status("a", GOOD), status("a", GOOD, hardware_id="box/2"))
    assert ros.spin_until(lambda: level(watcher.shown("a/engine")) == WARN, 20)  # type: ignore[arg-type]
    assert watcher.shown("a/engine").message.startswith("several processes call themselves a")  # type: ignore[union-attr]


@pytest.mark.thorough
def test_the_recorder_lives_on_hostile_heartbeats_and_timings(
    ros: Ros, watcher: Watcher, start_node: Start, tmp_path: Path
) -> None:
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path}", "-p", "start_time:='20260102_030405'")
    send = Sender(ros, DiagnosticStatus, "inference/status", 1000, readers=2)
    time = Sender(ros, DiagnosticArray, "inference/timing", TIMING_QOS)
    send(*heartbeats())
    for hostile in timings():
        time(DiagnosticArray(status=[hostile]))
    last = {"node": "t", "seq": "7", "received_ns": "7", "infer_ms": "1.5"}
    time(DiagnosticArray(status=[status("t", {}), status("t", last)]))  # a bad one beside a good one
    send(status("t", {**GOOD, "inferences": "7"}, hardware_id=f"{platform.node()}/1"))  # one of this machine
    assert ros.spin_until(lambda: (watcher.beat("recorder_node").get("bad_messages") or 0) > 100, 20)
    assert watcher.beat("recorder_node")["callback_errors"] == 0
    assert watcher.beat("recorder_node")["failed"] == 0
    assert recorder.stop() == 0, recorder.output()
    assert [recorder.output().count(f"{what} skipped") for what in ("a heartbeat", "a timing")] == [1, 1]
    directory = tmp_path / "run_20260102_030405"
    summary = json.loads((directory / "performance_summary_20260102_030405.json").read_text())
    written = (directory / "performance_timings_20260102_030405.jsonl").read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert lines[-1] == {"node": "t", "seq": 7, "received_ns": 7, "infer_ms": 1.5}
    assert summary["nodes"]["t"]["recorded"] == len(lines)
    assert summary["nodes"]["t"]["counted"] >= 7
    assert json.loads((directory / "session.json").read_text())["counts"]["failed"] == 0


@pytest.mark.thorough
def test_ten_thousand_names_do_not_fill_the_memory(
    ros: Ros, watcher: Watcher, start_node: Start, tmp_path: Path
) -> None:
    nodes = [start_node("monitor_node", *QUIET), start_node("recorder_node", "-p", f"output_dir:={tmp_path}")]
    send = Sender(ros, DiagnosticStatus, "inference/status", 1000, readers=3)
    time = Sender(ros, DiagnosticArray, "inference/timing", TIMING_QOS)
    send(status("first", GOOD))
    assert ros.spin_until(lambda: watcher.shown("first/engine") and watcher.beat("recorder_node"), 20)
    before = [resident_mb(node.pid) for node in nodes]
    for number in range(10_000):
        send._publisher.publish(status(f"node_{number}", GOOD, hardware_id=f"box/{number}"))
        record = {"node": f"node_{number}", "seq": "1", "received_ns": "5"}
        time._publisher.publish(DiagnosticArray(status=[status(f"node_{number}", record)]))
        if number % 100 == 0:
            ros.spin_until(lambda: False, 0.1)
    send(status("first", {**GOOD, "inferences": "11"}))
    refused = ("monitor_node/host", "recorder_node/recorder")
    assert ros.spin_until(lambda: all((watcher.values(name).get("bad_messages") or 0) > 1000 for name in refused), 30)
    grown = [resident_mb(node.pid) - mb for node, mb in zip(nodes, before, strict=True)]
    print(f"after 10,000 names: monitor {grown[0]:+.1f} MB, recorder {grown[1]:+.1f} MB")
    assert max(grown) < 40
    assert watcher.values("monitor_node/host")["watched_nodes"] == 500
    assert ros.spin_until(lambda: watcher.values("first/engine").get("inferences") == 11, 30), (
        "the first keeps its place"
    )
    assert [node.stop() for node in nodes] == [0, 0]


def test_topics_without_end_are_not_recorded_without_end(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_MOST_TOPICS", 3)
    for number in range(9):
        ros.node.create_publisher(String, f"topic_{number}", 1)
    reader = rclpy.create_node("reader", context=ros.context)
    found = topics.RecordedTopics(reader, Selection(["/topic_*"]), Encodings(["json"]))
    assert wait_until(lambda: found.discover() or len(found.skipped) == 4)
    found.discover()
    assert (len(found), len(found.skipped)) == (3, 4)
    assert found.skipped["others"].startswith("over 3 topics are skipped")
    reader.destroy_node()


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.thorough
def test_the_simulated_camera_lives_on_hostile_episodes_and_joints(
    ros: Ros, watcher: Watcher, start_node: Start
) -> None:
    images = ros.collect(Image, "camera/image_raw", qos_profile_sensor_data)
    monitor = start_node("monitor_node", *QUIET)
    camera = start_node("sim_robot_node", "-p", "part:=camera", "-p", "camera_rate:=20.0", "-r", "__node:=sim_camera")
    episode = Sender(ros, String, "sim/episode", EPISODE_QOS)
    joints = Sender(ros, JointState, "joint_states", 100)
    episode(*(String(data=text) for text in EPISODES))
    for value in (float("nan"), float("inf"), 1e308, -1e308):
        joints(JointState(name=["shoulder", "elbow"], position=[value, value]), JointState(position=[0.5, value]))
    joints(
        JointState(), JointState(name=["shoulder"], position=[]), JointState(name=["elbow", "shoulder"], position=[0.0])
    )
    joints(JointState(name=["shoulder", "elbow"], position=[1.0, 1.5]))
    episode(String(data=json.dumps({**EPISODE, "index": 3})))
    assert ros.spin_until(lambda: (watcher.values("sim_camera/node").get("bad_messages") or 0) > 60, 20), (
        camera.output()
    )
    assert watcher.values("sim_camera/node")["callback_errors"] == 0, camera.output()
    seen = len(images)
    assert ros.spin_until(lambda: len(images) > seen + 20, 30), camera.output()
    assert camera.output().count("an episode skipped") == camera.output().count("joint_states skipped") == 1
    assert [node.stop() for node in (camera, monitor)] == [0, 0]


@pytest.mark.thorough
def test_the_simulated_arm_lives_on_hostile_actions(ros: Ros, watcher: Watcher, start_node: Start) -> None:
    states = ros.collect(String, "sim/episode", EPISODE_QOS)
    arm = start_node("sim_robot_node", "-p", "part:=arm", "-r", "__node:=sim_arm")
    act = Sender(ros, Float64MultiArray, "action", 10)
    nan, inf = float("nan"), float("inf")
    for number, values in enumerate(([nan, 0.0], [inf, -inf], [], [1.0], [1.0] * 3, [0.0] * 200_000), 1):
        act(Float64MultiArray(data=array("d", values)))
        assert ros.spin_until(lambda n=number: watcher.beat("sim_arm").get("bad_messages") == n, 20), arm.output()
    assert {json.loads(state.data)["state"] for state in states} == {"waiting"}, "no episode begins with them"
    act(Float64MultiArray(data=array("d", [1e308, -1e308])))  # clamped
    assert ros.spin_until(lambda: json.loads(states[-1].data)["state"] == "running", 30)
    assert watcher.beat("sim_arm")["callback_errors"] == 0
    assert arm.stop() == 0
    assert max(map(len, arm.output().splitlines())) < 1000


def garbage(message: Any, chance: random.Random) -> Iterator[bytes]:
    """Yield what is no serialized message, or another one: cut, mutated, with lengths that nobody has memory for."""
    whole = serialize_message(message)
    yield from (b"", b"\0", b"\0\1\0\0", b"\xff" * 64, whole[:4] + b"\xff\xff\xff\x7f" * 8)
    for _ in range(40):
        yield whole[: chance.randrange(len(whole))]
        mutated = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            mutated[chance.randrange(len(mutated))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        yield bytes(mutated)


def test_bytes_that_are_no_message_end_nobody(ros: Ros, watcher: Watcher, start_node: Start, tmp_path: Path) -> None:
    chance = random.Random(12)
    images = ros.collect(Image, "camera/image_raw", qos_profile_sensor_data)
    nodes = [
        start_node("monitor_node", *QUIET),
        start_node("recorder_node", "-p", f"output_dir:={tmp_path}"),
        start_node("sim_robot_node", "-p", "part:=all", "-p", "camera_rate:=20.0"),
    ]
    beat = status("n", GOOD)
    wanted = (
        (DiagnosticStatus, "inference/status", STATUS_QOS, 3, beat),
        (DiagnosticArray, "inference/timing", TIMING_QOS, 1, DiagnosticArray(status=[beat, beat])),
        (String, "sim/episode", EPISODE_QOS, 1, String(data=json.dumps(EPISODE))),
        (Float64MultiArray, "action", 10, 1, Float64MultiArray(data=array("d", [0.5, 0.5]))),
        (JointState, "joint_states", 10, 1, JointState(name=["shoulder", "elbow"], position=[1.0, 1.0])),
    )
    for kind, topic, qos, readers, message in wanted:
        send = Sender(ros, kind, topic, qos, readers)
        send(*garbage(message, chance))
        send(message)
    for name in ("monitor_node/host", "recorder_node/recorder", "sim_robot_node/node"):
        assert ros.spin_until(lambda n=name: watcher.shown(n), 20)
        print(f"{name}: {watcher.values(name)['bad_messages']} bad, {watcher.values(name)['callback_errors']} errors")
    seen, told = len(images), len(watcher.diagnostics)
    assert ros.spin_until(lambda: len(images) > seen + 5 and len(watcher.diagnostics) > told + 1, 20)
    assert max(resident_mb(node.pid) for node in nodes) < 600
    assert [node.stop() for node in nodes] == [0, 0, 0], [node.output() for node in nodes]


@pytest.mark.thorough
@pytest.mark.long
def test_the_demo_lives_on_all_of_them(
    ros: Ros, watcher: Watcher, start_command: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = start_command("demo", "--duration", "600")
    demo.wait_for("[ACTION #1]", 60)
    send = Sender(ros, DiagnosticStatus, "inference/status", 1000, readers=4)
    time = Sender(ros, DiagnosticArray, "inference/timing", TIMING_QOS, readers=2)
    episode = Sender(ros, String, "sim/episode", EPISODE_QOS, readers=3)
    detections = Sender(ros, String, "detections_json", 10, readers=2)
    caption = Sender(ros, String, "caption", 10, readers=2)
    send(*heartbeats())
    for hostile in timings():
        time(DiagnosticArray(status=[hostile]))
    episode(*(String(data=text) for text in EPISODES))
    detections(*(String(data=text) for text in DETECTIONS))
    caption(String(data="[/]" * 100_000))
    assert ros.spin_until(lambda: watcher.values("sim_camera/node").get("bad_messages"), 20), demo.output()
    said = demo.output().count("targets reached ")
    assert ros.spin_until(lambda: demo.output().count("targets reached ") > said + 1, 30), demo.output()
    assert demo.stop() == 0, demo.output()
    assert "Traceback" not in demo.output()
    assert wait_until(lambda: "recorded in " in demo.output())
    assert "restarted" not in demo.output()
    for what in ("a heartbeat", "a timing", "an episode", "detections"):
        assert f"{what} skipped: " in demo.output()
