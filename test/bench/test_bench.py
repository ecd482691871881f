"""The benchmarks say all that they promise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore

from perf_inference.bench import recorder
from perf_inference.bench.overhead import main as overhead
from perf_inference.cli import main
from perf_inference.commands.bench import BENCHES

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


def test_every_benchmark_takes_the_report_flags_and_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for bench in (*BENCHES, None):
        with pytest.raises(SystemExit) as ended:
            main(["compare", "--help"] if bench is None else ["bench", bench, "--help"])
        said = capsys.readouterr().out
        assert ended.value.code == 0
        assert all(flag in said for flag in ("--json FILE", "--html FILE", "--markdown FILE", "examples:")), said


def test_a_benchmark_that_prints_its_own_tables_has_a_report_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / f"overhead.{kind}" for kind in ("json", "html", "markdown")}
    flags = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    status = main(["bench", "overhead", "--frames", "300", *flags])
    printed = capsys.readouterr().out
    assert f"({'under' if status == 0 else 'OVER'} the limit of 20 us)" in printed
    records = [json.loads(line) for line in files["json"].read_text().splitlines()]
    samples = {record["series"]: record["values"] for record in records if record["record"] == "samples"}
    assert len(samples["a frame, measured"]) == 300
    page = files["html"].read_text()
    assert page.count("<svg") > 5
    assert "<pre>" in page
    assert "ADDED by the measurement" in files["markdown"].read_text()
    assert main(["bench", "overhead", "--frames", "300", "--json", str(files["html"])]) == 78
