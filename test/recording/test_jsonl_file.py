"""Segments of JSON lines as a source of messages, whole and otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.jsonl.line import sealed
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.open import Bag, open_source
from perf_inference.recording.qos import Qos

IMU = Topic("/imu", "sensor_msgs/msg/Imu", qos=(Qos(depth=5, durability="transient_local"),), type_hash="RIHS01_ab")
TEXT = Topic("/text", "std_msgs/msg/String")


def message(t_ns: int, topic: Topic = IMU, data: bytes = b"", **more: int) -> BagMessage:
    return BagMessage(t_ns, topic.name, topic.type, data or b"\0\1\0\0%d" % t_ns, **more)


def segment_lines(messages: Iterable[BagMessage], topics: Sequence[Topic] = (IMU, TEXT)) -> list[bytes]:
    """Return a whole segment: header, topics and messages, footer."""
    channels = {(topic.name, topic.type): Channel(topic, None) for topic in topics}
    segment = Segment("start", 1, 1, {})
    lines = [segment.header()]
    for seq, each in enumerate(messages, 1):
        lines += segment.message(channels[each.topic, each.type], seq, each).splitlines(keepends=True)
    return [*lines, segment.footer()]


def nested(topic: Topic) -> Channel:
    definition = topic.definition or builtin_definition(topic.type)
    assert definition is not None
    return Channel(replace(topic, definition=definition), Codec(definition))


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def test_topics_and_messages_come_back_as_they_were(tmp_path: Path) -> None:
    given = [message(10), message(20, TEXT, publish_ns=19, publish_seq=7), message(30)]
    file = JsonlFile(write(tmp_path / "topics_1.jsonl", *segment_lines(given)))
    assert [(t.name, t.type, t.count, t.encoding, t.qos, t.type_hash) for t in file.topics] == [
        ("/imu", "sensor_msgs/msg/Imu", 2, "cdr", IMU.qos, "RIHS01_ab"),
        ("/text", "std_msgs/msg/String", 1, "cdr", (), None),
    ]
    assert (file.start_ns, list(file.stored()), list(file.messages()), file.problems()) == (10, given, given, [])


@pytest.mark.parametrize("name", ["imu_battery_pose", "talker_mcap", "odometry_no_metadata"])
def test_nested_messages_give_the_bytes_of_the_bag_back(shared_data: Path, tmp_path: Path, name: str) -> None:
    bag = open_source(shared_data / "bags" / name)
    assert isinstance(bag, Bag)
    channels = {topic.name: nested(topic) for topic in bag.topics}
    segment = Segment("start", 1, 1, {})
    with open(tmp_path / "topics_1.jsonl", "wb") as stream:
        stream.write(segment.header())
        for seq, each in enumerate(bag.messages(), 1):
            stream.write(segment.message(channels[each.topic], seq, each))
        stream.write(segment.footer())
    text = (tmp_path / "topics_1.jsonl").read_bytes()
    assert text.count(b',"cdr":') <= bag.count / 10, "nearly all come from their fields"
    read = open_source(tmp_path)
    assert isinstance(read, Bag)
    assert list(read.messages()) == list(bag.messages())
    assert read.problems() == []


def test_a_message_that_does_not_fit_its_type_is_told(tmp_path: Path) -> None:
    channel = nested(TEXT)
    segment = Segment("start", 1, 1, {})
    good = segment.message(channel, 1, message(1, TEXT, b"\0\1\0\0\2\0\0\0a\0"))
    assert b'"message":{"data":"a"}' in good
    bad = sealed({"seq": 2, "t": 2, "topic": "/text", "stamp": None, "message": {"data": 7}})
    file = JsonlFile(write(tmp_path / "topics_1.jsonl", segment.header(), good, bad, segment.footer()))
    assert [m.data for m in file.stored()] == [b"\0\1\0\0\2\0\0\0a\0"]
    (said,) = file.problems()
    assert said.startswith("1 messages that cannot be read: ")


@pytest.mark.parametrize("frames", [1, 3])
def test_within_zstd_it_is_the_same(tmp_path: Path, frames: int) -> None:
    given = [message(n, data=bytes(range(256)) * 9) for n in range(1, 400)]
    text = b"".join(segment_lines(given))
    step = len(text) // frames + 1
    packed = [zstandard.compress(text[at : at + step]) for at in range(0, len(text), step)]
    assert len(packed) == frames
    file = JsonlFile(write(tmp_path / "topics_1.jsonl.zst", *packed))
    assert (list(file.messages()), file.problems()) == (given, [])


def test_messages_come_by_time_and_as_stored(tmp_path: Path) -> None:
    given = [message(t) for t in (5, 3, 9, 9, 1)]
    file = JsonlFile(write(tmp_path / "a.jsonl", *segment_lines(given)))
    assert [m.t_ns for m in file.stored()] == [5, 3, 9, 9, 1]
    assert [m.t_ns for m in file.messages()] == [1, 3, 5, 9, 9]
    assert file.start_ns == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_a_topic_that_was_written_after_the_other_is_played_with_it(tmp_path: Path, name: str) -> None:
    count = 5000
    given = [message(2 * n) for n in range(count)] + [message(2 * n + 1, TEXT) for n in range(count)]
    text = b"".join(segment_lines(given))
    file = JsonlFile(write(tmp_path / name, zstandard.compress(text) if name.endswith("zst") else text))
    assert list(file.messages()) == sorted(given, key=lambda m: m.t_ns)
    assert list(file.stored()) == given


def test_what_is_whole_of_a_damaged_file_is_played_by_time(tmp_path: Path) -> None:
    given = [message(t) for t in (40, 20, 30, 10)]
    head, topic, *rest = segment_lines(given, (IMU,))
    damaged = rest[1].replace(b'"t":20', b'"t":25')
    file = JsonlFile(write(tmp_path / "a.jsonl", head, topic, b"foreign", rest[0], damaged, rest[2], rest[3][:-1]))
    assert [m.t_ns for m in file.messages()] == [10, 30, 40]


def test_times_of_64_bits_come_back(tmp_path: Path) -> None:
    given = [message(t) for t in ((1 << 64) - 1, 5, -(1 << 63), 1 << 63)]
    file = JsonlFile(write(tmp_path / "a.jsonl", *segment_lines(given)))
    assert [m.t_ns for m in file.stored()] == [(1 << 64) - 1, 5, -(1 << 63), 1 << 63]
    assert [m.t_ns for m in file.messages()] == [-(1 << 63), 5, 1 << 63, (1 << 64) - 1]
    assert file.problems() == []


def test_a_topic_whose_type_changed_is_two_topics(tmp_path: Path) -> None:
    other = Topic("/imu", "std_msgs/msg/String")
    given = [message(1), message(2, other), message(3), message(4, other)]
    file = JsonlFile(write(tmp_path / "topics_1.jsonl", *segment_lines(given, (IMU, other))))
    assert list(file.stored()) == given
    assert [(topic.type, topic.count) for topic in file.topics] == [(IMU.type, 2), (other.type, 2)]
    bag = open_source(tmp_path)
    assert isinstance(bag, Bag)
    assert [(topic.type, topic.count) for topic in bag.topics] == [(IMU.type, 2), (other.type, 2)]


def test_segments_that_were_joined_are_read_on(tmp_path: Path) -> None:
    other = Topic("/imu", "std_msgs/msg/String")
    first, second = [message(1), message(2)], [message(3, other)]
    path = write(tmp_path / "a.jsonl", *segment_lines(first), *segment_lines(second, (other,)))
    assert list(JsonlFile(path).stored()) == [*first, *second]


def test_keys_in_another_order_are_read(tmp_path: Path) -> None:
    other = Topic("/imu", "std_msgs/msg/String")
    header, topic1, _, topic2, tagged, footer = segment_lines([message(1), message(2, other)], (IMU, other))
    record = orjson.loads(tagged)
    record.pop("crc")
    turned = sealed(dict(reversed(record.items())))
    assert turned.startswith(b'{"cdr":')
    file = JsonlFile(write(tmp_path / "a.jsonl", header, topic1, topic2, turned, footer))
    assert list(file.messages()) == [message(2, other)]


def test_what_is_not_whole_is_skipped_and_told(tmp_path: Path) -> None:
    header, topic, one, two, three, _ = segment_lines([message(1), message(2), message(3)])
    damaged = two.replace(b'"t":2', b'"t":3')
    path = write(tmp_path / "a.jsonl", b"hello\n", header, topic, b'{"x":1}\n', one, damaged, b"\0\xff\n", three[:-9])
    file = JsonlFile(path)
    assert list(file.messages()) == [message(1)]
    at = path.read_bytes().index(damaged)
    assert file.problems() == [
        "2 foreign lines (the first at byte 0: b'hello\\n')",
        f"2 damaged lines (the first at byte {at})",
        f"1 torn line (the first at byte {path.stat().st_size - len(three) + 9})",
    ]


def test_a_whole_line_within_a_damaged_one_is_read(tmp_path: Path) -> None:
    header, topic, one, two, three, footer = segment_lines([message(1), message(2), message(3)])
    glued = [one[:30], two, b"\0" * 100, three[:-1], b"\0", footer]
    file = JsonlFile(write(tmp_path / "a.jsonl", header, topic, *glued))
    assert list(file.messages()) == [message(2), message(3)]
    assert file.problems() == [f"3 damaged lines (the first at byte {len(header + topic)})"]


def test_messages_without_their_topic_record_or_contents_are_told(tmp_path: Path) -> None:
    header, _, one, footer = segment_lines([message(1)])
    stray = sealed({"seq": 2, "t": 2, "topic": "/text", "stamp": None})
    nothing = sealed({"seq": 3, "t": 3, "topic": "/text", "stamp": None, "cdr": "%"})
    text = segment_lines([message(1, TEXT)])[1]
    file = JsonlFile(write(tmp_path / "a.jsonl", header, text, one, stray, nothing, footer))
    assert list(file.messages()) == []
    assert file.problems()[:2] == [
        "1 messages of /imu whose topic record is lost",
        "1 messages that cannot be read: /text: a line must have message or cdr, but has none",
    ]
    assert "/text: cdr must be base64" in file.problems()[2]


def test_a_cut_zstd_file_gives_what_is_whole(tmp_path: Path) -> None:
    given = [message(n, data=(b"%d," % (n * 7919)) * 300) for n in range(1, 900)]
    text = b"".join(segment_lines(given))
    packed = zstandard.compress(text)
    file = JsonlFile(write(tmp_path / "topics_1.jsonl.zst", packed[: len(packed) * 3 // 4]))
    messages = list(file.messages())
    assert 0 < len(messages) < len(given)
    assert messages == given[: len(messages)]
    assert file.problems()[-1] == "the zstd file is cut off within the frame that begins at byte 0"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "must be a recording, but is empty"),
        (b"hello\nworld\n", r"no line of it is one of recorder_node: 2 foreign lines \(the first at byte 0: b'hello"),
        (b'{"seq":1,"t":2,"topic":"/x"}\n', "no line of it is one of recorder_node: 1 damaged line"),
        (bytes(3 << 20), "no line of it is one of recorder_node: 1 damaged line "),
    ],
)
def test_a_file_without_a_line_of_ours_is_refused(tmp_path: Path, text: bytes, error: str) -> None:
    for name in ("a.jsonl", "topics_1.jsonl"):
        with pytest.raises(RecordingError, match=error):
            JsonlFile(write(tmp_path / name, text))
    with pytest.raises(RecordingError, match=error):
        open_source(tmp_path)


def test_a_folder_has_the_segments_and_nothing_twice(tmp_path: Path) -> None:
    first, second = segment_lines([message(1)]), segment_lines([message(2)])
    write(tmp_path / "topics_1.jsonl", *first)
    write(tmp_path / "topics_1.jsonl.zst", zstandard.compress(b"".join(first)))
    write(tmp_path / "topics_2.jsonl.zst", zstandard.compress(b"".join(second)))
    write(tmp_path / "performance_timings_20261120_120000.jsonl", b'{"node":"a","seq":1}\n')
    write(tmp_path / "topics_2_recovered.jsonl", *second)
    bag = open_source(tmp_path)
    assert isinstance(bag, Bag)
    assert [m.t_ns for m in bag.messages()] == [1, 2]
    assert bag.problems() == []


def test_a_folder_without_segments_is_no_source(tmp_path: Path) -> None:
    write(tmp_path / "performance_timings_20261120_120000.jsonl", b'{"node":"a","seq":1}\n')
    with pytest.raises(ConfigError, match=r"source must be .*topics_<n>\.jsonl.* is performance_timings"):
        open_source(tmp_path)


def test_problems_name_the_file(tmp_path: Path) -> None:
    write(tmp_path / "topics_1.jsonl", *segment_lines([message(1)]), b"hello\n")
    bag: Any = open_source(tmp_path)
    assert bag.problems()[0].startswith("topics_1.jsonl: 1 foreign line (the first at byte ")
