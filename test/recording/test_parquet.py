"""A recording as Parquet: what pyarrow, pandas and DuckDB find in it is what was recorded, with its type."""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import duckdb
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from support.command_line import run_command
from support.runs import T0

from perf_inference.errors import ConfigError
from perf_inference.recording.bags.bag_writer import open_writer
from perf_inference.recording.bags.metadata import Contents, Metadata
from perf_inference.recording.bags.target import target_of
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.convert import convert
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.open import open_damaged

EVERYTHING = Definition(
    "x/msg/Everything",
    "ros2msg",
    "bool flag\nbyte octet\nint8 tiny\nuint16 short\nint64 large\nuint64 larger\nfloat32 single\nfloat64 double\n"
    "string text\nuint8[] blob\nuint8[4] four\nint8[] signed\nfloat64[] numbers\nfloat64[9] nine\nbool[] flags\n"
    "string[] words\nInner[] inner\nNothing nothing\n"
    + "=" * 80
    + "\nMSG: x/Inner\nint32[3] n\nstring s\n"
    + "=" * 80
    + "\nMSG: x/Nothing\n",
)
VALUES = {
    "flag": True, "octet": 255, "tiny": -128, "short": 65535, "large": -(1 << 63), "larger": (1 << 64) - 1,
    "single": 0.5, "double": 0.1, "text": "漢 é", "blob": b"\0\xff", "four": b"\1\2\3\4", "signed": [-1, 2],
    "numbers": [0.1, math.inf] * 40, "nine": [float(n) for n in range(9)], "flags": [True, False],
    "words": ["a", ""], "inner": [{"n": [1, 2, 3], "s": "x"}], "nothing": None,
}  # fmt: skip


def as_json(value: Any) -> Any:
    """Return a value as the codec takes it."""
    from base64 import b64encode

    if isinstance(value, bytes):
        return {"dtype": "|u1", "base64": b64encode(value).decode()}
    if value is None:
        return {}
    if isinstance(value, list) and value and value[0] == -1:
        return {"dtype": "|i1", "base64": b64encode(struct.pack("2b", *value)).decode()}
    if isinstance(value, list):
        return [as_json(one) for one in value]
    return "Infinity" if value == math.inf else value


def recording(path: Path, topics: list[Topic], messages: list[BagMessage]) -> Path:
    writer = open_writer(path, {".mcap": "mcap", ".jsonl": "jsonl"}[path.suffix])
    contents = Contents("mcap", path.name, Metadata())
    for topic in topics:
        writer.add(topic)
    for message in messages:
        contents.count(message)
        writer.write(next(topic for topic in topics if topic.name == message.topic), message)
    writer.close(contents.as_dict(topics))
    return path


def test_every_kind_of_field_keeps_its_type_and_value(tmp_path: Path) -> None:
    topic = Topic("/left/all", EVERYTHING.type, definition=EVERYTHING, type_hash="RIHS01_ab")
    data = Codec(EVERYTHING).encode({name: as_json(value) for name, value in VALUES.items()})
    source = recording(tmp_path / "a.mcap", [topic], [BagMessage(T0 + 1, topic.name, topic.type, data, T0, 7)])
    assert run_command("convert", "--to", "parquet", str(source), str(tmp_path / "out")) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["left__all.parquet"]
    table = pq.read_table(tmp_path / "out" / "left__all.parquet")
    (row,) = table.to_pylist()
    assert (row["t"], row["stamp"], row["publish_t"], row["publish_seq"], row["cdr"]) == (T0 + 1, None, T0, 7, None)
    assert row["message"] == VALUES
    types = {field.name: field.type for field in table.schema.field("message").type}
    assert (types["larger"], types["single"], types["short"]) == (pa.uint64(), pa.float32(), pa.uint16())
    assert (types["blob"], types["nine"]) == (pa.binary(), pa.list_(pa.float64(), 9))
    about = table.schema.metadata
    assert (about[b"topic"], about[b"type"], about[b"type_hash"]) == (b"/left/all", b"x/msg/Everything", b"RIHS01_ab")
    assert about[b"definition"].decode() == EVERYTHING.text


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", ["imu_battery_pose", "talker_mcap"])
def test_a_real_bag_message_by_message(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "bags" / name
    done = convert(source, target_of(tmp_path / "out", to="parquet"))
    tables = {}
    for path in (tmp_path / "out").iterdir():
        table = pq.read_table(path)
        tables[table.schema.metadata[b"topic"].decode()] = (table.schema, iter(table.to_pylist()))
    count = 0
    for file in open_damaged(source)[0]:
        for message in file.stored():
            schema, rows = tables[message.topic]
            row = next(rows)
            definition = Definition(message.type, "ros2msg", schema.metadata[b"definition"].decode())
            fields, exact, stamp_ns = Codec(definition).decode(message.data)
            assert (row["t"], row["stamp"], row["cdr"]) == (message.t_ns, stamp_ns, None if exact else message.data)
            assert row["message"].keys() == fields.keys()
            if "frame_id" in fields.get("header", {}):
                assert row["message"]["header"] == fields["header"]
            count += 1
    assert done.messages == count
    assert all(next(rows, None) is None for _, rows in tables.values())


def test_what_cannot_be_decoded_is_beside_the_fields(tmp_path: Path) -> None:
    text = Definition("std_msgs/msg/String", "ros2msg", "string data\n")
    topics = [Topic("/a", text.type, definition=text), Topic("/json", "J", encoding="json"), Topic("/b", "no/msg/Body"),
              Topic("/A", text.type, definition=text), Topic("/silent", text.type, definition=text)]  # fmt: skip
    messages = [
        BagMessage(1, "/a", text.type, b"\0\1\0\0\2\0\0\0a\0"),
        BagMessage(2, "/a", text.type, b"\0\1\0\0\2"),
        BagMessage(3, "/a", text.type, b"\0\1\0\0\2\0\0\0b\0\7"),
        BagMessage(4, "/json", "J", b"{}"),
        BagMessage(5, "/b", "no/msg/Body", b"\0\1\0\0"),
        BagMessage(6, "/A", text.type, b"\0\1\0\0\2\0\0\0c\0"),
    ]
    done = convert(recording(tmp_path / "a.mcap", topics, messages), target_of(tmp_path / "out", to="parquet"))
    assert (done.kept.undecoded, done.kept.refused, done.kept.inexact, done.lost) == (2, 1, 1, ())
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["A_2.parquet", "a.parquet", "b.parquet", "json.parquet", "silent.parquet"]
    rows = pq.read_table(tmp_path / "out" / "a.parquet").to_pylist()
    assert [(row["message"], row["cdr"]) for row in rows] == [
        ({"data": "a"}, None), (None, messages[1].data), ({"data": "b"}, messages[2].data)]  # fmt: skip
    assert pq.read_table(tmp_path / "out" / "json.parquet").to_pylist()[0]["data"] == b"{}"
    assert pq.read_table(tmp_path / "out" / "silent.parquet").num_rows == 0


def timing(seq: int, **more: Any) -> dict[str, Any]:
    return {"node": "yolo_node", "seq": seq, "stamp_ns": T0 + seq if seq % 2 else None, "infer_ms": 1.5, **more}


@pytest.mark.slow
def test_the_timings_of_a_run_are_one_table(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    lines = [orjson.dumps(timing(seq)) for seq in range(25_000)] + [orjson.dumps(timing(25_000, tokens=7, late=None))]
    (run / "performance_timings_20260101_000000.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    more = [timing(1, tokens=8, warm=True), timing(2, camera="front", infer_ms=2)]
    (run / "performance_timings_20260101_000001.jsonl").write_bytes(b"\n".join(map(orjson.dumps, more)))
    assert run_command("convert", "--to", "parquet", str(run), str(tmp_path / "out")) == 0
    table = pq.read_table(tmp_path / "out" / "performance_timings.parquet")
    rows = table.to_pylist()
    assert len(rows) == 25_003
    assert [row["stamp_ns"] for row in rows[:3]] == [None, T0 + 1, None]
    assert [row["tokens"] for row in rows[-3:]] == [7, 8, None]
    types = {field.name: field.type for field in table.schema}
    assert (types["stamp_ns"], types["tokens"], types["warm"]) == (pa.int64(), pa.int64(), pa.bool_())
    assert types["infer_ms"] == pa.float64(), "whole numbers among them are floats too"
    file = tmp_path / "out" / "performance_timings.parquet"
    assert duckdb.sql(f"SELECT sum(tokens), max(stamp_ns) FROM '{file}'").fetchall() == [(15, T0 + 24_999)]
    frame = pd.read_parquet(file, dtype_backend="pyarrow")
    assert frame.stamp_ns.iloc[24_999] == T0 + 24_999


def test_lines_that_are_no_timings_are_told(tmp_path: Path) -> None:
    path = tmp_path / "performance_timings_20260101_000000.jsonl"
    path.write_bytes(orjson.dumps(timing(1)) + b"\n[]\n" + orjson.dumps(timing(2)) + b'\n{"node":"yo')
    done = convert(path, target_of(tmp_path / "out", to="parquet"))
    assert done.unreadable == (f"{path}: 2 lines are no timings",)
    assert pq.read_table(tmp_path / "out" / "performance_timings.parquet").num_rows == 2


def test_timings_that_were_recovered_beside_themselves_are_read_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    path = run / "performance_timings_20260101_000000.jsonl"
    path.write_bytes(b"".join(orjson.dumps(timing(seq)) + b"\n" for seq in range(10))[:-20])
    assert run_command("recover", str(path)) == 3
    assert len(list(run.iterdir())) == 2
    assert run_command("convert", "--to", "parquet", str(run), str(tmp_path / "out")) == 0
    assert pq.read_table(tmp_path / "out" / "performance_timings.parquet").num_rows == 9


def test_a_target_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Definition("std_msgs/msg/String", "ros2msg", "string data\n")
    source = recording(tmp_path / "a.mcap", [Topic("/a", text.type, definition=text)], [])
    for path, storage in (("out.mcap", None), ("out", "mcap")):
        with pytest.raises(ConfigError, match="--to parquet makes a folder"):
            target_of(tmp_path / path, storage, "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"pip install pyarrow"):
        convert(source, target_of(tmp_path / "out", to="parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"], "nothing is left of it"


def test_two_definitions_are_two_files(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "faults" / "bags" / "one_type_two_definitions" / "twodefs.mcap"
    assert run_command("convert", "--to", "parquet", str(source), str(tmp_path / "out")) == 0
    tables = [pq.read_table(path).to_pylist() for path in sorted((tmp_path / "out").iterdir())]
    assert [[row["message"] for row in rows] for rows in tables] == [[{"x": 1.0, "y": 2.0}] * 3] * 2


def test_what_parquet_cannot_hold_is_named(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "faults" / "bags" / "mixed_mcap" / "mixed.mcap"
    assert run_command("convert", "--to", "parquet", str(source), str(tmp_path / "out")) == 3
    (table,) = (pq.read_table(path) for path in (tmp_path / "out").iterdir() if path.name == "nos.parquet")
    assert json.loads(table.schema.metadata[b"metadata"]) == {"k": "v"}
