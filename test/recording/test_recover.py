"""perf-inference recover: what comes out of damaged recordings, what is said to be missing, and the exit status."""

from __future__ import annotations

import hashlib
import random
import re
import resource
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perf_inference import cli
from perf_inference.errors import EX_CONFIG
from perf_inference.recording.jsonl.jsonl_file import JsonlFile
from perf_inference.recording.jsonl.line import sealed, unsealed
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.recovery.recovery import read

IMU, TEXT = Topic("/imu", "sensor_msgs/msg/Imu"), Topic("/text", "std_msgs/msg/String")
S = 10**9


def make(
    first: int,
    last: int,
    number: int = 1,
    start: str = "a",
    topics: Sequence[Topic] = (IMU, TEXT),
    skip: Iterable[int] = (),
) -> list[bytes]:
    """Return the lines of a segment: header, topics before their first message, messages, footer."""
    segment = Segment(start, number, first, {"host": {"name": "robot"}, "software": {}, "parameters": {"p": 1}})
    channels = [Channel(topic, None) for topic in topics]
    lines = [segment.header()]
    for seq in range(first, last + 1):
        channel = channels[seq % len(channels)]
        topic = channel.topic
        message = BagMessage(seq * S, topic.name, topic.type, b"\0\1\0\0" + bytes([seq % 251]) * (seq % 50))
        if seq not in skip:
            lines += segment.message(channel, seq, message).splitlines(keepends=True)
    return [*lines, segment.footer()]


def write(path: Path, lines: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def messages(lines: Iterable[bytes]) -> list[bytes]:
    return [line for line in lines if line.startswith(b'{"seq":')]


def seq_of(line: bytes) -> int:
    return int(orjson.loads(line)["seq"])


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
        )
        for path in [folder, *folder.rglob("*")]
    }


class Said:
    """What the command printed, and its status."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> None:
        self.status = cli.main(["recover", *map(str, arguments)])
        captured = capsys.readouterr()
        self.out, self.error = captured.out, captured.err

    @property
    def missing(self) -> list[str]:
        return re.findall(r"missing: (.*)", self.out)


def clean(path: Path) -> list[bytes]:
    """Return the messages of an output, which has to be a clean segment."""
    lines = lines_of(path)
    records = [unsealed(line) for line in lines]
    assert [index for index, record in enumerate(records) if record.get("record") == "header"] == [0]
    assert [index for index, record in enumerate(records) if record.get("record") == "footer"] == [len(lines) - 1]
    seqs = [record["seq"] for record in records if "seq" in record]
    footer = records[-1]
    assert footer["records"] == len(seqs) == sum(topic["records"] for topic in footer["topics"].values())
    assert (footer["first_seq"], footer["last_seq"]) == ((seqs[0], seqs[-1]) if seqs else (None, None))
    times = [record["t"] for record in records if "seq" in record]
    assert (footer["t_first"], footer["t_last"]) == ((times[0], times[-1]) if times else (None, None))
    return messages(lines)


# --- nothing is lost


def test_a_whole_recording_is_told_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "topics_1.jsonl", make(1, 9))
    before = fingerprint(tmp_path)
    said = Said(capsys, path)
    assert (said.status, said.missing) == (0, ["none"])
    assert said.out == (
        "topics_1.jsonl: 9 records, seq 1 to 9\n"
        "start a: 9 records; missing: none\n"
        "  the last is seq 9 at 1970-01-01T00:00:09.000000000Z; closed in order\n"
        "nothing is lost, so nothing was written (--out writes a copy)\n"
    )
    assert fingerprint(tmp_path) == before


def test_a_copy_of_a_whole_recording_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "topics_1.jsonl", make(1, 9))
    assert Said(capsys, path, "--out", tmp_path / "new" / "copy.jsonl").status == 0
    assert (tmp_path / "new" / "copy.jsonl").read_bytes() == path.read_bytes()
    assert Said(capsys, path, "--out", tmp_path / "new" / "copy.jsonl.zst").status == 0
    packed = (tmp_path / "new" / "copy.jsonl.zst").read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == path.read_bytes()


def test_without_a_footer_nothing_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 9)
    path = write(tmp_path / "topics_1.jsonl", lines[:-1])
    said = Said(capsys, path, "--out", tmp_path / "out.jsonl")
    assert (said.status, said.missing) == (0, ["none"])
    assert "topics_1.jsonl: 9 records, seq 1 to 9; no footer\n" in said.out
    assert (
        "the last is seq 9 at 1970-01-01T00:00:09.000000000Z; what may have come after it cannot be known" in said.out
    )
    assert lines_of(tmp_path / "out.jsonl") == lines, "the footer is what the recorder's would have been"


def test_foreign_lines_are_no_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 9)
    path = write(tmp_path / "topics_1.jsonl", [b"# note\n", *lines[:5], b'{"x":1}\n', *lines[5:], b"end"])
    said = Said(capsys, path, "--out", tmp_path / "out.jsonl")
    assert (said.status, said.missing) == (0, ["none"])
    assert "9 records, seq 1 to 9; 3 foreign lines (the first at byte 0)\n" in said.out
    assert lines_of(tmp_path / "out.jsonl") == lines


@pytest.mark.parametrize("seq", [1 << 63, (1 << 64) - 1, 10**18, -1])
def test_a_number_that_no_recorder_gives_is_a_line_that_is_not_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seq: int
) -> None:
    lines = make(1, 9)
    odd = sealed({"topic": "/text", "seq": seq, "t": 5, "message": {"data": "a"}})
    path = write(tmp_path / "topics_1.jsonl", [*lines[:5], odd, *lines[5:]])
    said = Said(capsys, path, "--out", tmp_path / "out.jsonl")
    assert "9 records, seq 1 to 9; 1 foreign line (the first at byte " in said.out
    assert messages(lines_of(tmp_path / "out.jsonl")) == messages(lines)
    assert list(JsonlFile(path).messages())


# --- a cut


def test_a_torn_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 9)
    path = write(tmp_path / "topics_1.jsonl", [*lines[:-2], lines[-2][:-5]])
    before = path.read_bytes(), path.stat().st_mtime_ns
    said = Said(capsys, path)
    assert (said.status, said.missing) == (3, ["9 (1 record)"])
    at = len(path.read_bytes()) - len(lines[-2]) + 5
    assert (
        f"8 records, seq 1 to 8; 1 torn line (the first at byte {at}); the torn line was seq 9; no footer" in said.out
    )
    out = tmp_path / "topics_1_recovered.jsonl"
    assert f"written: {out}\nrecovered with loss\n" in said.out
    assert clean(out) == messages(lines)[:8]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    again = Said(capsys, path)
    assert again.status == EX_CONFIG
    assert f"--out must name something new, but {out} is there; nothing was written" in again.error


@pytest.mark.slow
def test_cut_at_every_byte(tmp_path: Path) -> None:
    lines = make(1, 3)
    text = b"".join(lines)
    path = tmp_path / "topics_1.jsonl"
    for cut in range(1, len(text)):
        path.write_bytes(text[:cut])
        kept = [
            line for line in lines if text.index(line) + len(line) - 1 <= cut
        ]  # without its newline it is whole too
        if not kept:
            assert cli.main(["recover", str(path)]) == 1
            continue
        found, out = read(path), tmp_path / f"{cut}.jsonl"
        torn = cut - sum(map(len, kept)) > 0
        assert found.complete == (not torn), cut
        found.write(out)
        assert clean(out) == messages(kept)
        assert [line for line in lines_of(out)[:-1] if line not in kept] == []
        begun = re.match(rb'\{"seq":(\d+),', text[sum(map(len, kept)) : cut])
        expected = [(int(begun[1]), int(begun[1]))] if begun else []
        assert found.starts()[0].missing() == expected
        out.unlink()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.999])
def test_a_cut_zstd_file_gives_every_line_before_the_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    lines = make(1, 5000)
    packed = zstandard.compress(b"".join(lines))
    path = write(tmp_path / "topics_1.jsonl.zst", [packed[: int(len(packed) * share)]])
    said = Said(capsys, path, "--out", tmp_path / "out.jsonl")
    if share < 0.4 and said.status == 1:
        assert "has no whole line" in said.error  # not even the first block is there
        return
    assert said.status == 3
    assert "the zstd file is cut off within the frame that begins at byte 0" in said.out
    found = clean(tmp_path / "out.jsonl")
    assert found == messages(lines)[: len(found)]
    reader = zstandard.ZstdDecompressor().decompressobj()
    assert len(found) == len(messages(reader.decompress(path.read_bytes()).splitlines(keepends=True)[:-1]))


def test_a_damaged_zstd_file_gives_every_block_before_the_damage(tmp_path: Path) -> None:
    source = random.Random(1)
    topic = Channel(TEXT, None)
    segment = Segment("a", 1, 1, {})
    lines = [segment.header()]
    for seq in range(1, 2001):
        message = BagMessage(seq, TEXT.name, TEXT.type, source.randbytes(300))
        lines += segment.message(topic, seq, message).splitlines(keepends=True)
    text = b"".join(lines)
    packed = bytearray(zstandard.compress(text))
    at = len(packed) // 2
    packed[at : at + 2000] = bytes(2000)
    path = write(tmp_path / "topics_1.jsonl.zst", [bytes(packed)])
    found = read(path)
    assert not found.complete
    found.write(tmp_path / "out.jsonl")
    kept = clean(tmp_path / "out.jsonl")
    assert set(kept) <= set(lines)
    blocks = len(b"".join(lines)) * at // len(packed) // (128 << 10)  # random bytes pack evenly
    assert len(b"".join(kept)) > (blocks - 1) * (128 << 10)
    assert "zstd file is damaged near byte" in found.segments[0].faults["cut"][1].line.decode()


def test_blocks_in_the_same_chunk_as_the_damage_are_not_lost(tmp_path: Path) -> None:
    segment, text = Segment("a", 1, 1, {}), Channel(TEXT, None)
    message = BagMessage(1, TEXT.name, TEXT.type, bytes(100_000))  # 133 kB a line, some bytes in zstd
    lines = [segment.header()]
    for seq in range(1, 41):
        lines += segment.message(text, seq, message).splitlines(keepends=True)
    packed = bytearray(zstandard.compress(b"".join(lines)))
    at = len(packed) * 3 // 4
    assert len(packed) < 4096
    packed[at : at + 9] = b"\xff" * 9
    found = read(write(tmp_path / "topics_1.jsonl.zst", [bytes(packed)]))
    assert 20 < found.records < 40


# --- overwritten


def test_lines_within_garbage_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 9)  # 0 header, 1 topic, 2: seq 1, 3 topic, 4: seq 2, ...
    damaged = list(lines)
    damaged[4] = lines[4][:20]  # its end is overwritten: seq 3 follows on the same physical line
    damaged[6] = b"\0\xff\n\xfe" * 9  # seq 4
    damaged[7] = lines[7][:-1] + b"\0\0"  # only the newline of seq 5
    damaged[8] = lines[8].replace(b'"t":6', b'"t":7')
    path = write(tmp_path / "topics_1.jsonl", damaged)
    said = Said(capsys, path)
    assert (said.status, said.missing) == (3, ["2, 4, 6 (3 records)"])
    found = clean(tmp_path / "topics_1_recovered.jsonl")
    assert found == [line for line in messages(lines) if seq_of(line) not in (2, 4, 6)]
    assert lines_of(tmp_path / "topics_1_recovered.jsonl")[:-1] == [
        line for line in lines[:-1] if line not in (lines[4], lines[6], lines[8])
    ]


def test_a_lost_header_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 9)
    path = write(tmp_path / "topics_1.jsonl", [bytes(len(lines[0])), *lines[1:]])
    said = Said(capsys, path)
    assert (said.status, said.missing) == (3, ["none"])
    assert "9 records, seq 1 to 9; 1 damaged line (the first at byte 0); the header is lost" in said.out
    out = lines_of(tmp_path / "topics_1_recovered.jsonl")
    header = unsealed(out[0])
    assert (header["record"], header["segment"], header["first_seq"], header["time_ns"]) == ("header", 1, 1, S)
    assert header["start"] == "recovered topics_1.jsonl 1000000000"
    assert out[1:] == lines[1:]
    assert len(list(JsonlFile(tmp_path / "topics_1_recovered.jsonl").messages())) == 9


def test_a_lost_topic_record_is_taken_from_another_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make(1, 4), make(5, 8, number=2)
    imu = next(line for line in second if line.startswith(b'{"record":"topic"') and b"/imu" in line)
    second.remove(imu)
    run = tmp_path / "run"
    write(run / "topics_1.jsonl", first)
    write(run / "topics_2.jsonl", second)
    said = Said(capsys, run)
    assert (said.status, said.missing) == (3, ["none"])
    assert (
        "  /imu: the topic record of 2 messages is lost; taken from another segment (sensor_msgs/msg/Imu)\n" in said.out
    )
    out = tmp_path / "run_recovered"
    assert lines_of(out / "topics_1.jsonl") == first
    found = lines_of(out / "topics_2.jsonl")
    made = next(line for line in found if b"/imu" in line and line.startswith(b'{"record":"topic"'))
    assert unsealed(made)["type"] == "sensor_msgs/msg/Imu"
    assert [line for line in found if line != made] == second
    assert found.index(made) < found.index(next(line for line in messages(found) if b"/imu" in line))
    assert [m.type for m in JsonlFile(out / "topics_2.jsonl").stored()] == [TEXT.type, IMU.type] * 2


def test_a_topic_that_is_known_nowhere_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 4)
    lost = [line for line in lines if not (line.startswith(b'{"record":"topic"') and b"/imu" in line)]
    said = Said(capsys, write(tmp_path / "topics_1.jsonl", lost))
    assert (said.status, said.missing) == (3, ["none"])
    assert "/imu: the topic record of 2 messages is lost; known nowhere: the lines are kept" in said.out
    assert lines_of(tmp_path / "topics_1_recovered.jsonl") == lost


def test_the_record_of_a_second_type_is_not_taken_for_a_lost_first_one(tmp_path: Path) -> None:
    lines = make(1, 6, topics=(IMU, Topic("/imu", "std_msgs/msg/String")))  # odd seq: String, the first; even: tagged
    lines.pop(1)
    path = write(tmp_path / "topics_1.jsonl", lines)
    assert [(m.t_ns // S, m.type) for m in JsonlFile(path).stored()] == [(n, IMU.type) for n in (2, 4, 6)]
    other = write(tmp_path / "run" / "topics_2.jsonl", lines)
    write(tmp_path / "run" / "topics_1.jsonl", make(1, 2, start="b", topics=(Topic("/imu", "std_msgs/msg/String"),)))
    read(other.parent).write(tmp_path / "out")
    kinds = [m.type for m in JsonlFile(tmp_path / "out" / "topics_2.jsonl").stored()]
    assert kinds == ["std_msgs/msg/String", "sensor_msgs/msg/Imu"] * 3


# --- a run's directory


def test_gaps_across_segments_and_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write(run / "topics_1.jsonl", make(1, 10)[:-1])
    write(run / "topics_3.jsonl", make(21, 30, number=3, skip=(24, 25)))  # the second one is gone
    second = make(1, 5, number=4, start="b")
    write(run / "topics_4.jsonl", [*second[:-2], second[-2][:25]])
    said = Said(capsys, run)
    assert said.status == 3
    assert "start a: 18 records; missing: 11-20, 24-25 (12 records)\n" in said.out
    assert "start b: 4 records; missing: 5 (1 record)\n" in said.out
    assert sorted(path.name for path in (tmp_path / "run_recovered").iterdir()) == [
        "topics_1.jsonl", "topics_3.jsonl", "topics_4.jsonl",
    ]  # fmt: skip
    assert lines_of(tmp_path / "run_recovered" / "topics_3.jsonl") == lines_of(run / "topics_3.jsonl")


def test_a_run_has_its_records_from_1_on_and_a_file_from_its_header_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "run" / "topics_2.jsonl", make(11, 20, number=2))
    empty = Segment("a", 3, 26, {})
    write(tmp_path / "run" / "topics_3.jsonl", [empty.header(), empty.footer()])
    assert Said(capsys, path).missing == ["none"]
    assert Said(capsys, path.parent).missing == ["1-10, 21-25 (15 records)"]


def test_a_damaged_line_may_lie_about_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(1, 9)[:-1]
    for lie, missing in ((b'{"seq":9099,', "none"), (b'{"seq":9,', "9 (1 record)")):
        damaged = lines[-1].replace(b'{"seq":9,', lie).replace(b'"stamp"', b'"stomp"')
        said = Said(capsys, write(tmp_path / "topics_1.jsonl", [*lines[:-1], damaged]))
        (tmp_path / "topics_1_recovered.jsonl").unlink()
        assert (said.status, said.missing) == (3, [missing])


def test_a_lost_header_in_the_middle_belongs_to_its_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write(run / "topics_1.jsonl", make(1, 10))
    write(run / "topics_2.jsonl", make(11, 20, number=2)[1:])
    write(run / "topics_3.jsonl", make(21, 30, number=3))
    write(run / "topics_4.jsonl", make(1, 5, number=4, start="b")[1:])
    write(run / "topics_5.jsonl", make(6, 7, number=5, start="b"))
    said = Said(capsys, run)
    assert said.status == 3
    assert "start a: 30 records; missing: none\n" in said.out
    assert "start b: 7 records; missing: none\n" in said.out
    header = unsealed(lines_of(tmp_path / "run_recovered" / "topics_2.jsonl")[0])
    assert (header["start"], header["segment"], header["first_seq"]) == ("a", 2, 11)
    assert (header["host"], header["parameters"]) == ({"name": "robot"}, {"p": 1})


def test_the_better_of_a_plain_and_a_packed_segment_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = make(1, 9)
    write(tmp_path / "run" / "topics_1.jsonl", lines[:6])
    write(tmp_path / "run" / "topics_1.jsonl.zst", [zstandard.compress(b"".join(lines))])
    said = Said(capsys, tmp_path / "run", "--out", tmp_path / "out")
    assert (said.status, said.missing) == (0, ["none"])
    assert lines_of(tmp_path / "out" / "topics_1.jsonl") == lines


def test_what_the_recorder_dropped_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment = Segment("a", 1, 1, {})
    imu = Channel(IMU, None)

    def message(seq: int) -> bytes:
        return segment.message(imu, seq, BagMessage(seq, IMU.name, IMU.type, b"\0\1\0\0"))

    lines = [segment.header(), message(1), message(5), segment.drops(IMU, 2, 2, 4, "queue")]
    lines += [segment.drops(TEXT, 1, 3, 3, "disk"), message(7), message(12), segment.drops(IMU, 2, 8, 11, "queue")]
    said = Said(capsys, write(tmp_path / "topics_1.jsonl", [*lines, segment.footer()]))
    assert (said.status, said.missing) == (3, ["2-4, 6, 8-11 (8 records)"])
    assert "  5 of them the recorder itself had dropped: 4 of /imu (queue), 1 of /text (disk)\n" in said.out
    assert "  not explained: 6 (1 record); 2 within 8-11\n" in said.out
    footer = unsealed(lines_of(tmp_path / "topics_1_recovered.jsonl")[-1])
    assert footer["topics"] == {"/imu": {"records": 4, "dropped": 4}, "/text": {"records": 0, "dropped": 1}}


def test_the_source_is_not_changed_and_may_be_read_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write(run / "topics_1.jsonl", make(1, 10)[:-2])
    write(run / "topics_2.jsonl.zst", [zstandard.compress(b"".join(make(11, 20, number=2)))[:-20]])
    write(run / "performance_timings_20261120_120000.jsonl", [b'{"node":"a","seq":1}\n{"no'])
    write(run / "session.json", [b"{}\n"])
    for path in [*run.iterdir(), run]:
        path.chmod(0o555)
    before = fingerprint(run)
    assert Said(capsys, run, "--out", tmp_path / "out").status == 3
    inside = Said(capsys, run, "--out", run / "out")
    run.chmod(0o755)
    assert inside.status == EX_CONFIG
    assert "--out must be outside of the source, which is never changed" in inside.error
    run.chmod(0o555)
    assert fingerprint(run) == before
    assert (tmp_path / "out" / "session.json").read_bytes() == b"{}\n"
    run.chmod(0o755)


def test_nothing_that_is_there_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write(run / "topics_1.jsonl", make(1, 4)[:-2])
    write(run / "topics_2.jsonl", make(5, 8, number=2))
    kept = write(tmp_path / "out" / "topics_2.jsonl", [b"mine"])
    said = Said(capsys, run, "--out", tmp_path / "out")
    assert (said.status, kept.read_bytes()) == (EX_CONFIG, b"mine")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["topics_2.jsonl"]


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "run" / "topics_1.jsonl", make(1, 900))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        said = Said(capsys, path.parent, "--out", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said.status == 1
    assert f"{tmp_path / 'out'} cannot be written: File too large; name another place: --out" in said.error
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- timings


def test_timings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def line(node: str, seq: int, received_ns: int) -> bytes:
        return orjson.dumps({"node": node, "seq": seq, "received_ns": received_ns}) + b"\n"

    a = [line("a", seq, seq) for seq in (1, 2, 5, 6, 3)]  # 3 comes late
    again = [line("a", seq, 100 + seq) for seq in (1, 2, 5)]  # the node was restarted
    b = [line("b", seq, seq) for seq in (40, 41)]
    noise = [b"note\n", b'{"node":"b","seq":42,"rec\0\0', line("b", 43, 43), b'{"node":"b","seq":44']
    path = write(tmp_path / "performance_timings_20261120_120000.jsonl", [*a, *again, *b, *noise])
    said = Said(capsys, path, "--out", tmp_path / "out.jsonl")
    assert said.status == 3
    assert re.search(r"11 records, 1 foreign line .*, 1 damaged line .*, 1 torn line", said.out)
    assert "  a: missing: 4, 3-4 (3 records)\n  b: missing: 42 (1 record)\n" in said.out
    assert lines_of(tmp_path / "out.jsonl") == [*a, *again, *b, line("b", 43, 43)]
    whole = write(tmp_path / "performance_timings_20261120_130000.jsonl", b)
    assert Said(capsys, whole).status == 0


def test_timings_that_begin_at_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "performance_timings_20261120_120000.jsonl"
    write(path, [orjson.dumps({"node": "a", "seq": seq, "received_ns": seq}) + b"\n" for seq in (0, 1, 3)])
    assert "a: missing: 2 (1 record)" in Said(capsys, path).out


# --- nothing to recover


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("topics_1.jsonl", b"", "nothing to recover: .*topics_1.jsonl is empty"),
        ("topics_1.jsonl", b"hello\n", "nothing to recover: .* has no whole line of recorder_node"),
        ("topics_1.jsonl", bytes(5000), "nothing to recover: .* has no whole line of recorder_node"),
        ("topics_1.jsonl", make(1, 1)[0] + b'{"seq":1,', "nothing to recover: .* has no whole message"),
        ("a.mcap", b"x", "perf-inference convert reads what is readable"),
        ("a.db3", b"x", "perf-inference convert reads what is readable"),
        ("run/a.db3", b"x", "perf-inference convert reads what is readable"),
        ("run/notes.txt", b"x", r"nothing to recover: .*run must have topics_<n>\.jsonl"),
        ("run/topics_1.jsonl", b"", "nothing to recover: .*run is empty"),
    ],
)
def test_nothing_to_recover(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: bytes, error: str
) -> None:
    path = write(tmp_path / name, [text])
    said = Said(capsys, path.parent if "/" in name else path)
    assert said.status == 1
    assert re.search(error, said.error), said.error
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, tmp_path / "none")
    assert said.status == 1
    assert "there is nothing at" in said.error


# --- whatever happens


WHOLE = make(1, 30)
TEXT_OF = b"".join(WHOLE)


def recovered(text: bytes, folder: Path) -> tuple[list[bytes], list[int], bool] | None:
    """Return the messages, the missing seq and whether all is there; None: nothing to recover."""
    from perf_inference.errors import RecordingError

    path, out = folder / "topics_1.jsonl", folder / "out.jsonl"
    path.write_bytes(text)
    out.unlink(missing_ok=True)
    try:
        found = read(path)
    except RecordingError:
        return None
    found.write(out)
    missing = [seq for start in found.starts() for first, last in start.missing() for seq in range(first, last + 1)]
    return clean(out), missing, found.complete


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_range_overwritten(tmp_path: Path, data: Any) -> None:
    begin = data.draw(st.integers(0, len(TEXT_OF) - 1))
    end = data.draw(st.integers(begin + 1, min(len(TEXT_OF), begin + 3000)))
    fill = data.draw(st.sampled_from([b"\0", b"\n", b"\xff\xfe", b"abc", TEXT_OF[300:1000], b'{"seq":', b'"}\n']))
    garbage = (fill * (end - begin))[: end - begin]
    text = TEXT_OF[:begin] + garbage + TEXT_OF[end:]
    complete, whole = check(tmp_path, text)
    if text == TEXT_OF:
        assert complete
    if complete:  # all that can be told: readable text over the very end could be somebody's note
        assert whole[0] == WHOLE[0]
        assert whole == WHOLE[: len(whole)]


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(flips=[(TEXT_OF.rindex(b'{"seq":30,') + 8, 0)])  # it says to be number 31
@given(
    flips=st.lists(st.tuples(st.integers(0, len(TEXT_OF) - 1), st.integers(0, 7)), min_size=1, max_size=6, unique=True)
)
def test_any_bits_flipped(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    text = bytearray(TEXT_OF)
    for at, bit in flips:
        text[at] ^= 1 << bit
    complete, _ = check(tmp_path, bytes(text))
    assert not complete


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gone=st.sets(st.integers(1, 30), max_size=29), footer=st.booleans())
def test_any_lines_removed(tmp_path: Path, gone: set[int], footer: bool) -> None:
    lines = [line for line in WHOLE if not line.startswith(b'{"seq":') or seq_of(line) not in gone]
    result = recovered(b"".join(lines if footer else lines[:-1]), tmp_path)
    assert result is not None
    last = 30 if footer else max(set(range(1, 31)) - gone)
    expected = sorted(seq for seq in gone if seq <= last)
    assert result == (messages(lines), expected, not expected)


def check(folder: Path, text: bytes) -> tuple[bool, list[bytes]]:
    """Compare with the lines that are in the text as they were; return whether it is said to be complete, and them."""
    whole = [line for line in WHOLE if line[:-1] in text]
    result = recovered(text, folder)
    if result is None:
        assert not whole
        return False, []
    found, missing, complete = result
    expected = messages(whole)
    assert sorted(set(found)) == sorted(expected)
    seqs = {seq_of(line) for line in expected}
    last = 30 if whole[-1] == WHOLE[-1] else max([*seqs, *missing, 0])
    assert missing == [seq for seq in range(1, last + 1) if seq not in seqs]
    return complete, whole


@pytest.mark.slow
def test_a_large_file_with_a_hole_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "topics_1.jsonl"
    body = b"\0\1\0\0" + bytes(3000)
    segment, imu = Segment("a", 1, 1, {}), Channel(IMU, None)
    with open(path, "wb") as stream:
        stream.write(segment.header())
        for seq in range(1, 5001):  # 20 MB
            stream.write(segment.message(imu, seq, BagMessage(seq, IMU.name, IMU.type, body)))
            if seq == 2500:
                stream.seek(64 << 20, 1)  # a hole
        stream.write(segment.footer())
    tracemalloc.start()
    found = read(path)
    found.write(tmp_path / "out.jsonl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.records, found.complete, peak < 32 << 20) == (5000, False, True), peak
    assert len(clean(tmp_path / "out.jsonl")) == 5000
    assert sealed(unsealed(lines_of(tmp_path / "out.jsonl")[-1]))
