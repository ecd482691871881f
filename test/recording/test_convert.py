"""perf-inference convert: what goes in comes out, byte for byte, and nothing else is touched."""

from __future__ import annotations

import base64
import importlib
import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.cases import sampled
from support.processes import wait_until

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.recording.bags.bag_writer import open_writer
from perf_inference.recording.bags.metadata import Contents, Metadata
from perf_inference.recording.bags.target import target_of
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.convert import Conversion, convert
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.open import open_damaged
from perf_inference.recording.qos import Qos, Span, qos_profiles

BAGS = ("imu_battery_pose", "odometry_no_metadata", "split_strings_mcap", "talker_mcap")
COUNTS = {"imu_battery_pose": 4695, "odometry_no_metadata": 2130, "split_strings_mcap": 6074, "talker_mcap": 20}
TARGETS = ("bag.mcap", "bag.db3", "folder_mcap", "folder_sqlite3")
STRING = "std_msgs/msg/String"
Contents_ = tuple[list[BagMessage], set[Any]]


def make(source: Path, target: Path) -> Conversion:
    storage = target.name.removeprefix("folder_") if target.name.startswith("folder_") else None
    return convert(source, target_of(target, storage))


def read(path: Path) -> Contents_:
    """Return the messages in their order, and the topics."""
    files, _ = open_damaged(path)
    try:
        messages: list[BagMessage] = []
        for file in files:
            messages.extend(file.stored())
        topics = {(t.name, t.type, t.encoding, t.qos, t.type_hash) for file in files for t in file.topics}
        return messages, topics
    finally:
        for file in files:
            file.close()


def read_jsonl(path: Path) -> Contents_:
    """Read by docs/format.md alone."""
    topics: dict[str, list[dict[str, Any]]] = {}
    codecs: dict[int, Codec] = {}
    messages = []
    for line in path.read_bytes().splitlines(keepends=True):
        assert line[-19:-11] == b',"crc":"', line
        assert line[-11:-3] == b"%08x" % zlib.crc32(line[:-19])
        record = json.loads(line)
        if record.get("record") == "topic":
            topics.setdefault(record["topic"], []).append(record)
        if "record" in record:
            continue
        topic = topics[record["topic"]][0]
        if "id" in record:
            topic = next(other for other in topics[record["topic"]] if other["id"] == record["id"])
        if "cdr" in record:
            data = base64.b64decode(record["cdr"])
        else:
            if topic["id"] not in codecs:
                codecs[topic["id"]] = Codec(Definition(topic["type"], **topic["definition"]))
            data = codecs[topic["id"]].encode(record["message"])
        messages.append(
            BagMessage(
                record["t"], topic["topic"], topic["type"], data, record.get("publish_t"), record.get("publish_seq")
            )
        )
    return messages, {
        (topic["topic"], topic["type"], topic["encoding"], qos_profiles(topic["qos"]), topic["type_hash"])
        for records in topics.values()
        for topic in records
    }


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what would show that anything was written: names, sizes, times, checksums."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_size,
            path.stat().st_mtime_ns,
            zlib.crc32(path.read_bytes()) if path.is_file() else 0,
        )
        for path in [folder, *folder.rglob("*")]
    }


def write(path: Path, messages: list[BagMessage], topics: list[Topic] | None = None) -> Path:
    """Write a recording with our own writer."""
    storage = {".mcap": "mcap", ".db3": "sqlite3", ".jsonl": "jsonl"}[path.suffix]
    given = topics or [
        Topic(name, kind, definition=builtin_definition(kind))
        for name, kind in dict.fromkeys((m.topic, m.type) for m in messages)
    ]
    by_key = {(topic.name, topic.type): topic for topic in given}
    writer = open_writer(path, storage)
    contents = Contents(storage, path.name, Metadata())
    for topic in given:
        writer.add(topic)
    for message in messages:
        contents.count(message)
        writer.write(by_key[message.topic, message.type], message)
    writer.close(contents.as_dict(given))
    return path


def text(number: int, t_ns: int = 0, **more: Any) -> BagMessage:
    word = f"text {number}".encode() + b"\0"
    return BagMessage(
        t_ns or 1_000 + number, "/text", STRING, b"\0\1\0\0" + struct.pack("<I", len(word)) + word, **more
    )


# --- real recordings


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(BAGS, keep=2))
def test_real_bags_stay_the_same_in_every_form(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "bags" / name
    before = tree(source)
    messages, topics = read(source)
    assert len(messages) == COUNTS[name]
    for target in (*TARGETS, "bag.jsonl"):
        done = make(source, tmp_path / target)
        assert (done.messages, done.topics, done.unreadable) == (len(messages), len(topics), ()), target
        found = read_jsonl(tmp_path / target) if target == "bag.jsonl" else read(tmp_path / target)
        assert found == (messages, topics), target
        assert (done.kept.undecoded, done.kept.refused) == (0, 0)
    assert tree(source) == before
    assert sorted(os.listdir(tmp_path)) == sorted((*TARGETS, "bag.jsonl")), "nothing temporary is left"


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(BAGS))
def test_real_bags_come_back_from_json_lines(shared_data: Path, tmp_path: Path, name: str) -> None:
    expected = read(shared_data / "bags" / name)
    make(shared_data / "bags" / name, tmp_path / "bag.jsonl")
    for target in (*TARGETS, "again.jsonl"):
        make(tmp_path / "bag.jsonl", tmp_path / target)
        assert read(tmp_path / target) == expected, target


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(BAGS, keep=6))
@pytest.mark.parametrize("target", TARGETS)
def test_rosbags_and_mcap_read_what_is_written(shared_data: Path, tmp_path: Path, name: str, target: str) -> None:
    from mcap.reader import make_reader
    from rosbags.highlevel import AnyReader
    from rosbags.rosbag2 import Reader

    source, path = shared_data / "bags" / name, tmp_path / target
    make(source, path)
    messages, _ = read(source)
    expected = sorted((m.t_ns, m.topic, m.type, m.data) for m in messages)
    with Reader(path) as reader:
        assert sorted((t, c.topic, c.msgtype, bytes(d)) for c, t, d in reader.messages()) == expected
        assert reader.message_count == len(expected)
    with AnyReader([path]) as any_reader:  # decodes with the definitions in the file
        for connection, _, data in any_reader.messages():
            any_reader.deserialize(data, connection.msgtype)
    files = [path] if path.is_file() else list(path.glob("*.mcap"))
    for file in files if target.endswith("mcap") else ():
        with open(file, "rb") as stream:
            found = [(m.log_time, c.topic, s.name, m.data) for s, c, m in make_reader(stream).iter_messages()]
        assert sorted(found) == expected


def test_rosbags_reads_nothing_of_talker_because_its_metadata_has_another_qos(shared_data: Path) -> None:
    """Why ours is readable and the original is not: rosbags matches the topics of metadata and file by QoS."""
    about = yaml.safe_load((shared_data / "bags" / "talker_mcap" / "metadata.yaml").read_text())
    topics = about["rosbag2_bagfile_information"]["topics_with_message_count"]
    told = {t["topic_metadata"]["name"]: yaml.safe_load(t["topic_metadata"]["offered_qos_profiles"]) for t in topics}
    (topic,) = (t for t in read(shared_data / "bags" / "talker_mcap")[1] if t[0] == "/topic")
    assert told["/topic"][0]["deadline"]["sec"] == 0
    assert topic[3][0].deadline.sec == 2147483647


# --- every message type


def message_classes() -> list[Any]:
    """Return the message classes of all packages of common_interfaces that are installed."""
    packages = ("actionlib_msgs", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "nav_msgs", "sensor_msgs",
                "shape_msgs", "std_msgs", "stereo_msgs", "trajectory_msgs", "visualization_msgs")  # fmt: skip
    found = []
    for package in packages:
        try:
            module = importlib.import_module(f"{package}.msg")
        except ImportError:
            continue
        found += [kind for kind in vars(module).values() if hasattr(kind, "get_fields_and_field_types")]
    return found


_INTEGERS = {"byte": 8, "octet": 8, "char": 8, "uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "uint32": 32,
             "int32": 32, "uint64": 64, "int64": 64}  # fmt: skip
_LETTERS = 'aZ0 "\\/\n\x01é漢🤖'


def random_value(kind: Any, chance: random.Random) -> Any:
    """Return a random value of a field's type, as rosidl describes it."""
    from rosidl_parser import definition as rosidl

    if isinstance(kind, rosidl.NamespacedType):
        module = importlib.import_module(".".join(kind.namespaces))
        return random_message(getattr(module, kind.name), chance)
    if isinstance(kind, rosidl.Array):
        return [random_value(kind.value_type, chance) for _ in range(kind.size)]
    if isinstance(kind, (rosidl.UnboundedSequence, rosidl.BoundedSequence)):
        most = kind.maximum_size if isinstance(kind, rosidl.BoundedSequence) else 3
        if isinstance(kind.value_type, rosidl.BasicType) and most > 3:
            most = chance.choice((0, 3, 70))  # more than 64 are kept as base64
        return [random_value(kind.value_type, chance) for _ in range(chance.randint(0, most))]
    if isinstance(kind, rosidl.AbstractGenericString):
        return "".join(chance.choice(_LETTERS) for _ in range(chance.randint(0, 5)))
    name = kind.typename
    if name == "boolean":
        return chance.random() < 0.5
    if name in ("float", "double"):
        code, size = ("<f", 4) if name == "float" else ("<d", 8)
        special = struct.pack(code, chance.choice((0.0, -0.0, 0.1, float("nan"), float("inf"), -float("inf"))))
        (value,) = struct.unpack(code, special if chance.random() < 0.3 else chance.randbytes(size))
        return value
    number = chance.getrandbits(_INTEGERS[name])
    if name == "octet":
        return bytes([number])
    return number - (1 << _INTEGERS[name]) * (name.startswith("int") and number >> (_INTEGERS[name] - 1))


def random_message(kind: Any, chance: random.Random) -> Any:
    message = kind()
    for name, slot in zip(kind.get_fields_and_field_types(), kind.SLOT_TYPES, strict=True):
        value = random_value(slot, chance)
        default = getattr(message, name)
        if not isinstance(default, (list, bytes, str)) and hasattr(default, "dtype"):
            import numpy as np

            value = np.array(value, dtype=default.dtype)
        setattr(message, name, value)
    return message


def random_recording(chance: random.Random) -> list[BagMessage]:
    """Return a serialized message of each type; what lies between the fields is whatever the serializer left there."""
    from rclpy.serialization import serialize_message

    messages = []
    for number, kind in enumerate(message_classes()):
        package, name = kind.__module__.split(".")[0], kind.__name__
        data = bytes(serialize_message(random_message(kind, chance)))
        t_ns, publish_ns = chance.getrandbits(60), chance.getrandbits(60) + 1
        messages.append(BagMessage(t_ns, f"/{package}/{name}", f"{package}/msg/{name}", data, publish_ns, number + 1))
    return messages


def check_every_way(source: Path, folder: Path) -> Conversion:
    """Convert into both storages and into JSON lines, and those back into both storages and into JSON lines."""
    expected = read(source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for target in ("bag.mcap", "bag.db3"):
        make(source, folder / target)
        assert read(folder / target) == expected, target
    done = make(source, folder / "bag.jsonl")
    assert read_jsonl(folder / "bag.jsonl") == expected
    for target in ("back.mcap", "back.db3", "back.jsonl"):
        back = make(folder / "bag.jsonl", folder / target)
        assert back.unreadable == ()
        assert read(folder / target) == expected, target
    return done


def check_random_messages(chance: random.Random, folder: Path) -> None:
    messages = random_recording(chance)
    assert len(messages) >= 100
    source = folder / chance.choice(("source.mcap", "source.db3"))
    source.unlink(missing_ok=True)
    assert read(write(source, messages))[0] == messages
    done = check_every_way(source, folder / "out")
    assert (done.kept.undecoded, done.kept.refused) == (0, 0)
    assert done.kept.inexact > 10, "rclpy leaves padding that is not zero"


def one_in_both(tmp_path: Path, examples: int) -> Callable[[], None]:
    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=_PHASES
    )
    @given(st.integers(0, (1 << 64) - 1))
    def check(seed: int) -> None:
        check_random_messages(random.Random(seed), tmp_path)

    return check


_PHASES = (Phase.explicit, Phase.generate)  # a smaller seed is no simpler message


@pytest.mark.thorough
@pytest.mark.slow
def test_every_message_type_with_random_contents_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    one_in_both(tmp_path, 2)()


@pytest.mark.long
def test_prove_every_message_type_with_much_random_contents(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    one_in_both(tmp_path, 50)()


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=80), max_size=20))
def test_garbage_of_a_known_type_is_kept(tmp_path: Path, garbage: list[bytes]) -> None:
    folder = tmp_path / "x"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    messages = [
        BagMessage(5, "/imu", "sensor_msgs/msg/Imu", b"\0\1\0\0"),
        *(BagMessage(n, "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", data) for n, data in enumerate(garbage)),
        *(BagMessage(n, "/s", STRING, b"\0\1\0\0" + data) for n, data in enumerate(garbage)),
    ]
    done = check_every_way(write(folder / "source.mcap", messages), folder / "out")
    assert done.kept.refused >= 1
    assert done.messages == len(messages)


def test_unknown_types_two_types_on_a_topic_and_other_encodings_are_kept(tmp_path: Path) -> None:
    qos = (Qos(depth=3), Qos("keep_all", 0, "best_effort", "transient_local", Span(1, 2), liveliness="manual_by_topic"))
    bool_, foreign = "std_msgs/msg/Bool", "nobody/msg/Knows"
    topics = [
        Topic("/text", STRING, qos=qos, type_hash="RIHS01_" + "ab" * 32, definition=builtin_definition(STRING)),
        Topic("/text", bool_, qos=qos[1:], definition=builtin_definition(bool_)),
        Topic("/foreign", foreign),
        Topic("/json", "my/Json", encoding="json", definition=Definition("my/Json", "jsonschema", "{}")),
        Topic("/silent", STRING, qos=qos[:1], type_hash="RIHS01_" + "cd" * 32),
    ]
    messages = [
        text(1),
        BagMessage(7, "/text", bool_, b"\0\1\0\0\1", 6, 1),
        text(2, 9, publish_ns=8),
        BagMessage(7, "/foreign", foreign, b"\0\1\0\0\x28\xb5\x2f\xfd", None, 3),
        BagMessage(7, "/json", "my/Json", b'{"a":1}'),
        BagMessage(7, "/text", bool_, b"\0\1\0\0\0"),
    ]
    for name in ("source.mcap", "source.db3"):
        done = check_every_way(write(tmp_path / name, messages, topics), tmp_path / "out")
        assert (done.topics, done.kept.undecoded) == (5, 2)


def test_channels_of_one_topic_are_one_with_all_their_qos(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with open(tmp_path / "a.mcap", "wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        schema = writer.register_schema(STRING, "ros2msg", b"string data")
        for number, depth in enumerate((1, 2, 1)):
            channel = writer.register_channel("/x", "cdr", schema, {"offered_qos_profiles": f"[{{depth: {depth}}}]"})
            writer.add_message(channel, 50 - number, text(number).data, publish_time=number, sequence=number)
        writer.finish()
    make(tmp_path / "a.mcap", tmp_path / "b.db3")
    messages, ((_, _, _, qos, _),) = read(tmp_path / "b.db3")
    assert [profile.depth for profile in qos] == [1, 2]
    assert [(m.t_ns, m.publish_ns, m.publish_seq) for m in messages] == [(50, None, None), (49, 1, 1), (48, 2, 2)]
    assert read(tmp_path / "a.mcap")[0] == messages


# --- sources of all sorts


def test_a_wal_that_is_not_empty_is_read_and_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = write(source / "a.db3", [text(1), text(2)])
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("INSERT INTO messages VALUES(3, 1, 5, x'00010000')")
        database.commit()
        before = tree(source)
        assert before["a.db3-wal"][0]
        done = make(path, tmp_path / "out.jsonl")
        assert tree(source) == before
    assert (done.messages, done.kept.refused) == (3, 1)


def test_a_folder_that_cannot_be_written_is_a_good_source(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "imu"
    shutil.copytree(shared_data / "bags" / "imu_battery_pose", source)  # in WAL mode
    for path in (*source.iterdir(), source):
        path.chmod(path.stat().st_mode & ~0o222)
    before = tree(source)
    try:
        assert make(source, tmp_path / "out.db3").messages == 4695
        assert tree(source) == before
    finally:
        source.chmod(0o755)


@pytest.mark.parametrize(
    ("storage", "mode"),
    [("mcap", "FILE"), ("mcap", "MESSAGE"), ("mcap", "STORAGE"), ("sqlite3", "FILE"), ("sqlite3", "MESSAGE")],
)
def test_what_rosbags_compresses_is_read(tmp_path: Path, storage: str, mode: str) -> None:
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection("/text", STRING, typestore=get_typestore(Stores.ROS2_JAZZY))
        for number in range(100):
            writer.write(topic, 1_000 + number, text(number).data)
    expected = [text(number).data for number in range(100)]
    before = tree(tmp_path / "bag")
    make(tmp_path / "bag", tmp_path / "with.mcap")
    assert [m.data for m in read(tmp_path / "with.mcap")[0]] == expected
    assert tree(tmp_path / "bag") == before
    (tmp_path / "bag" / "metadata.yaml").unlink()
    make(tmp_path / "bag", tmp_path / "without.db3")
    assert [m.data for m in read(tmp_path / "without.db3")[0]] == expected


def test_metadata_tells_what_older_storages_do_not(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(shared_data / "bags" / "imu_battery_pose", source)
    source.chmod(0o755)
    path = source / "metadata.yaml"
    path.chmod(0o644)
    about = yaml.safe_load(path.read_text())
    inner = about["rosbag2_bagfile_information"]
    inner |= {"custom_data": {"robot": "arm 7"}, "ros_distro": "jazzy"}
    for topic in inner["topics_with_message_count"]:
        topic["topic_metadata"] |= {"offered_qos_profiles": "- depth: 7", "type_description_hash": "RIHS01_x"}
    path.write_text(yaml.safe_dump(about))
    make(source, tmp_path / "out")
    _, topics = read(tmp_path / "out")
    assert {(len(qos), qos[0].depth, type_hash) for _, _, _, qos, type_hash in topics} == {(1, 7, "RIHS01_x")}
    about = yaml.safe_load((tmp_path / "out" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (about["version"], about["custom_data"], about["ros_distro"]) == (8, {"robot": "arm 7"}, "jazzy")
    assert about["files"] == [
        {
            "path": "out_0.mcap",
            "starting_time": {"nanoseconds_since_epoch": 1588512872785162138},
            "duration": {"nanoseconds": 62560451324},
            "message_count": 4695,
        }
    ]
    counts = {t["topic_metadata"]["name"]: t["message_count"] for t in about["topics_with_message_count"]}
    assert counts == {"/imu": 1565, "/battery": 1565, "/pose": 1565, "/rosout": 0, "/parameter_events": 0}


def test_a_recorders_directory_is_a_source(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write(tmp_path / "b.jsonl", [text(3), text(2)])
    write(run / "topics_1.jsonl", [text(1, publish_ns=7, publish_seq=1), text(9)])
    packed = zstandard.ZstdCompressor().compress((tmp_path / "b.jsonl").read_bytes())
    (run / "topics_2.jsonl.zst").write_bytes(packed)
    for name in ("performance_timings_20260101_000000.jsonl", "session.json"):
        (run / name).write_text("{}\n")
    before = tree(run)
    make(run, tmp_path / "out.db3")
    assert read(tmp_path / "out.db3")[0] == [text(1, publish_ns=7, publish_seq=1), text(9), text(3), text(2)]
    assert tree(run) == before


# --- damage


def test_lines_that_are_none_of_ours_are_skipped_and_told(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", [text(1), text(2), text(3)]).read_bytes().splitlines(keepends=True)
    assert b'"seq":2' in lines[3]
    (tmp_path / "a.jsonl").write_bytes(
        b"".join([*lines[:3], b"foreign\n", lines[3].replace(b"text 2", b"text 7"), lines[4], lines[5][:9]])
    )
    done = make(tmp_path / "a.jsonl", tmp_path / "b.mcap")
    assert read(tmp_path / "b.mcap")[0] == [text(1), text(3)]
    told = "; ".join(done.unreadable)
    assert "1 foreign line" in told
    assert "1 damaged line" in told
    assert "1 torn line" in told


@pytest.mark.slow
def test_of_a_cut_mcap_what_is_whole_is_converted(tmp_path: Path) -> None:
    source = many(tmp_path / "a.mcap")
    whole = source.read_bytes()
    for share in (0.4, 0.99):
        source.write_bytes(whole[: round(len(whole) * share)])
        target = tmp_path / f"{share}.mcap"
        done = make(source, target)
        (told,) = done.unreadable
        assert "a.mcap is damaged or was cut off: after" in told
        assert done.messages > 0
        assert read(target)[0] == many_messages()[: done.messages]


@pytest.mark.slow
def test_of_an_mcap_with_a_damaged_chunk_the_others_are_converted(tmp_path: Path) -> None:
    source = many(tmp_path / "a.mcap")
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 0xFF
    source.write_bytes(data)
    done = make(source, tmp_path / "b.jsonl")
    assert len(done.unreadable) == 1
    assert "a.mcap is damaged or was cut off: chunk 3" in done.unreadable[0]
    found = [message.t_ns for message in read_jsonl(tmp_path / "b.jsonl")[0]]
    assert found[0] == 1_000
    assert found[-1] == 1_000 + MANY - 1
    assert MANY // 2 < len(found) < MANY


@pytest.mark.slow
@pytest.mark.parametrize("how", ["page", "cut"])
def test_of_a_damaged_db3_what_is_readable_is_converted(tmp_path: Path, how: str) -> None:
    source = many(tmp_path / "a.db3")
    data = bytearray(source.read_bytes())
    if how == "page":
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 4096] = b"\xff" * 4096
    else:
        del data[len(data) * 2 // 3 :]
    source.write_bytes(data)
    done = make(source, tmp_path / "b.mcap")
    assert len(done.unreadable) == 1
    assert "a.db3 is damaged" in done.unreadable[0]
    assert MANY // 2 < done.messages < MANY
    found = read(tmp_path / "b.mcap")[0]
    expected = {message.t_ns: message for message in many_messages()}
    assert [message for message in found if message != expected[message.t_ns]] == []
    assert [m.t_ns for m in found] == sorted(m.t_ns for m in found)
    if how == "page":
        assert found[-1] == many_messages()[-1]
        assert done.messages > 0.9 * MANY


@pytest.mark.slow
def test_a_cut_packed_file_gives_what_is_whole(tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor().compress(many(tmp_path / "a.mcap").read_bytes())
    (tmp_path / "b.mcap.zstd").write_bytes(packed[: len(packed) // 2])
    done = make(tmp_path / "b.mcap.zstd", tmp_path / "c.mcap")
    assert len(done.unreadable) == 1
    assert 0 < done.messages < MANY


def test_a_file_that_cannot_be_opened_does_not_stop_the_others(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source / "a_0.mcap", [text(1)])
    (source / "a_1.mcap").write_bytes(b"no mcap")
    write(source / "a_2.mcap", [text(2)])
    done = make(source, tmp_path / "out")
    assert done.messages == 2
    assert "a_1.mcap must be an MCAP file" in done.unreadable[0]


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["a.mcap", "a.db3"]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), min_size=1),
)
def test_whatever_is_damaged_the_target_is_in_order(
    tmp_path: Path, name: str, damage: list[tuple[float, bytes]]
) -> None:
    source = tmp_path / name
    source.unlink(missing_ok=True)
    write(source, [text(n, publish_ns=n, publish_seq=n) for n in range(300)])
    data = bytearray(source.read_bytes())
    for share, new in damage:
        at = round(share * (len(data) - len(new)))
        data[at : at + len(new)] = new
    source.write_bytes(data)
    for target in (tmp_path / "out.mcap", tmp_path / "out.db3", tmp_path / "out.jsonl"):
        target.unlink(missing_ok=True)
        try:
            done = make(source, target)
        except RecordingError:
            assert not target.exists()
            continue
        assert len(read(target)[0]) == done.messages


MANY = 20_000


def many_messages() -> list[BagMessage]:
    chance = random.Random(1)
    return [
        text(n)._replace(data=b"\0\1\0\0" + struct.pack("<I", 801) + chance.randbytes(400).hex().encode() + b"\0")
        for n in range(MANY)
    ]


def many(path: Path) -> Path:
    return write(path, many_messages())


# --- targets


def test_a_target_that_cannot_be_is_refused_with_a_reason(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source / "a.mcap", [text(1)])
    (tmp_path / "there").mkdir()
    (tmp_path / "left.db3.part").touch()
    for target, reason in (
        ("source", "DST must lie outside of SRC"),
        ("source/a.db3", "DST must lie outside of SRC"),
        ("there", "DST must not be there yet, but '.*there' is"),
        ("none/a.db3", r"DST must be in a folder that is there, but '.*none' is none"),
        ("left.db3", r"'.*left\.db3\.part' is there, and is not known to be left of a conversion"),
        ("a.bag", r"DST must end with \.jsonl, \.mcap or \.db3, or be a folder"),
        ("a.jsonl.zst", r"DST must end with \.jsonl, \.mcap or \.db3, or be a folder"),
    ):
        with pytest.raises(ConfigError, match=reason):
            make(source, tmp_path / target)
    with pytest.raises(ConfigError, match="DST must not be there yet"):
        make(source / "a.mcap", source / "a.mcap")
    with pytest.raises(ConfigError, match=r"--storage mcap is for folders; 'a\.db3' is a file of sqlite3"):
        target_of(tmp_path / "a.db3", "mcap")
    assert sorted(os.listdir(tmp_path)) == ["left.db3.part", "source", "there"]
    assert os.listdir(source) == ["a.mcap"]


def test_what_is_no_recording_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    for name in ("empty.mcap", "empty.db3"):
        (tmp_path / name).touch()
    for source, reason in (
        ("none", "there is nothing at"),
        ("empty", "an empty folder"),
        ("images", r"source must be a rosbag2 folder, [^;]*jsonl; '.*images' is a\.png"),
        ("empty.mcap", "must be a recording, but is empty"),
        ("empty.db3", "must be a recording, but is empty"),
    ):
        with pytest.raises((ConfigError, RecordingError), match=reason):
            make(tmp_path / source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


SMALL_FILES = """
import resource, sys
from perf_inference.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
sys.exit(main(["convert", *sys.argv[1:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", sampled(["a.mcap", "a.db3", "a.jsonl", "folder"]))
def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path: Path, target: str) -> None:
    source = many(tmp_path / "source.mcap")
    command = [sys.executable, "-c", SMALL_FILES, str(source), str(tmp_path / target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{target}' cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["source.mcap"]


@pytest.mark.parametrize(
    ("target", "how"), sampled([("a.db3", signal.SIGTERM), ("folder", signal.SIGINT), ("folder", signal.SIGKILL)])
)
def test_an_interrupted_conversion_leaves_nothing_that_looks_whole(
    tmp_path: Path, start_command: Any, target: str, how: signal.Signals
) -> None:
    source = tmp_path / "source.db3"
    write(source, [message for _ in range(3) for message in many_messages()])
    process = start_command("convert", str(source), str(tmp_path / target))
    assert wait_until(lambda: (tmp_path / f"{target}.part").exists(), 30.0), process.output()
    process.send(how)
    status = process.wait()
    if how == signal.SIGKILL:
        assert sorted(os.listdir(tmp_path)) == [f".{target}.claim", f"{target}.part", "source.db3"]
    else:
        assert status == 128 + how, process.output()
        assert f"stopped; nothing is left of '{tmp_path / target}'" in process.output()
        assert os.listdir(tmp_path) == ["source.db3"]


def test_the_command_says_what_became_of_it(shared_data: Path, tmp_path: Path, start_command: Any) -> None:
    source = tmp_path / "source.mcap"
    shutil.copyfile(shared_data / "bags" / "talker_mcap" / "talker.mcap", source)
    process = start_command("convert", str(source), str(tmp_path / "a.jsonl"))
    assert process.wait() == 0
    size = (tmp_path / "a.jsonl").stat().st_size
    assert f"a.jsonl: 20 messages of 3 topics, {size} bytes, " in process.output()
    assert "2 with their CDR beside the fields (padding, spare bytes)" in process.output()
    many(tmp_path / "b.mcap")
    os.truncate(tmp_path / "b.mcap", (tmp_path / "b.mcap").stat().st_size // 2)
    process = start_command("convert", str(tmp_path / "b.mcap"), str(tmp_path / "c"), "--storage", "sqlite3")
    assert process.wait() == 3, process.output()
    assert "b.mcap is damaged or was cut off" in process.output()
    assert (tmp_path / "c" / "c_0.db3").is_file()
    process = start_command("convert", str(tmp_path / "none"), str(tmp_path / "d"))
    assert process.wait() == 1
    assert "there is nothing at" in process.output()


@pytest.mark.slow
def test_a_terminal_gets_a_progress_bar_and_a_pipe_none(tmp_path: Path) -> None:
    source = many(tmp_path / "a.mcap")
    command = [sys.executable, "-m", "perf_inference.cli", "convert", str(source)]
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        process = subprocess.Popen([*command, str(tmp_path / "b.db3")], stderr=theirs, env=environment)
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the other end is closed
            while part := terminal.read(65536):
                shown += part
        assert process.wait() == 0
    assert b"/20000" in shown
    assert "━".encode() in shown
    done = subprocess.run([*command, str(tmp_path / "c.db3")], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr


# --- memory

# Not ru_maxrss, which counts what the parent had before exec.
MEASURE = """
import sys
from pathlib import Path
from perf_inference.cli import main
status = main(["convert", *sys.argv[1:]])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
sys.exit(status)
"""


def peak_mb(source: Path, target: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr.strip(), f"{int(done.stdout) / 1024:.0f} MB at most")
    return int(done.stdout) / 1024


def images(path: Path, megabytes: int) -> Path:
    """Write images of 1 MB and small messages in turn."""
    chance = random.Random(2)
    kind = "sensor_msgs/msg/CompressedImage"
    image = b"\0\1\0\0" + struct.pack("<iII", 1, 2, 1) + b"\0\0\0\0" + struct.pack("<I", 5) + b"jpeg\0\0\0\0"
    topics = [Topic("/image", kind, definition=builtin_definition(kind)),
              Topic("/text", STRING, definition=builtin_definition(STRING))]  # fmt: skip
    storage = "mcap" if path.suffix == ".mcap" else "sqlite3"
    writer, contents = open_writer(path, storage), Contents(storage, path.name, Metadata())
    for topic in topics:
        writer.add(topic)
    for number in range(megabytes):
        data = image + struct.pack("<I", 1 << 20) + chance.randbytes(1 << 20)
        for message in (BagMessage(number, "/image", kind, data), *(text(n) for n in range(100))):
            contents.count(message)
            writer.write(topics[message.topic == "/text"], message)
    writer.close(contents.as_dict(topics))
    return path


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [20, pytest.param(400, marks=pytest.mark.long)])
def test_prove_memory_does_not_grow_with_the_recording(tmp_path: Path, megabytes: int) -> None:
    source = images(tmp_path / "a.mcap", megabytes)
    packed = tmp_path / "a.mcap.zstd"
    packed.write_bytes(zstandard.ZstdCompressor(level=1).compress(source.read_bytes()))
    ways = {"c.jsonl": source, "b.db3": tmp_path / "c.jsonl", "d.mcap": packed}
    if megabytes > 20:
        ways |= {"e.db3": source, "f.mcap": tmp_path / "b.db3", "g.mcap": tmp_path / "c.jsonl",
                 "h.jsonl": tmp_path / "b.db3"}  # fmt: skip
    for target, origin in ways.items():
        assert peak_mb(origin, tmp_path / target) < 200, f"{origin.name} to {target}"
