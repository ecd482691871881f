"""The recorder's parts that know no ROS: writer, session, summary, selection, and the sources to play back."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.measure.heartbeat import Heartbeat
from perf_inference.recording.open import Bag, ImageFolder, open_source
from perf_inference.recording.qos import Qos, Span, format_qos, parse_qos
from perf_inference.recording.recorder.selection import Encodings, Selection
from perf_inference.recording.recorder.session import Session, replace_json
from perf_inference.recording.recorder.summary import Summary

MS = 1_000_000


# --- session and summary


def test_a_session_names_its_files(tmp_path: Path) -> None:
    session = Session(str(tmp_path / "runs"), "lab", "20260102_030405", {"topics": ("all",)})
    assert session.directory == tmp_path / "runs" / "lab_20260102_030405"
    assert session.timings.name == "performance_timings_20260102_030405.jsonl"
    assert session.summary.name == "performance_summary_20260102_030405.json"
    about = orjson.loads((session.directory / "session.json").read_bytes())
    assert about["format_version"] == 2
    assert about["gpu"] is None
    assert about["parameters"] == {"topics": ["all"]}
    assert about["host"]["cores"] >= 1
    assert about["software"]["perf_inference"]
    assert session.next_topics().name == "topics_1.jsonl"
    (session.directory / "topics_9.jsonl").touch()
    assert session.next_topics().name == "topics_10.jsonl"
    session.describe({"records": 7})
    assert orjson.loads((session.directory / "session.json").read_bytes())["counts"] == {"records": 7}
    assert sorted(os.listdir(session.directory)) == ["session.json", "topics_9.jsonl"], "no temporary file is left"


@pytest.mark.parametrize(
    ("session", "start_time", "message"),
    [("run", "today", "start_time must be YYYYmmdd_HHMMSS"), ("../x", "", "session must be a name")],
)
def test_a_bad_name_is_refused(tmp_path: Path, session: str, start_time: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Session(str(tmp_path), session, start_time, {})


def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"output_dir must be a directory that can be written, got '.*/file': Not a dir"
    ):
        Session(str(tmp_path / "file"), "run", "", {})


def timing(node: str, seq: int, received_ms: float, latency_ms: float | None, **extra: float) -> dict[str, Any]:
    received_ns = round(received_ms * MS)
    return {"node": node, "seq": seq, "received_ns": received_ns, "infer_ms": 2.0, "latency_ms": latency_ms, **extra}


def said(**values: int | None) -> Heartbeat:
    return Heartbeat.of({key.replace("__", "."): value for key, value in values.items()})


def test_the_summary_counts_actions_rates_and_what_the_nodes_counted_themselves() -> None:
    # t [ms]   0    100   200   300   400
    # policy   1     2     2'    3     4        2' is a second delivery
    # yolo        1                2
    summary = Summary()
    for seq, received in ((1, 0), (2, 100), (2, 100), (3, 300), (4, 400)):
        summary.timing(timing("policy", seq, received, 5.0, robot_fill=65))
    for seq, received in ((1, 50), (2, 350)):
        summary.timing(timing("yolo", seq, received, None))
    summary.heartbeat("policy", "host/1", said(inferences=1, ledger__tick__received=9, ledger__tick__residual=0))
    summary.heartbeat("policy", "host/2", said(inferences=3, ledger__tick__received=4, ledger__image__lost_before=None))
    summary.heartbeat("recorder", "host/3", said(records=5))
    result = summary.as_dict()
    assert (result["total_actions"], result["elapsed_s"], result["average_hz"]) == (4, 0.4, 7.5)
    assert sorted(result["nodes"]) == ["policy", "yolo"]
    policy, yolo = result["nodes"]["policy"], result["nodes"]["yolo"]
    assert (policy["inferences"], policy["recorded"], policy["counted"], policy["hz"]) == (4, 4, 4, 7.5)
    assert policy["latency_ms"] == {"mean": 5.0, "p50": None, "p90": None, "p99": None, "max": 5.0, "n": 4}
    assert policy["stages_ms"]["infer"]["mean"] == 2.0
    assert policy["ledger"] == {"tick": {"received": 4}, "image": {"lost_before": None}}
    assert (yolo["recorded"], yolo["counted"], yolo["latency_ms"]["n"]) == (2, None, 0)
    assert summary.duplicates == 1


def test_without_a_policy_the_average_is_that_of_all() -> None:
    summary = Summary()
    assert summary.as_dict() == {"total_actions": 0, "elapsed_s": 0.0, "average_hz": None, "nodes": {}}
    for seq in (1, 2, 3):
        summary.timing(timing("yolo", seq, seq * 500, 1.0))
    assert {k: v for k, v in summary.as_dict().items() if k != "nodes"} == {
        "total_actions": 0, "elapsed_s": 1.0, "average_hz": 2.0,
    }  # fmt: skip


def test_a_restarted_recorder_goes_on_where_the_last_one_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "timings.jsonl"
    path.write_bytes(orjson.dumps(timing("yolo", 1, 100, 1.0)) + b'\nforeign\n{"a":1}\n')
    summary = Summary()
    summary.restore(path)
    assert not summary.timing(timing("yolo", 1, 100, 1.0))
    assert summary.timing(timing("yolo", 1, 900, 1.0)), "seq 1 of the node's next start"
    assert summary.as_dict()["nodes"]["yolo"]["recorded"] == 2


def test_a_reader_of_the_summary_never_sees_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    replace_json(path, {"n": 0})
    inode = path.stat().st_ino
    replace_json(path, {"n": 1})
    assert path.stat().st_ino != inode, "written beside it and renamed"
    with pytest.raises(IsADirectoryError):
        replace_json(tmp_path, {})


# --- which topics


IMAGE = "sensor_msgs/msg/Image"


@pytest.mark.parametrize(
    ("topics", "exclude", "namespace", "topic", "type_name", "wanted"),
    [
        (("all",), (), "/", "/joint_states", "sensor_msgs/msg/JointState", True),
        (("all",), (), "/", "/image", IMAGE, False),
        (("all", "image"), (), "/", "/image", IMAGE, True),
        (("cam*/*",), (), "/", "/camera/image_raw", IMAGE, True),
        (("all",), (), "/", "/rosout", "rcl_interfaces/msg/Log", False),
        (("/rosout",), (), "/", "/rosout", "rcl_interfaces/msg/Log", True),
        (("all",), (), "/", "/move/_action/status", "x/msg/Y", False),
        (("all",), ("joint*",), "/", "/joint_states", "sensor_msgs/msg/JointState", False),
        (("force",), (), "/", "/joint_states", "sensor_msgs/msg/JointState", False),
        (("all",), (), "/left", "/left/force", "x/msg/Y", True),
        (("all",), (), "/left", "/right/force", "x/msg/Y", False),
        (("all",), (), "/left", "/diagnostics", "x/msg/Y", True),
        (("force",), (), "/left", "/left/force", "x/msg/Y", True),
        (("/right/force",), (), "/left", "/right/force", "x/msg/Y", True),
    ],
)
def test_selection(
    topics: tuple[str, ...], exclude: tuple[str, ...], namespace: str, topic: str, type_name: str, wanted: bool
) -> None:
    assert Selection(topics, exclude, namespace, only_by_name=("/rosout",)).wants(topic, type_name) is wanted


@pytest.mark.parametrize(
    ("entries", "topic", "nested"),
    [
        ((), "/left/x", True),
        (("json",), "/left/x", True),
        (("cdr",), "/left/x", False),
        (("cdr", "camera/*=json"), "/left/camera/image", True),
        (("cdr", "camera/*=json"), "/right/camera/image", False),
        (("/right/*=cdr", "json"), "/right/x", True),
        (("a=b=cdr",), "/left/a=b", False),
    ],
)
def test_encodings(entries: tuple[str, ...], topic: str, nested: bool) -> None:
    assert Encodings(entries, "/left").nested(topic) is nested


def test_an_encoding_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"encoding must be a list of 'json', 'cdr', .* got '/camera=xml'"):
        Encodings(("/camera=xml",))


# --- sources


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def open_bag(path: Path) -> Bag:
    source = open_source(path)
    assert isinstance(source, Bag)
    return source


SPLIT_STRINGS = {"AAA": 804, "BBB": 742, "CCC": 742, "DDD": 753, "EEE": 804, "FFF": 772, "GGG": 731, "HHH": 726}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("imu_battery_pose", {"/imu": 1565, "/battery": 1565, "/pose": 1565}),
        ("odometry_no_metadata", {"/localization/kinematic_state": 2130}),
        ("odometry_no_metadata/bag_ego_trajectory.db3", {"/localization/kinematic_state": 2130}),
        ("split_strings_mcap", SPLIT_STRINGS),
        ("talker_mcap", {"/topic": 10, "/rosout": 10}),
        ("talker_mcap/talker.mcap", {"/topic": 10, "/rosout": 10}),
    ],
)
def test_real_bags_are_read_whole_in_order_and_left_untouched(
    shared_data: Path, name: str, counts: dict[str, int]
) -> None:
    before = fingerprint(shared_data / "bags")
    bag = open_bag(shared_data / "bags" / name)
    messages = list(bag.messages())
    bag.close()
    found: dict[str, int] = {}
    for message in messages:
        found[message.topic] = found.get(message.topic, 0) + 1
    assert found == counts == {topic.name: topic.count for topic in bag.topics if topic.count}
    assert bag.count == len(messages)
    times = [message.t_ns for message in messages]
    assert times == sorted(times)
    assert all(message.data[:2] == b"\x00\x01" for message in messages), "little-endian CDR"
    assert fingerprint(shared_data / "bags") == before


def test_recorded_qos_is_read(shared_data: Path) -> None:
    topics = {topic.name: topic for topic in open_bag(shared_data / "bags" / "talker_mcap").topics}
    (rosout,), (topic,) = topics["/rosout"].qos, topics["/topic"].qos
    assert (rosout.reliable, rosout.transient_local, rosout.lifespan) == (True, True, (10, 0))
    assert (topic.reliable, topic.transient_local) == (True, False)


@pytest.mark.parametrize(
    ("text", "profiles"),
    [
        ("", ()),
        ("{", ()),
        ("- 3", ()),
        (
            "- history: 1\n  depth: 5\n  reliability: 2\n  durability: 1\n  liveliness: 3\n"
            "  deadline: {sec: 1, nsec: 2}\n",
            (Qos("keep_last", 5, "best_effort", "transient_local", Span(1, 2), liveliness="manual_by_topic"),),
        ),
        (
            "- history: keep_all\n  depth: 7\n  reliability: reliable\n  durability: 9\n",
            (Qos("keep_all", 7, "reliable", "unknown", liveliness="unknown"),),
        ),
    ],
)
def test_qos_as_numbers_and_words(text: str, profiles: tuple[Qos, ...]) -> None:
    assert parse_qos(text) == profiles
    assert parse_qos(format_qos(profiles)) == profiles


def make_db3(path: Path, times: list[int], journal_mode: str = "delete") -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA journal_mode={journal_mode}")
    database.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
        "INSERT INTO topics VALUES(1, '/x', 'std_msgs/msg/String', 'cdr');"
    )
    database.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, 'd')", [(t,) for t in times])
    database.commit()
    return database


def test_split_files_are_merged_by_time_whatever_their_names(tmp_path: Path) -> None:
    for name, times in (("bag_10.db3", [5, 1, 9]), ("bag_2.db3", [2, 3, 11]), ("bag_1.db3", [20, 21])):
        make_db3(tmp_path / name, times).close()
    assert [message.t_ns for message in open_bag(tmp_path).messages()] == [1, 2, 3, 5, 9, 11, 20, 21]


def test_a_bag_that_is_still_in_its_wal_is_read_from_a_copy(tmp_path: Path) -> None:
    with closing(make_db3(tmp_path / "a.db3", [1, 2, 3], "wal")):  # open: nothing has been moved into the file yet
        before = fingerprint(tmp_path)
        assert before["a.db3-wal"][1]
        bag = open_bag(tmp_path / "a.db3")
        assert len(list(bag.messages())) == 3
        bag.close()
        assert fingerprint(tmp_path) == before


def test_a_cut_mcap_gives_what_is_whole_and_then_says_so(shared_data: Path, tmp_path: Path) -> None:
    from mcap.writer import Writer as McapWriter

    path = tmp_path / "cut.mcap"
    with open(path, "wb") as stream:
        writer = McapWriter(stream, chunk_size=200)
        writer.start()
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/x", "cdr", schema)
        for n in range(20):
            writer.add_message(channel, n, b"\0\1\0\0" + bytes(60), n)
        writer.finish()
    whole = path.read_bytes()
    assert len(list(open_bag(path).messages())) == 20
    path.write_bytes(whole[: len(whole) // 2])
    messages = open_bag(path).messages()
    read = []
    with pytest.raises(RecordingError, match=r"cut\.mcap is damaged or was cut off"):
        read.extend(message.t_ns for message in messages)
    for message in open_bag(tmp_path).topics:
        assert 0 < message.count < 20


def test_images_are_sorted_as_people_sort(tmp_path: Path) -> None:
    for name in ("10.png", "9.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    source = open_source(tmp_path)
    assert isinstance(source, ImageFolder)
    assert [path.name for path in source.files] == ["9.jpg", "10.png"]


def test_a_pattern_chooses_among_images(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c.png"):
        (tmp_path / name).touch()
    source = open_source(tmp_path / "*.jpg")
    assert isinstance(source, ImageFolder)
    assert [file.name for file in source.files] == ["a.jpg", "b.jpg"]
    with pytest.raises(ConfigError, match="there is nothing at"):
        open_source(tmp_path / "*.bmp")


def test_what_cannot_be_played_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is nothing at '.*/none'"):
        open_source(tmp_path / "none")
    with pytest.raises(ConfigError, match="an empty folder"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"must be a rosbag2 folder.*is notes\.txt"):
        open_source(tmp_path)
    for name in ("bad.db3", "bad.mcap"):
        (tmp_path / name).write_bytes(b"not a recording, but long enough to be looked at" * 10)
        with pytest.raises(RecordingError, match=rf"{name} must be an? .*file, but cannot be read as one"):
            open_source(tmp_path / name)
    (tmp_path / "empty.db3").touch()
    with pytest.raises(RecordingError, match=r"empty\.db3 must be a recording, but is empty"):
        open_source(tmp_path / "empty.db3")
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "a.mcap.zstd").touch()
    with pytest.raises(RecordingError, match=r"a\.mcap\.zstd must be a recording, but is empty"):
        open_source(packed)
    (packed / "a.mcap.zstd").write_bytes(b"not packed at all")
    with pytest.raises(RecordingError, match=r"a\.mcap\.zstd must be packed with zstd, but: "):
        open_source(packed)
