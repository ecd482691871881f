"""`perf-inference bench audit`: result files as ros2_benchmark writes them, made for the purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perf_inference.bench.audit.result import audit
from perf_inference.cli import main
from perf_inference.errors import InputError

CONFIG = """ros2_benchmark_config:
  benchmark_mode: BenchmarkMode.LOOPING
  playback_message_buffer_size: {images}
  pre_trial_run_wait_time_sec: {warmup}
  publisher_upper_frequency: 600.0
  test_iterations: 5
"""


def run(rate: float = 100.0, **more: float) -> dict[str, float]:
    values = {"MEAN_FRAME_RATE": rate, "MEAN_PLAYBACK_FRAME_RATE": rate, "NUM_FRAMES_SENT": 500, "NUM_MISSED_FRAMES": 0,
              "FIRST_SENT_RECEIVED_LATENCY": 5.0, "LAST_SENT_RECEIVED_LATENCY": 5.5, **more}  # fmt: skip
    return {f"BasicPerformanceMetrics.{key}": value for key, value in values.items()}


def result(images: int = 10, warmup: float = 1.0, fixed: dict[str, Any] | None = None, **more: float) -> dict[str, Any]:
    about = {"BenchmarkMetadata.NAME": "x", "BenchmarkMetadata.CONFIG": CONFIG.format(images=images, warmup=warmup)}
    return {**run(**more), **(fixed or {}), "metadata": about}


def test_what_a_file_cannot_say() -> None:
    found = audit("a", result())
    assert found.missing == ("percentiles", "clock", "power", "temperature")
    assert (found.images, found.warmup_s, found.repeats) == (10, 1.0, 5)
    assert found.odd == ("the best and the worst of 5 runs are left out before the mean, maximum and minimum",)
    more = result()
    more.update({"ResourceMetrics.MEAN_GPU_CLOCK_MHZ": 1, "BasicPerformanceMetrics.LATENCY_P99": 9.0})
    more["ResourceMetrics.MEAN_POWER_W"] = 10.0
    assert audit("b", more).missing == ("temperature",)
    bare = audit("c", {"BasicPerformanceMetrics.MEAN_FRAME_RATE": 10.0})
    assert set(bare.missing) >= {"loss", "distinct images", "warm-up"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (result(NUM_MISSED_FRAMES=6), "peak: 1.2 % of the frames were missed"),
        (result(NUM_MISSED_FRAMES=501), "peak: 501 of 500 frames were missed"),
        (result(MEAN_PLAYBACK_FRAME_RATE=98.0), "peak: 100.0 Hz came out of 98.0 Hz"),
        (result(NUM_FRAMES_SENT=11), "10.0 % too high a rate (N 11)"),
        (result(MEAN_PLAYBACK_FRAME_RATE=595.0), "the answer lies at the edge of the search (600 Hz)"),
        (result(LAST_SENT_RECEIVED_LATENCY=15.0), "took 3.0 times the first"),
        (result(FIRST_SENT_RECEIVED_LATENCY=-1.0), "a latency is negative (-1.00 ms)"),
        (result(images=1), "one message is played again and again"),
        (result(warmup=0.0), "no warm-up"),
        (result(fixed={"30.0fps": run(30.0, NUM_MISSED_FRAMES=50)}), "30.0fps: 10.0 % of the frames were missed"),
        (result(fixed={"10fps": {"Depth": run(10.0, NUM_MISSED_FRAMES=50)}}), "10fps Depth: 10.0 %"),
    ],
)
def test_what_does_not_fit_together(content: dict[str, Any], words: str) -> None:
    assert any(words in odd for odd in audit("a", content).odd), audit("a", content).odd


def test_five_frames_missed_of_five_hundred_are_one_percent_and_no_more() -> None:
    assert not any("missed" in odd for odd in audit("a", result(NUM_MISSED_FRAMES=5)).odd)


def test_a_folder_is_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name, content in (("a", result()), ("b", result(NUM_MISSED_FRAMES=50)), ("in/c", result(images=1))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    out.mkdir()
    flags = [word for kind in ("json", "html", "markdown") for word in (f"--{kind}", str(out / f"x.{kind}l"))]
    assert main(["bench", "audit", str(tmp_path), *flags]) == 0
    said = capsys.readouterr().out
    assert "of 3 files none has percentiles, clock, power, temperature; 1 of 3 peak results missed" in said
    assert "1 of 3 files replay one message" in said
    assert (out / "x.markdownl").read_text().count("| in/c |") == 1
    assert len((out / "x.jsonl").read_text().splitlines()) == 4
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "deep.json").write_text('{"a":' * 900 + "1" + "}" * 900)
    assert main(["bench", "audit", str(tmp_path)]) == 3
    assert "other.json: it has none of the keys" in capsys.readouterr().err
    for wrong in (tmp_path / "other.json", tmp_path / "missing", out):
        assert main(["bench", "audit", str(wrong)]) == 1


def test_what_is_no_result_is_refused() -> None:
    for content in ([], {}, {"a": 1}, "text", None):
        with pytest.raises(InputError, match="none of the keys"):
            audit("a", content)
    damaged = result()
    damaged["metadata"]["BenchmarkMetadata.CONFIG"] = "a: [1"
    assert "distinct images" in audit("a", damaged).missing
