"""replay_node as a process of its own, over real DDS."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.cases import sampled
from support.processes import Process, Ros

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import BatteryState, Image, Imu
from std_msgs.msg import Header, Int32

from perf_inference.errors import EX_CONFIG
from perf_inference.nodes.images.converter import to_bgr
from perf_inference.nodes.ros.definitions import installed_definition
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.open import Bag, open_source

Start = Callable[..., Process]
MS = 1_000_000
EASY = qos_profile_sensor_data  # acknowledges nothing: for that, Fast DDS takes up to 3 s
LATCHED = "- {history: 1, depth: 1, reliability: 1, durability: 1}"


def make_bag(path: Path, messages: Sequence[tuple[int, str, Any]], qos: str = "") -> Path:
    """Write a rosbag2 sqlite3 file of (t_ns, topic, message or (type name, CDR))."""
    topics: dict[str, int] = {}
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name, type, serialization_format, offered_qos_profiles);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
        )
        for t_ns, topic, message in messages:
            if not isinstance(message, tuple):
                package, name = type(message).__module__.partition(".")[0], type(message).__name__
                message = f"{package}/msg/{name}", serialize_message(message)
            if topic not in topics:
                topics[topic] = len(topics) + 1
                database.execute(
                    "INSERT INTO topics VALUES(?, ?, ?, 'cdr', ?)", (topics[topic], topic, message[0], qos)
                )
            database.execute("INSERT INTO messages VALUES(NULL, ?, ?, ?)", (topics[topic], t_ns, message[1]))
        database.commit()
    return path


def numbers(path: Path, count: int, period_ms: float, topic: str = "x", qos: str = "") -> Path:
    return make_bag(path, [(round(n * period_ms * MS), topic, Int32(data=n)) for n in range(count)], qos)


def replay(start_node: Start, source: Path, *parameters: str) -> Process:
    args = [argument for parameter in parameters for argument in ("-p", parameter)]
    return start_node("replay_node", "-p", f"source:={source}", *args)


def fingerprint(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) for path in folder.iterdir()
    }


def arrives_whole(ros: Ros, start_node: Start, source: Path, original: Path) -> None:
    """Play `source`, made of the bag `original`; a subscriber hears the bag's bytes in the bag's order."""
    received: dict[str, list[bytes]] = {"/imu": [], "/battery": [], "/pose": []}
    for topic, kind in (("/imu", Imu), ("/battery", BatteryState), ("/pose", PoseStamped)):
        ros.node.create_subscription(kind, topic, received[topic].append, QoSProfile(depth=2000), raw=True)
    process = replay(start_node, source, "rate:=40.0", "exit_when_done:=true")
    assert ros.spin_until(lambda: sum(map(len, received.values())) >= 4695, 30.0), process.output()
    bag = open_source(original)
    assert isinstance(bag, Bag)
    recorded: dict[str, list[bytes]] = {topic: [] for topic in received}
    for message in bag.messages():
        recorded[message.topic].append(message.data)
    assert received == recorded
    assert process.wait() == 0
    assert "finished: 4695 messages (/battery 1565, /imu 1565, /pose 1565)" in process.output()
    assert "skipped" not in process.output()


def test_a_real_bag_arrives_whole_in_order_and_is_left_untouched(
    ros: Ros, start_node: Start, shared_data: Path
) -> None:
    source = shared_data / "bags" / "imu_battery_pose"
    before = fingerprint(source)
    arrives_whole(ros, start_node, source, source)
    assert fingerprint(source) == before


def test_a_recorders_directory_arrives_like_the_bag_that_it_was_made_of(
    ros: Ros, start_node: Start, shared_data: Path, tmp_path: Path
) -> None:
    original = shared_data / "bags" / "imu_battery_pose"
    bag = open_source(original)
    assert isinstance(bag, Bag)
    channels = {topic.name: Channel(topic, Codec(installed_definition(topic.type))) for topic in bag.topics}
    segment = Segment("test", 1, 1, {})
    with open(tmp_path / "topics_1.jsonl", "wb") as stream:
        stream.write(segment.header())
        for seq, message in enumerate(bag.messages(), 1):
            stream.write(segment.message(channels[message.topic], seq, message))
        stream.write(segment.footer())
    assert b',"cdr":' not in (tmp_path / "topics_1.jsonl").read_bytes(), "the bytes come from the fields"
    (tmp_path / "performance_timings_20261120_120000.jsonl").write_bytes(b'{"node":"a","seq":1}\n')
    before = fingerprint(tmp_path)
    arrives_whole(ros, start_node, tmp_path, original)
    assert fingerprint(tmp_path) == before


@pytest.mark.long
def test_a_burst_faster_than_any_reader_loses_nothing(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    messages = ros.collect(Int32, "x", QoSProfile(history=HistoryPolicy.KEEP_ALL))
    process = replay(start_node, numbers(tmp_path / "a.db3", 6000, 0.0), "exit_when_done:=true")
    assert ros.spin_until(lambda: len(messages) >= 6000, 30.0), process.output()
    assert [message.data for message in messages] == list(range(6000))
    assert process.wait() == 0


def test_images_come_with_their_names_at_their_rate(ros: Ros, start_node: Start, shared_data: Path) -> None:
    arrived: list[int] = []
    images: list[Image] = []

    def take(image: Image) -> None:
        arrived.append(time.monotonic_ns())
        images.append(image)

    ros.node.create_subscription(Image, "camera", take, EASY)
    process = start_node(
        "replay_node", "-r", "image:=camera", "-p", f"source:={shared_data / 'vision'}", "-p", "picture_hz:=2.0",
        "-p", "rate:=2.0", "-p", "loop:=true",
    )  # fmt: skip
    assert ros.spin_until(lambda: len(images) >= 4, 20.0), process.output()
    assert [image.header.frame_id for image in images[:4]] == ["dog", "person", "dog", "person"]
    for image, name in zip(images, ("dog.jpg", "person.jpg"), strict=False):
        assert np.array_equal(to_bgr(image), cv2.imread(str(shared_data / "vision" / name)))
        assert abs(image.header.stamp.sec - time.time()) < 60
    assert (arrived[3] - arrived[0]) / 3 / MS == pytest.approx(250, rel=0.3)
    assert process.stop() == 0
    assert "stopped: " in process.output()


def test_timing_is_the_recorded_one_times_the_rate(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    # t [ms]   0    100   200   300   400      at twice the rate: 200 ms in all
    arrived: list[int] = []
    ros.node.create_subscription(Int32, "x", lambda _: arrived.append(time.monotonic_ns()), EASY)
    process = replay(start_node, numbers(tmp_path / "a.db3", 5, 100.0), "rate:=2")
    assert ros.spin_until(lambda: len(arrived) == 5, 20.0), process.output()
    assert (arrived[4] - arrived[0]) / MS == pytest.approx(200, abs=60)
    process.wait_for("finished: 5 messages (/x 5)")
    assert process.alive, "it idles unless told to exit"


def test_restamp_and_clock(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    poses = [
        (n * 100 * MS, "/pose", PoseStamped(header=Header(stamp=Time(sec=7), frame_id=str(n)))) for n in range(1, 4)
    ]
    received, clock = ros.collect(PoseStamped, "pose"), ros.collect(Clock, "/clock", 100)
    process = replay(start_node, make_bag(tmp_path / "a.db3", poses), "restamp:=true", "clock:=true")
    assert ros.spin_until(lambda: len(received) == 3 and len(clock) > 3, 20.0), process.output()
    assert [pose.header.frame_id for pose in received] == ["1", "2", "3"]
    assert all(abs(pose.header.stamp.sec - time.time()) < 60 for pose in received)
    times = [message.clock.sec * 10**9 + message.clock.nanosec for message in clock]
    assert times == sorted(times)
    assert times[0] >= 100 * MS
    assert times[-1] <= 300 * MS


def test_without_restamp_the_stamps_are_the_recorded_ones_and_a_late_reader_hears_what_was_latched(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    bag = numbers(tmp_path / "a.db3", 3, 10.0, qos=LATCHED)
    process = replay(start_node, bag, "wait_for_subscribers:=false")
    process.wait_for("finished: 3 messages")
    late = ros.collect(Int32, "x", QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert ros.spin_until(lambda: len(late) == 3, 10.0), process.output()


@pytest.mark.thorough
def test_loop_begins_again(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    messages = ros.collect(Int32, "x", 100)
    process = replay(start_node, numbers(tmp_path / "a.db3", 2, 10.0), "loop:=true")
    assert ros.spin_until(lambda: len(messages) >= 4, 30.0), process.output()
    assert [message.data for message in messages[:4]] == [0, 1, 0, 1]
    assert process.stop() == 0


def test_it_waits_for_a_subscriber_and_says_for_which(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    process = replay(start_node, numbers(tmp_path / "a.db3", 3, 1.0))
    process.wait_for("waiting for a subscriber of /x")
    messages = ros.collect(Int32, "x", EASY)
    assert ros.spin_until(lambda: len(messages) == 3, 10.0), process.output()
    process.wait_for("finished: 3 messages")


def test_a_topic_that_cannot_be_played_is_named_and_the_rest_is_played(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    messages = [(0, "/odd", ("no_such_msgs/msg/Thing", b"\0\1\0\0")), (1, "/x", Int32(data=1))]
    received = ros.collect(Int32, "x", EASY)
    process = replay(start_node, make_bag(tmp_path / "a.db3", messages))
    assert ros.spin_until(lambda: len(received) == 1, 20.0), process.output()
    process.wait_for("finished: 1 messages")
    assert "/odd is not played (1 messages): message type no_such_msgs/msg/Thing is not installed" in process.output()


def test_a_damaged_image_is_skipped_by_name(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"not an image")
    cv2.imwrite(str(tmp_path / "2.png"), np.full((4, 6, 3), 200, np.uint8))
    images = ros.collect(Image, "image", EASY)
    process = replay(start_node, tmp_path, "picture_hz:=20.0")
    assert ros.spin_until(lambda: len(images) == 1, 20.0), process.output()
    assert images[0].header.frame_id == "2"
    process.wait_for("finished: 1 messages")
    assert f"skipped: {tmp_path / '1.jpg'} must be JPEG or PNG" in process.output()


@pytest.mark.parametrize(
    ("parameters", "message"),
    sampled(
        [
            ((), "parameter 'source' must name a recording or a folder of images, got nothing"),
            (("source:=/no/such/bag",), "there is nothing at '/no/such/bag'"),
            (("source:={tmp_path}", "clock:=true"), "clock needs a recording"),
            (("source:={tmp_path}", "rate:=0.0"), "parameter 'rate' of replay_node must be a number from"),
            (("source:={tmp_path}/bad.db3",), "bad.db3 must be a rosbag2 sqlite3 file, but cannot be read as one"),
        ],
        keep=2,
    ),
)
def test_bad_configuration_ends_the_start(
    start_node: Start, tmp_path: Path, parameters: tuple[str, ...], message: str
) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "bad.db3").write_bytes(b"x" * 4096)
    if "rate" in parameters[-1:] or "clock:=true" in parameters:
        (tmp_path / "bad.db3").unlink()
    args = [argument for text in parameters for argument in ("-p", text.format(tmp_path=tmp_path))]
    process = start_node("replay_node", *args)
    assert process.wait() == EX_CONFIG, process.output()
    assert message in process.output()
