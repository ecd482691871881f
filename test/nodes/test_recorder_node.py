"""recorder_node as a process of its own, over real DDS."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.pace import start_s
from support.processes import Process, Ros, wait_until

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import WrenchStamped
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Int32, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from perf_inference.errors import EX_CONFIG
from perf_inference.nodes.reports.messages import OK, from_key_values, key_values, level, timing_status
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS

START = "20260102_030405"
Start = Callable[..., Process]


class Run:
    """A recorder and the directory that it writes."""

    def __init__(self, start_node: Start, tmp_path: Path, *args: str, env: dict[str, str] | None = None) -> None:
        self._start = lambda: start_node(
            "recorder_node", "-p", f"output_dir:={tmp_path}", "-p", f"start_time:='{START}'", *args, env=env
        )
        self.directory = tmp_path / f"run_{START}"
        self.process = self._start()
        self.process.wait_for("recording into")

    def restart(self) -> None:
        self.process = self._start()
        self.process.wait_for("recording into")

    def lines(self, name: str) -> list[Any]:
        """Return the records of a file; the last line may be torn."""
        whole, _, _ = (self.directory / name).read_bytes().rpartition(b"\n")
        return [orjson.loads(line) for line in whole.splitlines()]

    def topics(self, number: int = 1) -> list[Any]:
        """Return the messages of a segment."""
        return [record for record in self.lines(f"topics_{number}.jsonl") if "record" not in record]

    def said(self, kind: str, number: int = 1) -> list[Any]:
        """Return the other lines of a kind: header, topic, drops, footer."""
        return [record for record in self.lines(f"topics_{number}.jsonl") if record.get("record") == kind]

    @property
    def timings(self) -> list[Any]:
        return self.lines(f"performance_timings_{START}.jsonl")

    def document(self, name: str) -> Any:
        return orjson.loads((self.directory / name).read_bytes())

    @property
    def summary(self) -> Any:
        return self.document(f"performance_summary_{START}.json")


def matched(ros: Ros, *publishers: Any) -> bool:
    return ros.spin_until(lambda: all(publisher.get_subscription_count() for publisher in publishers), 20.0)


def joint_state(number: int) -> JointState:
    message = JointState(name=["a", "b"], position=[float(number), float("nan")], velocity=[float("inf"), 0.1])
    message.header.stamp.sec, message.header.frame_id = number + 1, "base"
    return message


def timing_array(node: str, first: int, last: int, **extra: Any) -> DiagnosticArray:
    statuses = []
    for seq in range(first, last + 1):
        record = {"node": node, "engine": "e", "precision": "fp32", "device": "cpu", "seq": seq,
                  "received_ns": 10**18 + seq * 10**8, "infer_ms": 1.5, "latency_ms": 2.5, **extra}  # fmt: skip
        statuses.append(timing_status(record, "host/1"))
    return DiagnosticArray(status=statuses)


def heartbeat(node: str, inferences: int) -> DiagnosticStatus:
    values = {"inferences": inferences, "ledger.image.received": inferences, "ledger.image.residual": 0}
    return DiagnosticStatus(level=OK, name=node, hardware_id="host/1", values=key_values(values))


def test_topics_become_lines_in_order_with_all_fields(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    reliable = ros.node.create_publisher(JointState, "joint_states", 10)
    best_effort = ros.node.create_publisher(WrenchStamped, "force", qos_profile_sensor_data)
    image = ros.node.create_publisher(Image, "image", 10)
    latched_qos = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    ros.node.create_publisher(String, "description", latched_qos).publish(String(data="said before the recorder came"))
    run = Run(start_node, tmp_path)
    assert matched(ros, reliable, best_effort)
    for number in range(300):
        reliable.publish(joint_state(number))
    best_effort.publish(WrenchStamped())
    assert wait_until(lambda: len(run.topics()) == 302), len(run.topics())
    assert image.get_subscription_count() == 0, "images only by name"
    assert run.process.stop() == 0

    records = run.topics()
    assert [record["seq"] for record in records] == list(range(1, 303))
    assert {record["topic"] for record in records} == {"/joint_states", "/force", "/description"}, (
        "and nothing of its own"
    )
    assert abs(records[0]["t"] - time.time_ns()) < 60e9
    states = [record for record in records if record["topic"] == "/joint_states"]
    assert [record["message"]["position"][0] for record in states] == list(range(300))
    fifth = {key: value for key, value in states[4].items() if key not in ("seq", "t", "crc")}
    publish_t, publish_seq = fifth.pop("publish_t"), fifth.pop("publish_seq", None)
    assert 0 <= states[4]["t"] - publish_t < 10e9
    assert publish_seq in (5, None), "None: this rclpy cannot know"
    assert fifth == {
        "topic": "/joint_states",
        "stamp": 5_000_000_000,
        "message": {
            "header": {"stamp": {"sec": 5, "nanosec": 0}, "frame_id": "base"},
            "name": ["a", "b"],
            "position": [4.0, "NaN"],
            "velocity": ["Infinity", 0.1],
            "effort": [],
        },
    }
    (header,), (footer,) = run.said("header"), run.said("footer")
    assert (header["first_seq"], header["parameters"]["topics"]) == (1, ["all"])
    assert (footer["records"], footer["last_seq"]) == (302, 302)
    topics = {topic["topic"]: topic for topic in run.said("topic")}
    assert {name: topic["type"] for name, topic in topics.items()} == {
        "/joint_states": "sensor_msgs/msg/JointState",
        "/force": "geometry_msgs/msg/WrenchStamped",
        "/description": "std_msgs/msg/String",
    }
    joint_states = topics["/joint_states"]
    assert joint_states["definition"]["text"].count("MSG: std_msgs/Header") == 1
    assert joint_states["type_hash"].startswith("RIHS01_")
    assert joint_states["qos"][0]["reliability"] == "reliable"
    assert topics["/force"]["qos"][0]["reliability"] == "best_effort"
    assert topics["/description"]["qos"][0]["durability"] == "transient_local"
    about = run.document("session.json")
    counts = about["counts"]["topics"]["/joint_states"]
    assert counts.pop("lost_before") in (0, None), "None: this rclpy cannot know"
    assert counts == {"type": "sensor_msgs/msg/JointState", "records": 300, "dropped": 0}
    assert (about["counts"]["records"], about["counts"]["dropped"]) == (302, 0)
    assert about["parameters"]["topics"] == ["all"]
    output = run.process.output()
    assert str(run.directory) in output
    assert "Auto-saved 10 records" in output
    assert "Saving final " in output


@pytest.mark.timing
def test_every_timing_is_recorded_once_and_the_end_comes_within_a_second(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    timing = ros.node.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
    status = ros.node.create_publisher(DiagnosticStatus, "inference/status", STATUS_QOS)
    timing.publish(timing_array("policy", 1, 50, robot_fill=65))  # before the recorder is there
    run = Run(start_node, tmp_path)
    assert matched(ros, timing, status)
    timing.publish(timing_array("policy", 51, 500, robot_fill=65))
    timing.publish(timing_array("policy", 400, 450, robot_fill=65))  # delivered twice
    timing.publish(timing_array("yolo", 1, 3))
    status.publish(heartbeat("policy", 500))
    assert wait_until(lambda: len(run.timings) >= 40)
    timing.publish(timing_array("policy", 501, 700, robot_fill=65))
    status.publish(heartbeat("policy", 700))
    begun = time.monotonic()
    assert run.process.stop(signal.SIGINT) == 0
    took_s, limit_s = time.monotonic() - begun, max(1.0, 4 * start_s())
    assert took_s < limit_s, f"ended in {took_s:.2f} s, where {limit_s:.2f} s is a second of an idle machine"

    policy = [record["seq"] for record in run.timings if record["node"] == "policy"]
    assert policy == list(range(1, 701))
    assert len(run.timings) == 703
    assert run.timings[0] == {
        "node": "policy", "engine": "e", "precision": "fp32", "device": "cpu", "seq": 1, "received_ns": 10**18 + 10**8,
        "infer_ms": 1.5, "latency_ms": 2.5, "robot_fill": 65,
    }  # fmt: skip
    summary = run.summary
    assert (summary["total_actions"], summary["elapsed_s"], summary["average_hz"]) == (700, 69.9, 10.0)
    assert summary["nodes"]["policy"]["counted"] == summary["nodes"]["policy"]["recorded"] == 700
    assert summary["nodes"]["policy"]["latency_ms"]["p99"] == 2.5
    assert summary["nodes"]["policy"]["ledger"] == {"image": {"received": 700, "residual": 0}}
    assert summary["nodes"]["yolo"]["recorded"] == 3
    assert run.document("session.json")["counts"]["duplicate_timings"] == 51


def test_what_was_acknowledged_is_recorded_when_its_publisher_has_left_before_the_end(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    timing = ros.node.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
    run = Run(start_node, tmp_path)
    assert matched(ros, timing)
    timing.publish(timing_array("yolo", 1, 3))
    assert ros.spin_until(lambda: timing.wait_for_all_acked(Duration()))
    ros.node.destroy_publisher(timing)
    assert wait_until(lambda: ros.node.count_publishers("inference/timing") == 1), "the recorder's own"
    assert run.process.stop() == 0
    assert [record["seq"] for record in run.timings] == [1, 2, 3]


@pytest.mark.long
def test_kill_9_tears_no_line_and_the_next_recorder_goes_on(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    timing = ros.node.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
    states = ros.node.create_publisher(JointState, "joint_states", 1000)
    run = Run(start_node, tmp_path)
    assert matched(ros, timing, states)
    sent = 0

    def send_until_recorded() -> bool:
        nonlocal sent
        for _ in range(20):
            states.publish(joint_state(sent))
            sent += 1
            timing.publish(timing_array("yolo", sent, sent))
        return len(run.topics()) > 200

    assert ros.spin_until(send_until_recorded, 20.0)
    run.process.stop(signal.SIGKILL)
    data = (run.directory / "topics_1.jsonl").read_bytes()
    for line in data.splitlines()[:-1]:
        orjson.loads(line)
    positions = [record["message"]["position"][0] for record in run.topics()]
    assert positions == list(range(len(positions))), "nothing is missing before the end"

    run.restart()
    assert wait_until(lambda: len(run.timings) >= sent - 9), "1000 timings are kept for a late joiner"
    assert run.process.stop() == 0
    assert [record["seq"] for record in run.timings] == list(range(1, sent + 1)), "none lost, none twice"
    assert run.summary["nodes"]["yolo"]["recorded"] == sent
    assert sorted(path.name for path in run.directory.glob("topics_*")) == ["topics_1.jsonl", "topics_2.jsonl"]


def test_pause_resume_and_split(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    publisher = ros.node.create_publisher(Int32, "x", 10)
    run = Run(start_node, tmp_path)
    assert matched(ros, publisher)

    def call(name: str) -> None:
        assert ros.call(Trigger, f"recorder_node/{name}", Trigger.Request()).success

    publisher.publish(Int32(data=1))
    assert wait_until(lambda: len(run.topics()) == 1)
    call("pause")
    publisher.publish(Int32(data=2))
    call("resume")
    publisher.publish(Int32(data=3))
    call("split")
    publisher.publish(Int32(data=4))
    assert wait_until(lambda: len(run.topics(2)) == 1)
    assert run.process.stop() == 0
    assert [record["message"]["data"] for record in run.topics(1)] == [1, 3]
    assert [(record["seq"], record["message"]["data"]) for record in run.topics(2)] == [(3, 4)]


def test_only_what_is_asked_for(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    publishers = [
        ros.node.create_publisher(kind, name, 10)
        for kind, name in ((Image, "camera/image_raw"), (Int32, "arm/a"), (Int32, "arm/b"), (Int32, "other"))
    ]
    run = Run(start_node, tmp_path, "-p", "topics:=['camera/image_raw','arm/*']", "-p", "exclude:=['arm/b']")
    assert matched(ros, *publishers[:2])
    publishers[0].publish(Image(height=1, width=1, encoding="bgr8", step=3, data=b"abc"))
    publishers[1].publish(Int32(data=1))
    assert wait_until(lambda: len(run.topics()) == 2)
    assert [publisher.get_subscription_count() for publisher in publishers[2:]] == [0, 0]
    assert run.process.stop() == 0
    images = [record for record in run.topics() if record["topic"] == "/camera/image_raw"]
    assert images[0]["message"]["data"] == {"dtype": "|u1", "base64": "YWJj"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # rclpy reports a mismatch with a call of its own
@pytest.mark.long
def test_a_weaker_publisher_that_comes_later_is_heard_too(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    kept = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    strong = ros.node.create_publisher(Int32, "x", kept)
    run = Run(start_node, tmp_path)
    assert matched(ros, strong)
    strong.publish(Int32(data=1))
    volatile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    weak = ros.node.create_publisher(Int32, "x", volatile)
    assert matched(ros, weak)
    weak.publish(Int32(data=2))
    assert wait_until(lambda: len(run.topics()) == 2)
    strong.publish(Int32(data=3))
    assert wait_until(lambda: len(run.topics()) == 3)
    assert run.process.stop() == 0
    assert [record["message"]["data"] for record in run.topics()] == [1, 2, 3]


def test_a_type_that_is_not_installed_and_two_types_on_a_topic_are_named(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden" / "trajectory_msgs"  # stands before the real package, and has no messages
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    ros.node.create_publisher(JointTrajectory, "plan", 10)
    publisher = ros.node.create_publisher(Int32, "x", 10)
    run = Run(start_node, tmp_path / "runs", env={"PYTHONPATH": str(hidden.parent)})
    assert matched(ros, publisher)
    other = Ros()
    other.node.create_publisher(String, "x", 10)
    run.process.wait_for("topic /x has several types; only std_msgs/msg/Int32 is recorded")
    run.process.wait_for("message type trajectory_msgs/msg/JointTrajectory is not installed here")
    publisher.publish(Int32(data=1))
    assert wait_until(lambda: len(run.topics()) == 1)
    other.close()
    assert run.process.stop() == 0
    assert set(run.document("session.json")["counts"]["skipped"]) == {"/plan", "/x [std_msgs/msg/String]"}
    assert run.process.output().count("is not installed here") == 1, "warned about once"


@pytest.mark.long
def test_a_disk_that_refuses_is_an_error_in_the_heartbeat_and_the_node_lives(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    directory = tmp_path / f"run_{START}"
    directory.mkdir()
    (directory / f"performance_timings_{START}.jsonl").symlink_to("/dev/full")
    timing = ros.node.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
    publisher = ros.node.create_publisher(Int32, "x", 10)
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    run = Run(start_node, tmp_path)
    assert matched(ros, timing, publisher)
    assert ros.spin_until(lambda: any(level(beat) == DiagnosticStatus.OK for beat in beats))
    timing.publish(timing_array("yolo", 1, 20))
    assert ros.spin_until(lambda: level(beats[-1]) == DiagnosticStatus.ERROR), beats[-1]
    assert "cannot be written: No space left on device" in beats[-1].message
    values = from_key_values(beats[-1].values)
    assert values["directory"] == str(directory)
    assert values["last_error"] == beats[-1].message
    publisher.publish(Int32(data=1))
    assert wait_until(lambda: len(run.topics()) == 1), "what can be written is"
    assert run.process.stop() == 0
    assert "the last records are lost" in run.process.output()


def test_an_unwritable_directory_ends_the_start(start_node: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = start_node("recorder_node", "-p", f"output_dir:={tmp_path / 'file'}")
    assert process.wait() == EX_CONFIG
    assert f"output_dir must be a directory that can be written, got '{tmp_path / 'file'}'" in process.output()


@pytest.mark.thorough
def test_a_node_that_is_there_and_not_heard_is_told_of(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    publisher = ros.node.create_publisher(DiagnosticStatus, "inference/status", STATUS_QOS)
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path}", "-p", "start_time:='20260102_030405'")

    def newest() -> DiagnosticStatus | None:
        return next((beat for beat in reversed(beats) if beat.name == "recorder_node"), None)

    def says(text: str) -> bool:
        found = newest()
        return found is not None and found.message == text

    assert ros.spin_until(lambda: says("not heard, hence not recorded: test"), 30), recorder.output()
    publisher.publish(heartbeat("test", inferences=1))
    assert ros.spin_until(lambda: says("recording"), 30)
    assert from_key_values(newest().values)["unheard_s"] > 0  # type: ignore[union-attr, operator]
    assert recorder.stop() == 0
    session = orjson.loads((tmp_path / "run_20260102_030405" / "session.json").read_bytes())
    assert session["counts"]["unheard_s"] > 0
