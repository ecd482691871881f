"""YAML, recordings and file names of anybody's, one attack at a time; `test_hostile` has them by the thousand."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import yaml
from support import hostile_mutations as mutations
from support import hostile_seeds

from perf_inference.bringup.robot import read_graph
from perf_inference.engines import Options, load
from perf_inference.errors import ConfigError, RecordingError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.files.names import natural_key
from perf_inference.recording.analysis.run_reader import RunReader, read_json
from perf_inference.recording.analysis.tracks import read_tracks
from perf_inference.recording.bags.metadata import read_metadata
from perf_inference.recording.bags.target import target_of
from perf_inference.recording.convert import convert
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.jsonl.line import sealed
from perf_inference.recording.jsonl.pieces import pieces
from perf_inference.recording.jsonl.text_file import CutError, stretches
from perf_inference.recording.open import open_damaged
from perf_inference.recording.qos import parse_qos
from perf_inference.recording.recovery import recovery
from perf_inference.tasks.language.caption import CaptionTask

KEY = "rosbag2_bagfile_information"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "line 2: the key a is there twice"),
        ("a: &x [*x]", "refers to nothing that stands before it"),
        ("- " * 5000, "64 levels deep at most"),
        ("[" * 50_000, "line 1: "),
        ("{" * 50_000, "line 1: "),
        ("a: 1.0e+999", "line 1: 1.0e+999 is no float"),
        ("a: " + "9" * 100_000, "is no int: it has more than 400 characters"),
        ("a: 99999999999999999999", "more than 64 bits"),
        ("a: !!python/object/apply:os.system [echo]", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: !!bool maybe", "maybe is no bool"),
        ("? [a]\n: b", "a key must be a word or a number, got a list"),
        ("<<: {a: 1}", "merging with << is not read"),
        ("--- 1\n--- 2", "line 2: there must be one document"),
        ("a: \ud800", "no text that YAML can have"),
        ("\0", "control characters"),
        (mutations.laughs(10, 9).decode(), "300000 values at most"),
        ("x" * (5 << 20), "4194304 bytes at most"),
    ],
)
def test_yaml_beyond_the_bounds_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(YamlError, match=re.escape(said)) as caught:
        read_yaml(text)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_yaml_within_the_bounds_is_what_pyyaml_makes_of_it() -> None:
    text = (
        "a: [1, -2, 0x1f, 0b11, 017, 1_000, 1:30, 1.5, -1_0.5, .inf, 190:20:30.15, yes, Off, null, ~, '1', "
        '"\\u00fc"]\n'
        "b: &b {c: d, 2: 1, true: e}\nf: *b\ng: |\n  text\nh:\ni: 1e400\nj: 089\nk: !!str 1\nl: !!seq [a]\n"
    )
    assert read_yaml(text) == yaml.safe_load(text)
    assert read_yaml("a: 2001-99-99\nb: 2001-01-01\nc: =") == {"a": "2001-99-99", "b": "2001-01-01", "c": "="}
    assert read_yaml("") is None
    assert read_yaml(b"\xff\xfea\x00") == "a"


def test_metadata_of_the_wrong_kind_is_told_and_not_used(tmp_path: Path) -> None:
    seeds = hostile_seeds.make(tmp_path, None)
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "a.mcap").write_bytes(seeds["mcap"][0])
    good = yaml.safe_load(seeds["metadata.yaml"][0])
    about = good[KEY]
    changes = (
        {"compression_mode": [1]},
        {"topics_with_message_count": {"a": 1}},
        {"topics_with_message_count": [{"topic_metadata": 3}]},
    )
    for wrong in ([], {}, {KEY: [1]}, *({KEY: about | change} for change in changes)):
        (tmp_path / "bag" / "metadata.yaml").write_text(yaml.safe_dump(wrong))
        read = read_metadata(tmp_path / "bag")
        assert read is not None
        assert "metadata.yaml is not used: it must be rosbag2's metadata: " in read.problem
        (tmp_path / "out.mcap").unlink(missing_ok=True)
        done = convert(tmp_path / "bag", target_of(tmp_path / "out.mcap"))
        assert (done.messages, done.unreadable) == (30, (read.problem,))
    profiles = parse_qos("- depth: 99999999999\n  history: true\n- depth: -1\n- 3")
    assert [profile.depth for profile in profiles] == [99999999999, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/**/yolo_node:\n  ros__parameters: [1]\n", "must be a ROS parameters file"),
        ("/**/yolo_node:\n  ros__parameters: {}\n/**/yolo_node:\n  ros__parameters: {}\n", "line 3: the key .* twice"),
        ("/**/a b:\n  ros__parameters: {start: {executable: yolo_node}}\n", "must end in the name of a node"),
        ("/**/a:\n  ros__parameters: {start: {executable: [yolo_node]}}\n", "got ..yolo_node"),
        ('/**/yolo_node:\n  ros__parameters: {start: {remap: ["a:=b\\0"]}}\n', "start in section"),
        ("/**/recorder_node:\n  ros__parameters: {output_dir: [1]}\n", "must be the name of a folder, got .1."),
        ("/**/recorder_node:\n  ros__parameters: {session: ../../x}\n", "session in section .* got '../../x'"),
        ("/**/recorder_node:\n  ros__parameters: {session: 3}\n", "session in section .* got 3"),
    ],
)
def test_a_parameters_file_of_the_wrong_kind_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "robot.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_graph(tmp_path / "robot.yaml")


@pytest.mark.parametrize("name", ["²", "a_²", "10²", "topics_³.jsonl", "٣", "9" * 250])
def test_a_file_of_any_name_may_lie_beside_a_recording(tmp_path: Path, name: str) -> None:
    seeds = hostile_seeds.make(tmp_path, None)
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "topics_1.jsonl").write_bytes(seeds["jsonl"][0])
    (tmp_path / "bag" / name).touch()
    files, unreadable = open_damaged(tmp_path / "bag")
    assert ([file.path.name for file in files], unreadable) == (["topics_1.jsonl"], [])


def test_numbers_in_names_count_by_their_value() -> None:
    assert sorted(["bag_10.db3", "bag_9.db3", "bag.db3", "bag_²"], key=natural_key)[-3:] == [
        "bag_9.db3",
        "bag_10.db3",
        "bag_²",
    ]


def test_lines_that_fit_each_other_everywhere_take_no_square_of_their_length(tmp_path: Path) -> None:
    path = tmp_path / "topics_1.jsonl"
    path.write_bytes(b'{"seq":1,' * 60_000 + b',"crc":"00000000"}' * 60_000 + b"\n" + sealed({"record": "footer"}))
    found = list(pieces(path))
    assert [bool(piece.fault) for piece in found][-1] is False  # what comes after is read


def test_publications_of_the_wrong_type_are_left_out(tmp_path: Path) -> None:
    seeds = hostile_seeds.make(tmp_path, None)
    lines = []
    for line in seeds["jsonl"][0].splitlines():
        record = orjson.loads(line)
        record.pop("crc")
        if "publish_t" in record:
            record |= {"publish_t": [1], "publish_seq": 1e9}
        lines.append(sealed(record))
    (tmp_path / "topics_1.jsonl").write_bytes(b"".join(lines))
    read = list(JsonlFile(tmp_path / "topics_1.jsonl").stored())
    assert {(message.publish_ns, message.publish_seq) for message in read} == {(None, None)}
    assert convert(tmp_path / "topics_1.jsonl", target_of(tmp_path / "out.mcap")).messages == 30


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"{\n" * (1 << 19), bytes(1 << 20)], ids=["lines", "zeros"])
def test_a_small_file_does_not_unpack_to_anything(tmp_path: Path, piece: bytes) -> None:
    path = tmp_path / "topics_1.jsonl.zst"
    path.write_bytes(mutations.zstd_bomb(300, piece))
    assert path.stat().st_size < 100_000
    with pytest.raises(CutError, match="unpacks to more than a recording can be"):
        for _ in stretches(path):
            pass


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE topics RENAME TO t; CREATE VIEW topics AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 "
        "FROM n) SELECT x AS id, '/a' AS name, 'a' AS type, 'cdr' AS serialization_format FROM n",
        "ALTER TABLE messages RENAME TO m; CREATE VIEW messages AS SELECT a.* FROM m a, m b, m c, m d, m e",
        "DROP TABLE messages; CREATE TABLE messages(id, topic_id, timestamp, data AS (zeroblob(900000000)))",
    ],
)
def test_a_database_of_queries_is_no_recording(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "a.db3"
    path.write_bytes(hostile_seeds.make(tmp_path, None)["db3"][0])
    with closing(sqlite3.connect(path)) as database:
        database.executescript(sql)
    with pytest.raises(RecordingError, match=r"must be a plain table|must have no computed columns"):
        open_damaged(path)


@pytest.mark.slow
def test_a_database_is_read_with_a_budget_of_steps(tmp_path: Path) -> None:
    """A file of small messages needs a fourth of it; one whose pages lead in circles would need more than all."""
    path = tmp_path / "a.db3"
    path.write_bytes(hostile_seeds.make(tmp_path, None)["db3"][0])
    with closing(sqlite3.connect(path)) as database:
        rows = ((n, 1, (n * 7919) % 1_000_003, b"\0") for n in range(100, 60_000))
        database.executemany("INSERT INTO messages VALUES(?, ?, ?, ?)", rows)
        database.execute("DROP INDEX timestamp_idx")
        database.commit()
    (file,), _ = open_damaged(path)
    assert sum(1 for _ in file.stored()) == sum(1 for _ in file.messages()) == 59_900 + 30


def test_a_topic_record_may_have_an_id_of_any_type(tmp_path: Path) -> None:
    lines = [
        sealed({"record": "topic", "id": number, "topic": "/diagnostics", "type": "a", "definition": {"encoding": 1}})
        for number in ({}, [1], "x", 1.5, None)
    ]
    (tmp_path / "topics_1.jsonl").write_bytes(b"".join(lines))
    assert read_tracks(tmp_path).messages == 0


@pytest.mark.parametrize("text", ["no JSON", "3", "[]", "[1]", "{}", "[" * 100_000])
def test_a_captioner_with_another_vocabulary_is_refused(tmp_path: Path, text: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(hostile_seeds.MODELS / "captioner.onnx")
    entry = next(entry for entry in model.metadata_props if entry.key == "vocabulary")
    entry.value = text
    onnx.save(model, tmp_path / "c.onnx")
    engine = load(str(tmp_path / "c.onnx"), "onnx", Options(threads=1, device="cpu"))
    with closing(engine), pytest.raises(ConfigError, match="the metadata 'vocabulary' of 'c' must be a list of words"):
        CaptionTask(engine)


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fail where something waits for ever."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: pytest.fail("it waits for what never comes"))
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_is_no_file_within_a_recording_is_neither_waited_for_nor_read(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    for name in ("metadata.yaml", "session.json", "performance_timings_1.jsonl", "topics_1.jsonl"):
        plant(tmp_path / name)
    metadata = read_metadata(tmp_path)
    assert metadata is not None
    assert "no regular file" in metadata.problem
    assert read_json(tmp_path / "session.json") == {}
    with pytest.raises(RecordingError, match="no regular file"):
        RunReader(tmp_path).poll()
    with pytest.raises(RecordingError, match="no regular file"):
        recovery.read(tmp_path)
    for name in ("performance_timings_1.jsonl", "topics_1.jsonl"):
        (tmp_path / name).unlink()
    (tmp_path / "performance_timings_1.jsonl").write_text('{"node":"a","seq":1}\n')
    with pytest.raises(RecordingError, match="no regular file"):
        recovery.read(tmp_path).write(tmp_path.with_name("out"))
    assert not tmp_path.with_name("out").exists()
