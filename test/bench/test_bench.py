"""The benchmarks say all that they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore

from perf_inference.bench import recorder
from perf_inference.bench.overhead import main as overhead
from perf_inference.cli import main

PARTS = (
    "ADDED by the measurement", "arrival", "mailbox and ledger", "stamps", "timing: creation", "warm-up rule",
    "hand-over to the queue of the timing topic", "JSON line: formatting and writing", "recorder: statistics",
)  # fmt: skip


def test_the_benchmark_names_every_part_and_judges_by_its_own_figure(capsys: pytest.CaptureFixture[str]) -> None:
    status = overhead(["--frames", "300"])
    printed = capsys.readouterr().out
    assert [part for part in PARTS if part not in printed] == []
    found = re.search(r"added at p50: ([0-9.]+) us \((under|OVER) the limit of 20 us\)", printed)
    assert found, printed
    assert (found[2] == "under") == (status == 0)


@pytest.mark.slow
def test_the_recorder_benchmark_prints_its_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recorder, "COUNTS", (100, 500))
    monkeypatch.setattr(recorder, "ROUND", 500)
    assert main(["bench", "recorder", "--rounds", "1", "--records", "1000", "--directory", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for row in (r"^ +100( +[0-9.]+){5}$", r"^ +500( +[0-9.]+){5}$", r"^ +1000( +[0-9.]+){2}$",
                r"hand-over of a message: p50 [0-9.]+ us, p99 [0-9.]+ us, max [0-9]+ us, n 500",
                r"^recorder( +[0-9]+){3}$", r"^mcap, undecoded( +[0-9]+){3}$"):  # fmt: skip
        assert re.search(row, printed, re.MULTILINE), (row, printed)
    assert list(tmp_path.iterdir()) == []


def test_the_benchmark_records_what_it_says() -> None:
    message = get_typestore(Stores.ROS2_HUMBLE).deserialize_cdr(recorder.joint_state(3), "sensor_msgs/msg/JointState")
    assert message.name == [f"panda_joint{joint}" for joint in range(1, 8)]
    assert (len(message.position), len(message.velocity), len(message.effort)) == (7, 7, 7)
    assert recorder.channel().codec.decode(recorder.joint_state(3)).exact
