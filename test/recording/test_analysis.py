"""What files come to: exact figures by hand, files that were damaged, files that grow."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from support.runs import MS, NAME, T0, append, assert_agrees, diagnostics, timing, write, write_diagnostics

from perf_inference.errors import RecordingError
from perf_inference.recording.analysis.analysis import RunAnalysis
from perf_inference.recording.analysis.figures import Figures
from perf_inference.recording.analysis.growing_file import GrowingFile
from perf_inference.recording.analysis.open import open_recording
from perf_inference.recording.analysis.run_reader import RunReader
from perf_inference.recording.analysis.segment_reader import SegmentReader
from perf_inference.recording.analysis.text import engine_text
from perf_inference.recording.analysis.topics import SegmentAnalysis
from perf_inference.recording.analysis.tracks import read_tracks
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.recorder.summary import Summary
from perf_inference.report.scales import Scale, TimeAxis, gather, spread, value_scale


def analysed(path: Path) -> RunAnalysis:
    reader = RunReader(path)
    while reader.poll():
        pass
    reader.finish()
    return reader.result()


# --- figures by hand


def test_the_figures_of_a_hand_made_run(tmp_path: Path) -> None:
    # t [ms]   0     100   200 ... 1300        14 inferences of the policy, 100 ms apart: 13 intervals in 1.3 s
    # infer   90     80     1 ... 12           the first two are warm-up
    # drops    0      1     0 ... 2 (last)
    records = [timing(n + 1, 100 * n, infer_ms=float(n - 1), latency_ms=n + 9.5, robot_fill=3) for n in range(14)]
    records[0].update(warmup=True, infer_ms=90.0)
    records[1].update(warmup=True, infer_ms=80.0, dropped_before=1)
    records[13].update(dropped_before=2, postprocess_ms=None, extra_ms=0.25)
    camera = [timing(n + 1, 50 + 40 * n, node="yolo_node", infer_ms=2.0) for n in range(3)]
    run = analysed(write(tmp_path / NAME, [*records, *camera]))
    assert (run.total_actions, run.elapsed_s, run.average_hz, run.drops, run.inferences) == (14, 1.3, 10.0, 3, 17)
    policy, yolo = run.nodes
    assert (policy.name, policy.engines) == ("policy_node", (("policy", "fp32", "cpu"),))
    assert (policy.inferences, policy.warmup, policy.hz, policy.drops) == (14, 2, 10.0, 3)
    assert policy.stages["infer"] == Figures(12, 6.5, 1.0, 12.0, {50.0: 6.0})
    assert policy.latency == Figures(12, 17.0, 11.5, 22.5, {50.0: 16.5})
    assert policy.stages["extra"] == Figures(1, 0.25, 0.25, 0.25, {})
    assert policy.stages["infer"].as_dict() == {
        "n": 12, "mean": 6.5, "p50": 6.0, "p90": None, "p95": None, "p99": None, "p99.9": None, "min": 1.0, "max": 12.0,
    }  # fmt: skip
    assert (yolo.inferences, yolo.hz, yolo.latency.n, yolo.stages["infer"].mean_ms) == (3, 25.0, 0, 2.0)


def test_the_real_time_factor_of_a_node_that_speaks(tmp_path: Path) -> None:
    # 0.1 s for 2 s of sound, then 0.5 s for 1 s: 0.6 / 3
    voice = {"node": "speech_node", "engine": "gtts", "device": "a server, network time included"}
    records = [timing(1, 0, infer_ms=100.0, audio_s=2.0, **voice), timing(2, 900, infer_ms=500.0, audio_s=1, **voice)]
    other = timing(1, 5, node="yolo_node", infer_ms=7.0)
    yolo, speech = sorted(analysed(write(tmp_path / NAME, [*records, other])).nodes, key=lambda one: one.inferences)
    assert (yolo.real_time_factor, speech.real_time_factor) == (None, pytest.approx(0.2))
    assert engine_text(speech) == "gtts fp32 on a server, network time included; real-time factor 0.200"
    assert (speech.as_dict()["real_time_factor"], "real_time_factor" in yolo.as_dict()) == (0.2, False)
    strange = [
        timing(1, 0, audio_s=0, **voice),
        timing(2, 1, audio_s="2", **voice),
        timing(3, 2, audio_s=-1.0, **voice),
    ]
    assert analysed(write(tmp_path / "performance_timings_2.jsonl", strange)).nodes[0].real_time_factor is None


@pytest.mark.parametrize(
    ("n", "percent", "value"),
    [(11, 50.0, 6), (64, 90.0, 58), (130, 95.0, 124), (662, 99.0, 656), (6636, 99.9, 6630)],
)
def test_a_percentile_comes_with_its_samples(n: int, percent: float, value: int) -> None:
    values = np.arange(n, 0, -1, dtype=np.int64) * MS
    figures = Figures.of(values)
    assert (figures.highest, figures.percentiles_ms[percent]) == (percent, value)  # the ceil(n p)-th of 1, 2 ... n
    assert percent not in Figures.of(values[1:]).percentiles_ms
    assert (figures.min_ms, figures.max_ms, figures.mean_ms) == (1, n, (n + 1) / 2)


def test_a_mean_is_exact_where_64_bits_are_not_enough() -> None:
    assert Figures.of(np.full(4, 9 * 10**18, np.int64)).mean_ms == 9e12


def test_stages_are_in_the_order_of_time(tmp_path: Path) -> None:
    record = timing(1, 0, zebra_ms=1.0, total_ms=4.0, publish_ms=1.0, infer_ms=2.0, queue_ms=1.0, latency_ms=5.0)
    (node,) = analysed(write(tmp_path / NAME, [record])).nodes
    assert list(node.stages) == ["queue", "infer", "publish", "total", "zebra"]


def test_the_same_figures_as_the_summary_file_has(tmp_path: Path) -> None:
    chance = random.Random(1)
    summary, records = Summary(), []
    for seq in range(1, 2001):
        for node, rate in (("policy_node", 10.0), ("yolo_node", 30.0)):
            stages = {f"{stage}_ms": round(chance.lognormvariate(0, 1), 6) for stage in ("queue", "infer", "total")}
            record = timing(seq, seq / rate * 1000 + chance.random(), node=node, warmup=seq < 4, **stages)
            record["latency_ms"] = chance.choice((None, round(chance.lognormvariate(2, 1), 6)))
            if node == "policy_node":
                record["robot_fill"] = 1
            records.append(record)
            summary.timing(record)
    run, expected = analysed(write(tmp_path / NAME, records)).as_dict(), summary.as_dict()
    assert_agrees(run, expected)


# --- what files go through


def test_what_is_no_timing_is_counted_and_said(tmp_path: Path) -> None:
    foreign = [
        {}, [1], 3, None, "text", {"node": 3, "seq": 1, "received_ns": 2}, {"node": "n", "seq": 1},
        timing(1, 0) | {"seq": 1.5}, timing(1, 0) | {"seq": True}, timing(1, 0) | {"received_ns": (1 << 64) - 1},
        timing(1, 0, infer_ms=1e300), timing(1, 0, dropped_before="many"),
    ]  # fmt: skip
    path = write(tmp_path / NAME, [timing(1, 0, infer_ms=1.0), *foreign])
    append(path, b"not json\n\x00\x00\x00\n\n   \n" + b'{"node": "policy_node", "se\n')
    append(path, orjson.dumps(timing(2, 100, infer_ms=2.0)) + b"\n" + b'{"node":"policy_node","seq":3')
    run = analysed(path)
    assert (run.lines.records, run.lines.foreign, run.lines.damaged, run.lines.torn) == (2, len(foreign), 3, 1)
    (node,) = run.nodes
    assert (node.inferences, node.stages["infer"]) == (2, Figures(2, 1.5, 1.0, 2.0, {}))


def test_a_line_that_only_lacks_its_newline_counts(tmp_path: Path) -> None:
    path = write(tmp_path / NAME, [timing(1, 0)])
    append(path, orjson.dumps(timing(2, 100)))
    run = analysed(path)
    assert (run.inferences, run.lines.lines, run.lines.torn) == (2, 2, 0)


def test_a_duplicate_is_left_out_and_a_second_start_is_not(tmp_path: Path) -> None:
    first = [timing(n, 100 * n, infer_ms=1.0, dropped_before=1) for n in (1, 2, 4)]  # 3 is missing
    again = [timing(n, 1000 + 100 * n, infer_ms=3.0) for n in (1, 2)]
    run = analysed(write(tmp_path / NAME, [*first, *first, *again]))
    (node,) = run.nodes
    assert (node.inferences, node.duplicates, node.starts, node.gaps, node.drops) == (5, 3, 2, 1, 3)
    assert node.stages["infer"] == Figures(5, 1.8, 1.0, 3.0, {})


def test_what_lies_beside_the_timings_may_be_anything(tmp_path: Path) -> None:
    write(tmp_path / NAME, [timing(1, 0)])
    for text in ("", "[]", "{", '{"nodes":[]}', '{"nodes":{"policy_node":{"ledger":{"image":3},"counted":"x"}}}'):
        (tmp_path / "performance_summary_20260102_030405.json").write_text(text)
        (tmp_path / "session.json").write_text(text)
        (node,) = analysed(tmp_path).nodes
        assert (node.missing, node.lost_before) == (None, None)


def test_losses_come_from_the_summary_and_the_session(tmp_path: Path) -> None:
    write(tmp_path / NAME, [timing(n, 100 * n) for n in (1, 2, 3)])
    node = {"counted": 5, "ledger": {"image": {"lost_before": 2, "residual": 0}, "force": {"lost_before": 3},
                                     "tick": {"lost_before": None}}, "machine": {"cpu_mhz_mean": 1}}  # fmt: skip
    write(tmp_path / "performance_summary_20260102_030405.json", [{"nodes": {"policy_node": node}}])
    write(tmp_path / "session.json", [{"counts": {"records": 9, "dropped": 4}}])
    run = analysed(tmp_path)
    assert (run.nodes[0].missing, run.nodes[0].lost_before) == (2, 5)
    assert (run.nodes[0].machine, run.recorder["dropped"], run.summarised) == ({"cpu_mhz_mean": 1}, 4, True)


# --- a run that is being written


def test_only_what_has_come_is_read_again(tmp_path: Path) -> None:
    reader = RunReader(tmp_path)
    assert (reader.poll(), reader.result().nodes) == (0, ())  # nothing there yet
    path = write(tmp_path / NAME, [timing(1, 0)])
    assert (reader.poll(), reader.poll()) == (1, 0)
    line = orjson.dumps(timing(2, 100)) + b"\n"
    append(path, line[:20])
    assert reader.poll() == 0  # half a line is none
    append(path, line[20:])
    assert (reader.poll(), reader.result().inferences) == (1, 2)
    write(tmp_path / "performance_timings_20260102_040000.jsonl", [timing(1, 9000)])  # a second file
    assert (reader.poll(), reader.result().inferences) == (1, 3)
    reader.finish()
    assert reader.result().lines.torn == 0


@pytest.mark.parametrize("how", ["replaced", "cut", "removed"])
def test_a_file_that_is_replaced_is_read_anew_and_counted_once(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / NAME, [timing(n, 100 * n) for n in (1, 2, 3)])
    reader = RunReader(path)
    assert reader.poll() == 3
    if how == "replaced":
        os.replace(write(tmp_path / "new", [timing(n, 100 * n) for n in (1, 2, 3, 4)]), path)
    elif how == "cut":
        write(path, [timing(1, 100)])
        reader.poll()
        append(path, orjson.dumps(timing(4, 400)) + b"\n")
    else:
        path.unlink()
        assert reader.poll() == 0
        write(path, [timing(4, 400)])
    reader.poll()
    assert [int(seq) for seq in reader.result().nodes[0].table.seq] == [1, 2, 3, 4]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perf_inference.recording.analysis.growing_file._MAX_LINE_BYTES", 3_000_000)
    path = tmp_path / NAME
    path.write_bytes(b"x" * 8_000_000 + b"\nshort\n")
    file = GrowingFile(path)
    assert (list(file.lines()), file.overlong, file.tail) == ([b"short"], 1, b"")
    append(path, b"more\n")
    assert list(file.lines()) == [b"more"]


# --- topics


def segment(lines: Iterable[bytes], path: Path) -> SegmentAnalysis:
    data = b"".join(lines)
    path.write_bytes(zstandard.ZstdCompressor().compress(data) if path.suffix == ".zst" else data)
    reader = SegmentReader(path)
    while reader.poll():
        pass
    reader.finish()
    return reader.result()


COUNT = Topic("/count", "x/msg/Count")


def message(t_ms: float) -> BagMessage:
    return BagMessage(T0 + round(t_ms * MS), "/count", "x/msg/Count", b"\x00\x01\x00\x00")


@pytest.mark.parametrize("name", ["topics_1.jsonl", "topics_1.jsonl.zst"])
def test_the_figures_of_a_segment(tmp_path: Path, name: str) -> None:
    made = Segment("s", 1, 5, {})  # 5 is the first number; 6 and 9 are missing, and told of as dropped
    lines = [made.header(), *(made.message(Channel(COUNT, None), 5 + n, message(100 * n)) for n in (0, 2, 3))]
    lines += [made.drops(COUNT, 2, 6, 9, "queue"), made.message(Channel(COUNT, None), 10, message(600)), made.footer()]
    found = segment([*lines, b"foreign\n", b'{"a":1}\n', lines[2].replace(b"/count", b"/cOunt")], tmp_path / name)
    assert (found.version, found.records, found.first_seq, found.last_seq) == (2, 4, 5, 10)
    assert (found.missing, found.backwards, found.closed, found.span_s) == (2, 0, True, 0.6)
    assert (found.lines.foreign, found.lines.damaged, found.lines.torn) == (2, 1, 0)
    (topic,) = found.topics
    assert (topic.name, topic.type, topic.records, topic.dropped, topic.hz) == ("/count", "x/msg/Count", 4, 2, 5.0)
    assert (topic.unstamped, topic.latency.n) == (4, 0)


def test_a_segment_from_before_the_checksums(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"seq": n, "t": T0 + 10 * n * MS, "topic": "/imu", "type": "sensor_msgs/msg/Imu",
         "stamp": T0 + 9 * n * MS, "message": {}} for n in range(1, 12)
    ]  # fmt: skip
    records[3]["stamp"] = T0 + 10**12  # from the future
    records[4]["stamp"] = None
    lines = [orjson.dumps(record) + b"\n" for record in records]
    del lines[7:9]
    found = segment([*lines, b'{"seq":12'], tmp_path / "topics_1.jsonl")
    assert (found.version, found.records, found.missing, found.closed, found.lines.torn) == (1, 9, 2, None, 1)
    (topic,) = found.topics
    assert (topic.type, topic.implausible, topic.unstamped) == ("sensor_msgs/msg/Imu", 1, 1)
    assert topic.latency == Figures(7, 40 / 7, 1.0, 11.0, {})  # 1 2 3 6 7 10 11


def test_a_segment_whose_end_is_missing(tmp_path: Path) -> None:
    made = Segment("s", 1, 1, {})
    lines = [made.header(), made.message(Channel(COUNT, None), 1, message(0))]
    assert segment([*lines, lines[1][:-5]], tmp_path / "topics_1.jsonl").lines.torn == 1
    assert segment(lines, tmp_path / "topics_1.jsonl").closed is False
    packed = tmp_path / "topics_2.jsonl.zst"
    for data in (b"no zstd at all", zstandard.ZstdCompressor().compress(b"".join(lines))[:-9]):
        packed.write_bytes(data)
        with pytest.raises(RecordingError, match="'perf-inference recover' brings out what lies before"):
            SegmentReader(packed).poll()


# --- clocks and temperatures


@pytest.mark.parametrize("form", ["old", "nested", "cdr", "packed"])
def test_tracks_come_from_the_recorded_diagnostics(tmp_path: Path, form: str) -> None:
    write_diagnostics(tmp_path / "topics_1.jsonl", form)
    found = read_tracks(tmp_path)
    tracks = {(track.kind, track.label): (track.times_ns.tolist(), track.values.tolist()) for track in found.tracks}
    assert (found.messages, found.unread, found.problems) == (3, 0, ())
    times = [T0 + t_ms * MS for t_ms in (200, 700, 1200)]
    assert tracks == {
        ("clock", "CPU mean"): (times[:2], [2200.0, 1500.0]),
        ("clock", "GPU GPC0"): (times, [900.0, 900.0, 900.0]),
        ("temperature", "GPU 0"): (times, [50.0, 51.5, 52.0]),
    }


def test_tracks_of_two_hosts_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "topics_1.jsonl", [
        {"seq": n, "t": T0 + n, "topic": "/diagnostics", "message": diagnostics(1000 + n, 40, host)}
        for n, host in enumerate(("a", "b", "a"))
    ])  # fmt: skip
    labels = {track.label: track.values.tolist() for track in read_tracks(tmp_path).tracks if track.kind == "clock"}
    assert labels["CPU mean (a)"] == [1000, 1002]
    assert labels["CPU mean (b)"] == [1001]


def test_diagnostics_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    lines: list[Any] = [
        {"seq": 1, "t": T0, "topic": "/diagnostics", "cdr": "AAEAAA=="},
        {"seq": 2, "t": "now", "topic": "/diagnostics", "message": diagnostics(1, 1)},
        {"seq": 3, "t": T0, "topic": "/diagnostics", "message": {"status": [3, {"name": 4, "values": 5}]}},
        {"seq": 4, "t": T0, "topic": "/other", "message": {"data": '/diagnostics"'}},
    ]
    write(tmp_path / "topics_1.jsonl", lines)
    append(tmp_path / "topics_1.jsonl", b'{"topic":"/diagnostics","t":1\n')
    found = read_tracks(tmp_path)
    assert (found.messages, found.unread, found.tracks) == (3, 3, ())


# --- what a path is


def test_what_can_be_analysed_is_known_by_its_contents(tmp_path: Path) -> None:
    assert isinstance(open_recording(write(tmp_path / "a.txt", [3, timing(1, 0)])), RunReader)
    made = Segment("s", 1, 1, {})
    (tmp_path / "b.txt").write_bytes(made.header())
    assert isinstance(open_recording(tmp_path / "b.txt"), SegmentReader)


def bag(path: Path) -> Path:
    (path / "bag").mkdir()
    (path / "bag" / "metadata.yaml").touch()
    return path / "bag"


def empty(path: Path) -> Path:
    (path / NAME).touch()
    return path / NAME


def runs(path: Path) -> Path:
    write(path / "runs" / "run_1" / NAME, [timing(1, 0)])
    write(path / "runs" / "run_2" / NAME, [timing(1, 0)])
    return path / "runs"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path / "nowhere", "nowhere is not there; give a run's directory"),
        (lambda path: path, "has no performance_timings_"),
        (empty, "is empty: nothing was recorded yet; --follow waits"),
        (bag, "is a rosbag2 recording, which has no timings; 'perf-inference convert'"),
        (lambda path: write(path / "x.mcap", []), "is a rosbag2 recording"),
        (lambda path: write(path / "notes.txt", ["a"]), "is no recording that can be analysed"),
        (lambda path: write(path / "session.json", [{"session": "run"}]), "is no recording that can be analysed"),
        (runs, r"is no run, but holds some: give one of its 2, such as .*run_2"),
        (
            lambda path: write(path / "r" / "topics_1.jsonl", []).parent,
            "can be looked at one by one: .*topics_1",
        ),
    ],
)
def test_what_cannot_be_analysed_says_so(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    with pytest.raises(RecordingError, match=says):
        open_recording(make(tmp_path))


# --- shapes


def test_columns_keep_every_extreme() -> None:
    chance = np.random.default_rng(0)
    for n in (1, 2, 499, 5000):
        x, y = np.sort(chance.random(n)), chance.lognormal(size=n)
        y[n // 2], y[n // 3] = 1e4, 1e-4
        columns = gather(x, y, 100)
        index = np.minimum((x * 100).astype(int), 99)
        for column, low, median, high in zip(columns.middle, columns.low, columns.median, columns.high, strict=True):
            inside = np.sort(y[index == int(column * 100)])
            assert (low, median, high) == (inside[0], inside[(len(inside) - 1) // 2], inside[-1])
        assert len(columns.middle) == len(set(index.tolist()))


def test_scales_and_their_ticks() -> None:
    assert Scale(0, 15).ticks(8) == [0, 5, 10, 15]
    assert Scale(0, 28, False).ticks(5) == [0, 10, 20]
    assert Scale(0.03, 30, log=True).ticks(8) == pytest.approx([0.03, 0.1, 0.3, 1, 3, 10, 30])
    assert Scale(1, 100, log=True).of(10) == pytest.approx(0.5)
    assert (Scale(0, 10).of(-1), Scale(0, 10).of(5), Scale(0, 10).of(99)) == (0, 0.5, 1)
    assert not value_scale(np.array([5.0, 6.0, 7.0])).log
    assert value_scale(np.array([5.0, 6.0, 70.0])).log
    assert value_scale(np.array([0.0])) == Scale(0.0, 1.0)


@pytest.mark.parametrize(("span_s", "unit"), [(15, "s"), (599, "s"), (601, "min"), (36_001, "h")])
def test_a_time_axis_has_a_unit_that_suits_it(span_s: int, unit: str) -> None:
    axis = TimeAxis(T0, T0 + span_s * 10**9)
    assert axis.unit[0] == unit
    assert axis.at(np.array([T0, T0 + span_s * 5 * 10**8])) == pytest.approx([0, 0.5])


def test_labels_do_not_cover_each_other() -> None:
    assert spread([10, 12, 50], 15, 100) == [10, 25, 50]
    assert spread([90, 95, 99], 15, 100) == [70, 85, 100]
    assert spread([], 15, 100) == []


def test_a_logarithmic_scale_has_equal_room_for_equal_ratios() -> None:
    scale = Scale(10.0, 1000.0, log=True)
    assert scale.at(np.array([10.0, 100.0, 1000.0, 1e6])) == pytest.approx([0, 0.5, 1, 1])
