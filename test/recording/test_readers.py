"""What others read a recording with: pandas, DuckDB and jq, as it is."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
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
