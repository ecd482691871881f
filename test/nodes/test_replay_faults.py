"""What a subscriber hears of recordings that are odd: out of order, of another distribution, in part damaged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.processes import Process, Ros

pytest.importorskip("rclpy")

from mcap.writer import IndexType, Writer
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Range, Temperature
from std_msgs.msg import String

Start = Callable[..., Process]


def play(ros: Ros, start_node: Start, source: Path, kinds: dict[str, type], count: int, *parameters: str) -> Process:
    """Play a recording; return when the process has ended. What arrives is in `heard`."""
    qos = QoSProfile(depth=1000)
    for topic, kind in kinds.items():
        ros.node.create_subscription(kind, topic, partial(_hear, ros, topic, kind), qos, raw=True)
    given = [f"source:={source}", "exit_when_done:=true", *parameters]
    process = start_node("replay_node", *(word for one in given for word in ("-p", one)))
    ros.spin_until(lambda: len(heard(ros)) >= count and not process.alive, 30.0)
    return process


def _hear(ros: Ros, topic: str, kind: type, data: bytes) -> None:
    heard(ros).append((topic, deserialize_message(data, kind)))


def heard(ros: Ros) -> list[tuple[str, object]]:
    return ros.__dict__.setdefault("heard", [])


def test_an_unindexed_file_plays_by_log_time(ros: Ros, start_node: Start, shared_data: Path) -> None:
    source = shared_data / "faults" / "bags" / "unindexed_order" / "fastwrite_0.mcap"
    process = play(ros, start_node, source, {"/a": String, "/b": String}, 40)
    assert process.wait() == 0, process.output()
    order = [topic for topic, _ in heard(ros)]
    assert sorted(order) == ["/a"] * 20 + ["/b"] * 20
    for n in range(20):  # each pair has one log time: a reader may hear its two messages either way round
        assert sorted(order[2 * n : 2 * n + 2]) == ["/a", "/b"], order


@pytest.mark.parametrize("restamp", [pytest.param("false", marks=pytest.mark.thorough), "true"])
def test_a_topic_of_another_distribution_is_told_and_stops_no_other(
    ros: Ros, start_node: Start, shared_data: Path, restamp: str
) -> None:
    source = shared_data / "faults" / "bags" / "humble_range" / "humble_mixed"
    process = play(ros, start_node, source, {"/a": String, "/range": Range}, 10, f"restamp:={restamp}")
    assert process.wait() == 0, process.output()
    assert [topic for topic, _ in heard(ros)] == ["/a"] * 10
    lines = process.output().splitlines()
    (warned,) = [number for number, line in enumerate(lines) if "field variance is nothing there, float32 here" in line]
    assert "/range" in lines[warned]
    assert "sensor_msgs/msg/Range" in lines[warned]
    assert warned < next(number for number, line in enumerate(lines) if "finished: 10 messages" in line)
    assert "skipped 7" in process.output()


@pytest.mark.parametrize("restamp", [pytest.param("false", marks=pytest.mark.thorough), "true"])
def test_one_message_that_is_cut_is_skipped_and_counted(
    ros: Ros, start_node: Start, shared_data: Path, restamp: str
) -> None:
    source = shared_data / "faults" / "bags" / "restamp_one_bad_message" / "cutmsg_0.mcap"
    process = play(ros, start_node, source, {"/t": Temperature}, 5, f"restamp:={restamp}")
    assert process.wait() == 0, process.output()
    messages = [message for _, message in heard(ros)]
    assert [message.temperature for message in messages] == [20.0, 21.0, 23.0, 24.0, 25.0]
    recorded = [
        message.header.stamp.sec == 1700000000 + n for message, n in zip(messages, (0, 1, 3, 4, 5), strict=True)
    ]
    assert recorded == [restamp == "false"] * 5
    assert all(message.header.frame_id == "ab" and message.variance == 0.1 for message in messages)
    assert "finished: 5 messages (/t 5)" in process.output()
    assert "skipped 1 (1 of /t: " in process.output()


@pytest.mark.parametrize("name", ["split_db3", pytest.param("split_zero", marks=pytest.mark.thorough)])
def test_a_split_bag_whose_last_file_was_not_finished_plays_the_others(
    ros: Ros, start_node: Start, shared_data: Path, name: str
) -> None:
    source = shared_data / "faults" / "bags" / "last_file_unfinished" / name
    (topic,) = {topic.name for topic in _topics(source)}
    process = play(ros, start_node, source, {topic: String}, 10)
    assert process.wait() == 3, process.output()
    assert len(heard(ros)) == 10
    assert "s_2." in process.output(), "the file that is not played is named"


def _topics(source: Path) -> list[object]:
    from perf_inference.recording.open import Bag, open_source

    bag = open_source(source)
    assert isinstance(bag, Bag)
    return bag.topics


def test_a_history_beyond_what_rclpy_takes_is_clamped(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    qos = "- {history: 1, depth: 99999999999, reliability: 1, durability: 1}"
    with open(tmp_path / "a.mcap", "wb") as stream:
        writer = Writer(stream, use_chunking=False, index_types=IndexType.NONE)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/x", "cdr", schema, {"offered_qos_profiles": qos})
        for number in range(3):
            writer.add_message(channel, number, b"\0\1\0\0\2\0\0\0%d\0" % number, number)
        writer.finish()
    process = play(ros, start_node, tmp_path / "a.mcap", {"/x": String}, 3)
    assert process.wait() == 0, process.output()
    assert [message.data for _, message in heard(ros)] == ["0", "1", "2"]
    assert "99999999999" in process.output()
