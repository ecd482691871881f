"""Bags that were reported as broken: what is right of each, decoded, in every form, with the status that says it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType, Writer
from support.command_line import run_command

from perf_inference.errors import RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.message import BagMessage
from perf_inference.recording.open import Bag, open_damaged, open_source

FORMS = ("out.jsonl", "out.mcap", "out.db3")
T0 = 1_700_000_000_000_000_000


@pytest.fixture
def bags(shared_data: Path) -> Path:
    return shared_data / "faults" / "bags"


def convert(source: Path, target: Path) -> int:
    """Return the exit status of the command."""
    return run_command("convert", str(source), str(target))


def decoded(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return topic and fields of each message, by the definition that its file has of it."""
    files, failed = open_damaged(path)
    assert not failed
    found = []
    for file in files:
        for message in file.stored():
            assert message.source is not None
            assert message.source.definition is not None, message.topic
            found.append((message.topic, Codec(message.source.definition).decode(message.data).message))
        file.close()
    return found


def stored(path: Path) -> list[BagMessage]:
    return [message for file in open_damaged(path)[0] for message in file.stored()]


def played(path: Path) -> list[BagMessage]:
    bag = open_source(path)
    assert isinstance(bag, Bag)
    try:
        return list(bag.messages())
    finally:
        bag.close()


# --- the rows of the reports


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_was_unpacked_beside_the_packed_one_is_read_once(bags: Path, tmp_path: Path, form: str) -> None:
    assert convert(bags / "decompressed_twice", tmp_path / form) == 0
    assert len(decoded(tmp_path / form)) == 10
    assert len(played(bags / "decompressed_twice")) == 10


@pytest.mark.parametrize("form", FORMS)
def test_two_definitions_of_one_type_stay_two(bags: Path, tmp_path: Path, form: str) -> None:
    source = bags / "one_type_two_definitions" / "twodefs.mcap"
    # rosbag2's sqlite3 has one definition a type: this package keeps both there too, and says that others see none
    assert convert(source, tmp_path / form) == (3 if form == "out.db3" else 0)
    assert decoded(tmp_path / form) == [("/odo", {"x": 1.0, "y": 2.0})] * 6
    assert convert(tmp_path / form, tmp_path / "back.mcap") == 0
    with open(tmp_path / "back.mcap", "rb") as stream:
        schemas = {schema.data for schema, _, _ in make_reader(stream).iter_messages()}
    assert schemas == {b"float64 x\nfloat64 y\n", b"float64 y\nfloat64 x\n"}


def test_all_that_an_mcap_holds_goes_into_an_mcap(bags: Path, tmp_path: Path) -> None:
    source = bags / "mixed_mcap" / "mixed.mcap"
    assert convert(source, tmp_path / "out.mcap") == 0
    before, after = records(source), records(tmp_path / "out.mcap")
    assert (len(before["protobuf"]), before["protobuf"]) == (228, after["protobuf"])
    for kind in ("jsonschema", "ros2msg", "metadata", "attachments", "channels", "messages"):
        assert before[kind] == after[kind], kind
    assert before["metadata"] == {"robot": {"serial": "R-0001", "operator": "someone"}}
    assert [name for name, *_ in before["attachments"]] == ["calibration.yaml"]
    assert any(not schema for _, _, schema, _ in before["channels"])
    assert any("k" in metadata for *_, metadata in before["channels"])


@pytest.mark.parametrize("form", ["out.jsonl", "out.db3"])
def test_what_another_form_cannot_hold_is_named(
    bags: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = bags / "mixed_mcap" / "mixed.mcap"
    assert convert(source, tmp_path / form) == 3
    said = capsys.readouterr().err
    assert "calibration.yaml" in said
    assert "robot" in said
    assert ("/nos" in said) == (form == "out.db3"), "JSON lines have room for the metadata of a channel"
    assert convert(tmp_path / form, tmp_path / "back.mcap") == 0
    before, after = records(source), records(tmp_path / "back.mcap")
    for kind in ("protobuf", "jsonschema", "ros2msg", "messages"):
        assert before[kind] == after[kind], kind


def records(path: Path) -> dict[str, Any]:
    """Return what an MCAP file holds, in the words of the mcap package."""
    schemas: dict[int, Any] = {}
    found: dict[str, Any] = {"metadata": {}, "attachments": [], "channels": set(), "messages": []}
    channels: dict[int, str] = {}
    with open(path, "rb") as stream:
        for record in StreamReader(stream).records:
            name = type(record).__name__
            if name == "Schema":
                schemas[record.id] = record
                found[record.encoding] = record.data
            elif name == "Channel":
                channels[record.id] = record.topic
                schema = schemas.get(record.schema_id)
                more = {key: value for key, value in record.metadata.items() if value}
                found["channels"].add(
                    (record.topic, record.message_encoding, schema.name if schema else "", json.dumps(more))
                )
            elif name == "Message":
                found["messages"].append((record.log_time, channels[record.channel_id], record.data))
            elif name == "Metadata" and record.name != "rosbag2":
                found["metadata"][record.name] = record.metadata
            elif name == "Attachment":
                times = record.log_time, record.create_time
                found["attachments"].append((record.name, record.media_type, *times, record.data))
    return found


def test_an_unindexed_file_is_read_by_log_time(bags: Path) -> None:
    messages = played(bags / "unindexed_order" / "fastwrite_0.mcap")
    assert [m.t_ns for m in messages] == [T0 + n * 100_000_000 for n in range(20) for _ in range(2)]
    assert [m.topic for m in messages] == ["/a", "/b"] * 20


@pytest.mark.parametrize("form", FORMS)
def test_a_humble_bag_is_decoded_by_humbles_definition(bags: Path, tmp_path: Path, form: str) -> None:
    assert convert(bags / "humble_range" / "humble_range", tmp_path / form) == 0
    messages = decoded(tmp_path / form)
    assert len(messages) == 5
    for topic, fields in messages:
        assert topic == "/range"
        assert list(fields) == ["header", "radiation_type", "field_of_view", "min_range", "max_range", "range"]
        assert 0 < fields["min_range"] < fields["range"] < fields["max_range"]


def test_of_one_that_has_no_metadata_the_bytes_tell(bags: Path, tmp_path: Path) -> None:
    assert convert(bags / "humble_range" / "humble_mixed", tmp_path / "out.jsonl") == 0
    kinds = {topic: list(fields) for topic, fields in decoded(tmp_path / "out.jsonl")}
    assert kinds == {
        "/a": ["data"],
        "/range": ["header", "radiation_type", "field_of_view", "min_range", "max_range", "range"],
    }


@pytest.mark.parametrize("name", ["split_db3", "split_zero"])
@pytest.mark.parametrize("form", FORMS)
def test_of_a_split_bag_with_an_unfinished_file_the_others_are_read(
    bags: Path, tmp_path: Path, name: str, form: str
) -> None:
    source = bags / "last_file_unfinished" / name
    assert convert(source, tmp_path / form) == 3
    assert len(stored(tmp_path / form)) == 10
    bag = open_source(source)
    assert isinstance(bag, Bag)
    assert len(list(bag.messages())) == 10
    assert len(bag.failed) == 1
    assert "s_2." in bag.problems()[0]


def test_a_file_that_was_cut_within_a_chunk_is_read_up_to_the_cut(bags: Path, tmp_path: Path) -> None:
    source = bags / "cut_within_chunk" / "plain.mcap"
    assert convert(source, tmp_path / "out.mcap") == 3
    messages = stored(tmp_path / "out.mcap")
    assert 250 < len(messages) < 300
    assert [m.t_ns for m in messages] == sorted(m.t_ns for m in messages)
    bag = open_source(source)
    assert isinstance(bag, Bag)
    read = []
    with pytest.raises(RecordingError, match="the file ends within it"):
        read.extend(bag.messages())
    assert read == messages


@pytest.mark.parametrize("form", FORMS)
def test_a_type_without_fields_is_known(
    bags: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(bags / "empty_message_type" / "empty_type.mcap", tmp_path / form) == 0
    assert "not known" not in capsys.readouterr().err
    assert decoded(tmp_path / form) == [("/trigger", {}), ("/std", {})] * 3
    assert convert(tmp_path / form, tmp_path / "back.mcap") == 0
    with open(tmp_path / "back.mcap", "rb") as stream:
        schemas = {(schema.name, schema.encoding) for schema, _, _ in make_reader(stream).iter_messages()}
    assert schemas == {("my_msgs/msg/Trigger", "ros2msg"), ("std_msgs/msg/Empty", "ros2msg")}


def service_event(data: bool, success: bool | None, message: str = "") -> bytes:
    """Return an event of std_srvs/srv/SetBool in CDR."""
    body = bytearray(struct.pack("<BxxxiI16sxxxxq", 1, 5, 6, bytes(range(16)), 9))
    body += struct.pack("<IB", 1, data)
    body += bytes(-len(body) % 4)
    if success is None:
        return b"\0\1\0\0" + bytes(body) + struct.pack("<I", 0)
    body += struct.pack("<IB", 1, success)
    body += bytes(-len(body) % 4)
    return b"\0\1\0\0" + bytes(body) + struct.pack("<I", len(message) + 1) + message.encode() + b"\0"


@pytest.mark.parametrize("own", [True, False])
def test_a_service_event_is_built_from_the_text_of_its_service(bags: Path, tmp_path: Path, own: bool) -> None:
    with open(bags / "service_event_definition" / "srvdef.mcap", "rb") as stream:
        (schema,) = {(schema.name, schema.data) for schema, _, _ in make_reader(stream).iter_messages() if schema.data}
    name, text = schema
    text = text if own else text.partition(b"SetBool\n")[2]  # the text alone, without the line that names it
    events = [service_event(True, None), service_event(False, True, "done")]
    with open(tmp_path / "events.mcap", "wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        channel = writer.register_channel("/set/_service_event", "cdr", writer.register_schema(name, "ros2msg", text))
        for number, data in enumerate(events):
            writer.add_message(channel, number, data, number)
        writer.finish()
    assert convert(tmp_path / "events.mcap", tmp_path / "out.jsonl") == 0
    (_, first), (_, second) = decoded(tmp_path / "out.jsonl")
    assert first["info"]["event_type"] == 1
    assert first["info"]["stamp"] == {"sec": 5, "nanosec": 6}
    assert first["info"]["sequence_number"] == 9
    assert (first["request"], first["response"]) == ([{"data": True}], [])
    assert (second["request"], second["response"]) == ([{"data": False}], [{"success": True, "message": "done"}])
    assert b',"cdr":' not in (tmp_path / "out.jsonl").read_bytes()
    assert [m.data for m in stored(tmp_path / "out.jsonl")] == events


def test_the_reported_service_events_keep_their_schema(bags: Path, tmp_path: Path) -> None:
    source = bags / "service_event_definition" / "srvdef.mcap"
    for form in FORMS:
        assert convert(source, tmp_path / form) == 0
        assert convert(tmp_path / form, tmp_path / f"{form}.mcap") == 0
        assert records(tmp_path / f"{form}.mcap") == records(source), form


# --- more of these kinds


def strings(path: Path, times: list[int], **options: Any) -> Path:
    with open(path, "wb") as stream:
        writer = Writer(stream, **options)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/x", "cdr", schema)
        for number, t_ns in enumerate(times):
            writer.add_message(channel, t_ns, b"\0\1\0\0" + struct.pack("<I", 9) + b"%08d\0" % number, t_ns, number + 1)
        writer.finish()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("compression", list(CompressionType))
def test_a_cut_anywhere_leaves_what_is_whole(tmp_path: Path, compression: CompressionType) -> None:
    source = strings(tmp_path / "a.mcap", list(range(4000)), compression=compression, chunk_size=20_000)
    whole = source.read_bytes()
    expected = stored(source)
    assert len(expected) == 4000
    for size in range(len(whole) // 10, len(whole), len(whole) // 10):
        source.write_bytes(whole[:size])
        (file,), _ = open_damaged(source)
        read: list[BagMessage] = []
        with pytest.raises(RecordingError, match="damaged or was cut off"):
            read.extend(file.stored())
        assert read == expected[: len(read)]
        if compression == CompressionType.NONE:
            assert len(read) > 4000 * (size - 2000) / len(whole) * 0.95


ODD = {"use_chunking": False}, {"index_types": IndexType.NONE}, {"use_statistics": False}, {"repeat_schemas": False}, \
    {"index_types": IndexType.CHUNK}, {"use_summary_offsets": False}, {"repeat_channels": False}  # fmt: skip


@pytest.mark.parametrize("options", ODD, ids=lambda options: " ".join(options))
@pytest.mark.parametrize("chunk_size", [500, 1 << 20])
def test_whatever_the_index_lacks_all_is_played_in_order(
    tmp_path: Path, options: dict[str, Any], chunk_size: int
) -> None:
    times = [*range(0, 1000, 2), *range(1, 1000, 2)]
    source = strings(tmp_path / "a.mcap", times, chunk_size=chunk_size, **options)
    assert [m.t_ns for m in played(source)] == list(range(1000))
    assert [m.t_ns for m in stored(source)] == times
    bag = open_source(source)
    assert isinstance(bag, Bag)
    assert (bag.count, bag.problems()) == (1000, [])


def test_messages_outside_of_chunks_are_read_and_the_difference_is_said(tmp_path: Path) -> None:
    from mcap.records import Message

    path = tmp_path / "a.mcap"
    with open(path, "wb") as stream:
        writer = Writer(stream, chunk_size=200)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/x", "cdr", schema)
        for number in range(40):
            if number % 2:
                writer.flush()
                builder = writer._Writer__record_builder
                Message(channel, number, b"\0\1\0\0\1\0\0\0\0", number, 1).write(builder)
                writer._Writer__flush()
            else:
                writer.add_message(channel, number, b"\0\1\0\0\1\0\0\0\0", number)
        writer.finish()
    assert [m.t_ns for m in played(path)] == list(range(40))
    bag = open_source(path)
    assert isinstance(bag, Bag)
    assert len(list(bag.messages())) == 40
    assert bag.problems() == ["a.mcap: its statistics tell of 20 messages, but it has 40"]
    assert convert(path, tmp_path / "out.jsonl") == 0
    assert len(stored(tmp_path / "out.jsonl")) == 40


def test_fewer_messages_than_metadata_tell_of_are_said(tmp_path: Path) -> None:
    strings(tmp_path / "a.mcap", list(range(10)))
    assert convert(tmp_path / "a.mcap", tmp_path / "bag") == 0
    about = tmp_path / "bag" / "metadata.yaml"
    about.write_text(about.read_text().replace("message_count: 10", "message_count: 12"))
    assert convert(tmp_path / "bag", tmp_path / "out.jsonl") == 3
    bag = open_source(tmp_path / "bag")
    assert isinstance(bag, Bag)
    with pytest.raises(RecordingError, match="tells of 12 messages, but there are 10"):
        list(bag.messages())


def test_what_was_brought_back_is_read_instead_of_the_original(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    strings(bag / "a_0.mcap", list(range(10)))
    strings(bag / "a_1.mcap", list(range(10, 20)))
    shutil.copyfile(bag / "a_1.mcap", bag / "a_1_recovered.mcap")
    (bag / "a_1.mcap").write_bytes((bag / "a_1.mcap").read_bytes()[:-60])
    assert convert(bag, tmp_path / "out.mcap") == 0
    assert [m.t_ns for m in stored(tmp_path / "out.mcap")] == list(range(20))
    assert [m.t_ns for m in played(bag)] == list(range(20))


def test_of_a_run_that_was_recovered_beside_itself_each_segment_is_read_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    strings(tmp_path / "a.mcap", list(range(10)))
    assert convert(tmp_path / "a.mcap", run / "topics_1.jsonl") == 0
    lines = (run / "topics_1.jsonl").read_bytes().splitlines(keepends=True)
    (run / "topics_1.jsonl").write_bytes(b"".join(lines)[:-300])
    assert run_command("recover", str(run / "topics_1.jsonl")) == 3
    assert (run / "topics_1_recovered.jsonl").is_file()
    for source in (run, run / "topics_*.jsonl"):
        target = tmp_path / f"{source.name[:3]}.mcap"
        assert convert(source, target) == 0
        times = [m.t_ns for m in stored(target)]
        assert times == list(range(len(times)))
        assert len(times) > 5


def test_a_twin_that_was_not_unpacked_to_its_end_is_not_read(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    whole = strings(bag / "a_0.mcap", list(range(100))).read_bytes()
    (bag / "a_0.mcap.zstd").write_bytes(zstandard.compress(whole))
    (bag / "a_0.mcap").write_bytes(whole[: len(whole) // 2])
    assert convert(bag, tmp_path / "out.mcap") == 0
    assert len(stored(tmp_path / "out.mcap")) == 100


def test_packed_files_are_unpacked_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag, space = tmp_path / "bag", tmp_path / "space"
    bag.mkdir()
    space.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(space))
    for number in range(5):
        strings(bag / "a.mcap", list(range(10 * number, 10 * number + 10)))
        (bag / f"a_{number}.mcap.zstd").write_bytes(zstandard.compress((bag / "a.mcap").read_bytes()))
        (bag / "a.mcap").unlink()
    source = open_source(bag)
    assert isinstance(source, Bag)
    most, count = 0, 0
    for _ in source.messages():
        most, count = max(most, len(list(space.iterdir()))), count + 1
    assert (most, count, list(space.iterdir())) == (1, 50, [])


@pytest.mark.parametrize("form", FORMS)
def test_times_of_64_bits_come_back(tmp_path: Path, form: str) -> None:
    times = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    source = strings(tmp_path / "a.mcap", times)
    assert convert(source, tmp_path / form) == (3 if form == "out.db3" else 0), "63 bits are what sqlite3 has"
    assert convert(tmp_path / form, tmp_path / "back.mcap") == (3 if form == "out.db3" else 0)
    assert [m.t_ns for m in stored(tmp_path / "back.mcap")] == times


def test_what_a_recording_says_of_itself_goes_along(tmp_path: Path) -> None:
    strings(tmp_path / "a.mcap", [1])
    assert convert(tmp_path / "a.mcap", tmp_path / "bag") == 0
    about = tmp_path / "bag" / "metadata.yaml"
    text = about.read_text().replace("custom_data: null", "custom_data: {robot: arm 7}")
    about.write_text(text.replace("ros_distro: ''", "ros_distro: jazzy"))
    source = tmp_path / "bag"
    for form in (*FORMS, "last_bag"):
        assert convert(source, tmp_path / form) == 0
        source = tmp_path / form
        for file in open_damaged(source)[0]:
            assert (file.about.ros_distro, dict(file.about.custom_data)) == ("jazzy", {"robot": "arm 7"}), form
    with closing(sqlite3.connect(tmp_path / "out.db3")) as database:
        ((text,),) = database.execute("SELECT metadata FROM metadata")
    assert "arm 7" in text


def test_of_two_definitions_others_see_none_in_sqlite(bags: Path, tmp_path: Path) -> None:
    assert convert(bags / "one_type_two_definitions" / "twodefs.mcap", tmp_path / "out.db3") == 3
    with closing(sqlite3.connect(tmp_path / "out.db3")) as database:
        assert database.execute("SELECT count(*) FROM message_definitions").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM perf_inference_definitions").fetchone() == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("index", [True, False])
def test_what_is_readable_of_a_damaged_db3_is_played_by_log_time(tmp_path: Path, index: bool) -> None:
    times = [*range(0, 20_000, 2), *range(1, 20_000, 2)]
    strings(tmp_path / "a.mcap", times)
    assert convert(tmp_path / "a.mcap", tmp_path / "a.db3") == 0
    if not index:
        with closing(sqlite3.connect(tmp_path / "a.db3")) as database:
            database.executescript("DROP INDEX timestamp_idx")
    data = bytearray((tmp_path / "a.db3").read_bytes())
    middle = data.index(b"%08d\0" % 10_000) // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    (tmp_path / "a.db3").write_bytes(data)
    bag = open_source(tmp_path / "a.db3")
    assert isinstance(bag, Bag)
    read = []
    with pytest.raises(RecordingError, match="is damaged"):
        read.extend(message.t_ns for message in bag.messages())
    assert read == sorted(set(read))
    assert 19_000 < len(read) < 20_000
    assert bag.count == len(read), "a topic is played if it has messages"


def test_one_row_that_is_no_message_ends_nothing(tmp_path: Path) -> None:
    strings(tmp_path / "a.mcap", list(range(10)))
    assert convert(tmp_path / "a.mcap", tmp_path / "a.db3") == 0
    with closing(sqlite3.connect(tmp_path / "a.db3")) as database:
        database.execute("UPDATE messages SET timestamp = 'noon' WHERE id = 3")
        database.execute("UPDATE messages SET topic_id = 77 WHERE id = 5")
        database.commit()
    bag = open_source(tmp_path / "a.db3")
    assert isinstance(bag, Bag)
    read = []
    with pytest.raises(RecordingError, match="message 5 belongs to topic 77"):
        read.extend(message.t_ns for message in bag.messages())
    assert read == [0, 1, 3, 5, 6, 7, 8, 9]
    assert convert(tmp_path / "a.db3", tmp_path / "out.mcap") == 3
    assert len(stored(tmp_path / "out.mcap")) == 8


def test_two_definitions_of_a_db3_are_told_apart_by_their_hashes(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db3")) as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name, type, serialization_format, offered_qos_profiles, "
            "type_description_hash);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type, encoding, "
            "encoded_message_definition, type_description_hash);"
            "INSERT INTO topics VALUES(1, '/odo', 'm/msg/Odo', 'cdr', '', 'RIHS01_a'), "
            "(2, '/odo', 'm/msg/Odo', 'cdr', '', 'RIHS01_b');"
            "INSERT INTO message_definitions VALUES(1, 'm/msg/Odo', 'ros2msg', 'float64 x\nfloat64 y\n', 'RIHS01_a'), "
            "(2, 'm/msg/Odo', 'ros2msg', 'float64 y\nfloat64 x\n', 'RIHS01_b');"
        )
        for topic, values in ((1, (1.0, 2.0)), (2, (2.0, 1.0))):
            data = b"\0\1\0\0" + struct.pack("<dd", *values)
            database.execute("INSERT INTO messages VALUES(NULL, ?, ?, ?)", (topic, topic, data))
        database.commit()
    assert convert(tmp_path / "a.db3", tmp_path / "out.jsonl") == 0
    assert decoded(tmp_path / "out.jsonl") == [("/odo", {"x": 1.0, "y": 2.0})] * 2
