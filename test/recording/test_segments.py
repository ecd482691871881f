"""Segments: what is in each, when the next begins, and what is said of records that did not get in."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.processes import wait_until

from perf_inference.errors import InputError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.jsonl.line import LineError, sealed, unsealed
from perf_inference.recording.jsonl.segment import Channel
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.qos import Qos
from perf_inference.recording.recorder.compressor import Compressor
from perf_inference.recording.recorder.segments import SegmentLimits, Segments
from perf_inference.recording.recorder.session import Session
from perf_inference.recording.recorder.writer import Writer

DEFINITION = Definition("x/msg/Count", "ros2msg", "uint32 data\n")
TOPIC = Topic("/count", "x/msg/Count", qos=(Qos(depth=3),), type_hash="RIHS01_0", definition=DEFINITION)
COUNT = Channel(TOPIC, Codec(DEFINITION))
ABOUT = {"host": {"name": "h"}, "software": {}, "parameters": {"a": 1}}


def message(number: int, **more: Any) -> BagMessage:
    return BagMessage(1000 + number, "/count", "x/msg/Count", b"\x00\x01\x00\x00" + struct.pack("<I", number), **more)


class Folder:
    """A run's directory with a writer that saves at once."""

    def __init__(self, tmp_path: Path, **more: Any) -> None:
        session = Session(str(tmp_path), "run", "20260102_030405", {})
        self.path = session.directory
        self.writer = Writer(save_every=1)
        self.segments = Segments(self.writer, session.next_topics, ABOUT, **more)

    def write(self, first: int, last: int, channel: Channel = COUNT) -> None:
        for seq in range(first, last + 1):
            assert self.writer.put(self.segments.message, channel, seq, message(seq))

    def close(self) -> None:
        self.writer.close(self.segments.close)

    def records(self, number: int = 1) -> list[dict[str, Any]]:
        return [unsealed(line) for line in (self.path / f"topics_{number}.jsonl").read_bytes().splitlines(True)]


def kinds(records: list[dict[str, Any]]) -> list[Any]:
    return [record.get("record", record.get("seq")) for record in records]


def test_a_segment_says_what_it_holds(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(1, 2)
    folder.writer.put(folder.segments.message, COUNT, 3, message(3, publish_ns=5, publish_seq=9))
    folder.close()
    header, topic, first, _, third, footer = folder.records()
    start = header.pop("start")
    assert (len(start), header.pop("time_ns") > 0, header.pop("crc") != "") == (32, True, True)
    assert header == {
        "record": "header", "format": "perf_inference/topics", "version": 2, "segment": 1, "first_seq": 1, **ABOUT,
    }  # fmt: skip
    del topic["crc"]
    assert topic == {
        "record": "topic", "id": 1, "topic": "/count", "type": "x/msg/Count", "encoding": "cdr",
        "qos": [Qos(depth=3).as_dict()], "type_hash": "RIHS01_0",
        "definition": {"encoding": "ros2msg", "text": "uint32 data\n"},
    }  # fmt: skip
    del first["crc"], third["crc"]
    assert first == {"seq": 1, "t": 1001, "topic": "/count", "stamp": None, "message": {"data": 1}}
    assert third == {
        "seq": 3, "t": 1003, "topic": "/count", "stamp": None, "publish_t": 5, "publish_seq": 9, "message": {"data": 3},
    }  # fmt: skip
    del footer["crc"]
    assert footer == {
        "record": "footer", "records": 3, "first_seq": 1, "last_seq": 3, "t_first": 1001, "t_last": 1003,
        "topics": {"/count": {"records": 3, "dropped": 0}},
    }  # fmt: skip


def test_what_the_fields_would_not_give_back_is_kept_as_it_came(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    spare = message(1)._replace(data=b"\x00\x01\x00\x00\x07\x00\x00\x00\xff")
    short = message(2)._replace(data=b"\x00\x01\x00\x00\x07")
    with pytest.raises(InputError):
        Codec(DEFINITION).decode(short.data)
    for seq, one in enumerate((spare, short, message(3)), 1):
        folder.writer.put(folder.segments.message, COUNT, seq, one)
    folder.writer.put(folder.segments.message, Channel(TOPIC, COUNT.codec, nested=False), 4, message(4))
    folder.writer.put(folder.segments.message, Channel(TOPIC, None), 5, message(5))
    folder.close()
    contents = [(one.get("message"), one.get("cdr")) for one in folder.records()[2:-1]]
    assert contents == [
        ({"data": 7}, "AAEAAAcAAAD/"),
        (None, "AAEAAAc="),
        ({"data": 3}, None),
        (None, "AAEAAAQAAAA="),
        (None, "AAEAAAUAAAA="),
    ]


def test_two_types_on_one_topic_are_told_apart(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    other = Channel(Topic("/count", "x/msg/Other"), None)
    folder.write(1, 1)
    folder.write(2, 2, other)
    folder.write(3, 3)
    folder.close()
    records = folder.records()
    assert kinds(records) == ["header", "topic", 1, "topic", 2, 3, "footer"]
    assert [record.get("id") for record in records] == [None, 1, None, 2, 2, None, None]
    assert records[-1]["topics"] == {"/count": {"records": 3, "dropped": 0}}


def test_the_next_segment_begins_at_its_size_and_can_be_read_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path, limits=SegmentLimits(max_bytes=1200))
    folder.write(1, 12)
    folder.close()
    names = sorted(path.name for path in folder.path.glob("topics_*"))
    assert len(names) > 2
    seen: list[int] = []
    starts = set()
    for number in range(1, len(names) + 1):
        records = folder.records(number)
        messages = [record for record in records if "record" not in record]
        assert kinds(records[:2]) == ["header", "topic"] or not messages
        assert (records[0]["segment"], records[0]["first_seq"]) == (number, len(seen) + 1)
        assert (records[-1]["record"], records[-1]["records"]) == ("footer", len(messages))
        seen += [record["seq"] for record in messages]
        starts.add(records[0]["start"])
    assert seen == list(range(1, 13))
    assert len(starts) == 1


class Steady:
    """Clocks that stand still until they are set."""

    now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def system_ns(self) -> int:
        return 1

    def pair(self) -> tuple[int, int]:
        return self.now_ns, 1


def test_the_next_segment_begins_at_its_age(tmp_path: Path) -> None:
    clocks = Steady()
    folder = Folder(tmp_path, limits=SegmentLimits(max_s=2.0), clocks=clocks)
    folder.segments.message(COUNT, 1, message(1))
    clocks.now_ns = 2_000_000_000
    folder.segments.message(COUNT, 2, message(2))  # the last one of the first
    folder.segments.message(COUNT, 3, message(3))
    folder.close()
    assert (kinds(folder.records(1)), kinds(folder.records(2))) == (
        ["header", "topic", 1, 2, "footer"],
        ["header", "topic", 3, "footer"],
    )


def test_where_the_next_segment_cannot_be_opened_this_one_goes_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path, limits=SegmentLimits(max_bytes=1))
    (folder.path / "topics_2.jsonl").mkdir()  # which the names of files do not tell ...
    folder.segments._next_path = lambda: folder.path / "topics_2.jsonl"
    folder.write(1, 3)
    folder.close()
    assert kinds(folder.records(1)) == ["header", "topic", 1, 2, 3, "footer"]
    assert (folder.writer.counts().failed, folder.segments.count) == (0, 1)


def test_a_next_segment_that_could_not_be_opened_is_tried_again_after_a_second(tmp_path: Path) -> None:
    clocks = Steady()
    folder = Folder(tmp_path, limits=SegmentLimits(max_bytes=1), clocks=clocks)
    real, asked = folder.segments._next_path, []

    def missing() -> Path:
        asked.append(1)
        return tmp_path / "missing" / "topics_2.jsonl"

    folder.segments._next_path = missing
    for seq in (1, 2, 3):
        folder.segments.message(COUNT, seq, message(seq))
    assert len(asked) == 1
    folder.segments._next_path = real
    clocks.now_ns = 1_000_000_000
    folder.segments.message(COUNT, 4, message(4))
    folder.close()
    assert kinds(folder.records(2)) == ["header", "footer"]


def test_what_the_disk_refused_to_the_end_is_said_at_the_end(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.writer.takes = lambda: False
    folder.segments.message(COUNT, 1, message(1))
    folder.close()
    assert kinds(folder.records()) == ["header", "topic", "drops", "footer"]


def test_what_the_queue_dropped_is_said_where_it_happened(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(1, 1)
    folder.writer.call(folder.segments.drops, COUNT, 3, 2, 4)
    folder.write(5, 5)
    folder.close()
    records = folder.records()
    assert kinds(records) == ["header", "topic", 1, "drops", 5, "footer"]
    assert {key: records[3][key] for key in ("topic", "count", "first_seq", "last_seq", "reason")} == {
        "topic": "/count", "count": 3, "first_seq": 2, "last_seq": 4, "reason": "queue",
    }  # fmt: skip
    assert records[-1]["topics"] == {"/count": {"records": 2, "dropped": 3}}


@pytest.mark.slow
def test_what_the_disk_refused_for_too_long_is_dropped_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    folder.write(1, 1)
    assert wait_until(lambda: folder.writer.counts().records == 1)
    real, full = os.write, [True]

    def write(fd: int, data: bytes) -> int:
        if full and os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    large = message(2)._replace(data=bytes(3 << 20))
    for seq in range(2, 9):  # 4 MB each as base64: two or three wait for the disk, the others do not
        folder.writer.put(folder.segments.message, COUNT, seq, large, size_bytes=1)
    assert wait_until(lambda: folder.writer.counts().dropped > 0)
    assert "No space left" in folder.writer.counts().error
    assert wait_until(lambda: folder.writer.counts().waiting + folder.writer.counts().dropped == 7)
    full.clear()
    assert wait_until(lambda: folder.writer.counts().error == "")
    folder.write(9, 9)
    folder.close()
    records = folder.records()
    (drops,) = [record for record in records if record.get("record") == "drops"]
    assert (drops["reason"], drops["last_seq"]) == ("disk", 8)
    assert kinds(records)[-3:] == ["drops", 9, "footer"], "said as soon as there was room"
    written = [record["seq"] for record in records if "seq" in record]
    assert written == [*range(1, drops["first_seq"]), 9]
    assert drops["count"] == 9 - drops["first_seq"] == folder.writer.counts().dropped
    assert records[-1]["topics"] == {"/count": {"records": len(written), "dropped": drops["count"]}}


def test_closed_segments_are_compressed_and_the_last_stays(tmp_path: Path) -> None:
    compressor = Compressor()
    folder = Folder(tmp_path, limits=SegmentLimits(max_bytes=1), closed=compressor.add)
    folder.write(1, 2)
    assert wait_until(lambda: (folder.path / "topics_2.jsonl.zst").exists())
    folder.close()
    compressor.close()
    names = {path.name for path in folder.path.glob("*topics_*")}
    assert names == {"topics_1.jsonl.zst", "topics_2.jsonl.zst", "topics_3.jsonl"}
    packed = (folder.path / "topics_1.jsonl.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines(True)
    assert kinds([unsealed(line) for line in lines]) == ["header", "topic", 1, "footer"]


def test_a_segment_that_cannot_be_compressed_stays(tmp_path: Path) -> None:
    compressor = Compressor()
    path = tmp_path / "topics_1.jsonl"
    path.mkdir()
    compressor.add(path)
    assert wait_until(lambda: compressor.error != "")
    assert compressor.error == f"{path} stays as it is, compression failed: Is a directory"
    compressor.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["topics_1.jsonl"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (sealed({"seq": 1})[:-1], "torn"),
        (b'{"seq":1}\n', "foreign: it does not end with a checksum"),
        (b"\n", "foreign"),
        (sealed({"seq": 1}).replace(b"1", b"2", 1), "damaged: its checksum does not fit"),
        (sealed({"seq": 1}).replace(b"8c", b"8d"), "damaged"),
    ],
)
def test_a_line_that_is_not_as_it_was_written_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(LineError, match=why):
        unsealed(line)


def test_the_checksum_is_the_crc_32_of_what_stands_before_it() -> None:
    assert sealed({"seq": 1}) == b'{"seq":1,"crc":"8c63767c"}\n'
    assert unsealed(sealed({"seq": 1})) == {"seq": 1, "crc": "8c63767c"}


def test_what_is_not_compressed_at_the_end_stays_as_it_is(tmp_path: Path) -> None:
    path, partial = tmp_path / "topics_1.jsonl", tmp_path / ".topics_1.jsonl.zst.part"
    with open(path, "wb") as file:
        file.truncate(4 << 30)  # a hole: takes no room
    compressor = Compressor()
    compressor.add(path)
    assert wait_until(partial.exists)
    compressor.close()
    assert list(tmp_path.iterdir()) == [path]
