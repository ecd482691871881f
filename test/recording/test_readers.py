"""What others read a recording with: pandas, DuckDB and jq, as it is."""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
from pathlib import Path

import orjson
import pytest
from support.command_line import run_command

from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import BagMessage, Topic

DEFINITION = Definition("x/msg/Sample", "ros2msg", "int64 count\nfloat64 value\nfloat32[100] scan\n")
VALUES = [0.1, math.nan, -math.inf, 1e-300]
LARGE = 2**63 - 1


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """Four messages of one topic and one of another."""
    lines = Segment("start", 1, 1, {"host": {}, "software": {}, "parameters": {}})
    samples = Channel(Topic("/samples", "x/msg/Sample", definition=DEFINITION), Codec(DEFINITION))
    other = Channel(Topic("/other", "x/msg/Other"), None)
    path = tmp_path / "topics_1.jsonl"
    with open(path, "wb") as file:
        file.write(lines.header())
        for seq, value in enumerate(VALUES, 1):
            data = b"\x00\x01\x00\x00" + struct.pack("<qd100f", LARGE, value, *range(100))
            file.write(lines.message(samples, seq, BagMessage(seq * 10, "/samples", "x/msg/Sample", data)))
        file.write(lines.message(other, 5, BagMessage(50, "/other", "x/msg/Other", b"\x00\x01\x00\x00")))
        file.write(lines.footer())
    return path


def test_pandas(segment: Path) -> None:
    import pandas as pd

    frame = pd.read_json(segment, lines=True, precise_float=True)
    messages = frame[frame.record.isna()]
    assert messages.groupby("topic").size().to_dict() == {"/samples": 4, "/other": 1}
    samples = pd.json_normalize(messages[messages.topic == "/samples"].message.tolist())
    values = samples.value.astype(float).tolist()
    assert (values[0], math.isnan(values[1]), values[2:]) == (VALUES[0], True, VALUES[2:])
    assert samples["count"].tolist() == [LARGE] * 4


def test_duckdb(segment: Path) -> None:
    import duckdb

    rows = duckdb.sql(
        f"""SELECT seq, t, message.count, CAST(message.value ->> '$' AS DOUBLE), from_base64(message.scan.base64)
            FROM read_json('{segment}') WHERE topic = '/samples' AND record IS NULL ORDER BY seq"""
    ).fetchall()
    assert [row[:3] for row in rows] == [(seq, seq * 10, LARGE) for seq in (1, 2, 3, 4)]
    values = [row[3] for row in rows]
    assert (values[0], math.isnan(values[1]), values[2:]) == (VALUES[0], True, VALUES[2:])
    assert struct.unpack("<100f", rows[0][4]) == tuple(range(100))


def test_jq(segment: Path) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    query = 'select(.record == null and .topic == "/samples") | [.seq, .message.value]'
    printed = subprocess.run(["jq", "-c", query, str(segment)], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == ["[1,0.1]", '[2,"NaN"]', '[3,"-Infinity"]', "[4,1e-300]"]


# --- the recipes of docs/format.md, where a topic and a column come late

T0 = 1_700_000_000_123_456_789
LATE = 26_000  # beyond what DuckDB looks at by default
TEMPERATURE = "sensor_msgs/msg/Temperature"


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment in which a topic with stamps, and publication times, first come after line 26,000."""
    plain, stamped = Definition("x/msg/A", "ros2msg", "int64 n\n"), builtin_definition(TEMPERATURE)
    assert stamped is not None
    lines = Segment("start", 1, 1, {"host": {}, "software": {}, "parameters": {}})
    first = Channel(Topic("/a", plain.type, definition=plain), Codec(plain))
    codec = Codec(stamped)
    second = Channel(Topic("/t", TEMPERATURE, definition=stamped), codec)
    path = tmp_path_factory.mktemp("late") / "topics_1.jsonl"
    with open(path, "wb") as file:
        file.write(lines.header())
        for n in range(LATE):
            data = b"\0\1\0\0" + struct.pack("<q", LARGE - n)
            file.write(lines.message(first, n + 1, BagMessage(T0 + n, "/a", plain.type, data)))
        for n in range(3):
            stamp = {"sec": (T0 + n) // 10**9, "nanosec": (T0 + n) % 10**9}
            data = codec.encode(
                {"header": {"stamp": stamp, "frame_id": "f"}, "temperature": 20.5 + n, "variance": math.inf}
            )
            message = BagMessage(T0 + LATE + n, "/t", TEMPERATURE, data, T0 - 1 - n, n + 1)
            file.write(lines.message(second, LATE + 1 + n, message))
        file.write(lines.footer())
    return path


EXPECTED = [(T0 + LATE + n, T0 + n, T0 - 1 - n, 20.5 + n) for n in range(3)]


@pytest.fixture(scope="module")
def late_timings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Timings in which stamps are null now and then, and `tokens` first comes after line 26,000."""
    path = tmp_path_factory.mktemp("timings") / "performance_timings_20260101_000000.jsonl"
    rows = [{"node": "yolo_node", "seq": n, "stamp_ns": None if n % 3 else T0 + n, "infer_ms": n} for n in range(LATE)]
    rows += [{"node": "caption_node", "seq": 1, "stamp_ns": T0 + 1, "infer_ms": 0.25, "tokens": 7}]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def test_duckdb_where_a_topic_and_a_column_come_late(late: Path) -> None:
    import duckdb

    rows = duckdb.sql(
        f"""SELECT t, stamp, publish_t, message.temperature FROM read_json('{late}', union_by_name = true,
            sample_size = -1, maximum_object_size = 1000000000) WHERE record IS NULL AND topic = '/t' ORDER BY seq"""
    ).fetchall()
    assert rows == EXPECTED
    (largest,) = duckdb.sql(f"SELECT max(message.n) FROM read_json('{late}', sample_size = -1)").fetchall()[0]
    assert largest == LARGE


def test_duckdb_on_timings_where_a_column_comes_late(late_timings: Path) -> None:
    import duckdb

    found = duckdb.sql(
        f"SELECT count(*), max(stamp_ns), sum(tokens), min(infer_ms) FILTER (seq = 1) "
        f"FROM read_json('{late_timings}', sample_size = -1)"
    ).fetchall()
    assert found == [(LATE + 1, T0 + (LATE - 1) // 3 * 3, 7, 0.25)]


def test_pandas_where_a_topic_and_a_column_come_late(late: Path) -> None:
    import pandas as pd

    with open(late, "rb") as file:
        rows = [row for row in map(json.loads, file) if "record" not in row]
    frame = pd.DataFrame(rows, dtype=object).astype({"t": "Int64", "stamp": "Int64", "publish_t": "Int64"})
    messages = frame[frame.topic == "/t"]
    values = [message["temperature"] for message in messages.message]
    assert list(zip(messages.t, messages.stamp, messages.publish_t, values, strict=True)) == EXPECTED
    assert frame.stamp.isna().sum() == LATE
    joined = messages.merge(pd.DataFrame({"stamp": [T0 + 1]}, dtype="Int64"), on="stamp")
    assert joined.t.tolist() == [T0 + LATE + 1], "stamps are joined to the nanosecond"


def test_pandas_on_timings_where_a_column_comes_late(late_timings: Path) -> None:
    import pandas as pd

    with open(late_timings, "rb") as file:
        frame = pd.DataFrame(map(json.loads, file), dtype=object)
    frame = frame.astype({"stamp_ns": "Int64", "infer_ms": float})
    assert frame.stamp_ns.iloc[3] == T0 + 3
    assert pd.isna(frame.stamp_ns.iloc[4])
    assert (frame.tokens.iloc[-1], frame.infer_ms.iloc[-1], len(frame)) == (7, 0.25, LATE + 1)


def test_pyarrow_on_timings_and_on_a_segment(late: Path, late_timings: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    frame = pd.read_json(late_timings, lines=True, engine="pyarrow", dtype_backend="pyarrow")
    assert (frame.stamp_ns.iloc[3], frame.tokens.iloc[-1], frame.infer_ms.iloc[-1]) == (T0 + 3, 7, 0.25)
    frame = pd.read_json(late, lines=True, engine="pyarrow", dtype_backend="pyarrow")
    messages = frame[frame.record.isna() & (frame.topic == "/t")]
    assert list(zip(messages.t, messages.stamp, messages.publish_t, strict=True)) == [row[:3] for row in EXPECTED]


@pytest.mark.slow
def test_parquet_where_a_topic_and_a_column_come_late(late: Path, late_timings: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import duckdb
    import pandas as pd
    import pyarrow.parquet

    assert run_command("convert", "--to", "parquet", str(late), str(tmp_path / "topics")) == 0
    path = tmp_path / "topics" / "t.parquet"
    assert duckdb.sql(f"SELECT t, stamp, publish_t, message.temperature FROM '{path}'").fetchall() == EXPECTED
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    assert list(zip(frame.t, frame.stamp, frame.publish_t, strict=True)) == [row[:3] for row in EXPECTED]
    table = pyarrow.parquet.read_table(path).flatten()
    assert table.column("message.variance").to_pylist() == [math.inf] * 3
    assert run_command("convert", "--to", "parquet", str(late_timings), str(tmp_path / "timings")) == 0
    path = tmp_path / "timings" / "performance_timings.parquet"
    assert duckdb.sql(f"SELECT stamp_ns, tokens FROM '{path}' WHERE tokens IS NOT NULL").fetchall() == [(T0 + 1, 7)]
