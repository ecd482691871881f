"""What the measurement costs is measured, and the benchmark says all that it promises."""

from __future__ import annotations

import re

import pytest

from perf_inference.bench.overhead import main

PARTS = (
    "ADDED by the measurement", "arrival", "mailbox and ledger", "stamps", "timing: creation", "warm-up rule",
    "hand-over to the queue of the timing topic", "JSON line: formatting and writing", "recorder: statistics",
)  # fmt: skip


def test_the_benchmark_names_every_part_and_judges_by_its_own_figure(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--frames", "300"])
    printed = capsys.readouterr().out
    assert [part for part in PARTS if part not in printed] == []
    found = re.search(r"added at p50: ([0-9.]+) us \((under|OVER) the limit of 20 us\)", printed)
    assert found, printed
    assert (found[2] == "under") == (status == 0)
