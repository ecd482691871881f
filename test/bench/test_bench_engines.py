"""The benchmark of the engine layer measures both in turns, and judges by its own figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from perf_inference.bench.engines import PAIRS, Arrays, Pair, Taken, added_at_p50, measure
from perf_inference.cli import main
from perf_inference.engines import load
from perf_inference.errors import EX_CONFIG


def judged(runtime: str, calls: int, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    """Run the benchmark of one runtime; return what it printed, found to agree with its status and its raw values."""
    raw = tmp_path / "raw.json"
    status = main(["bench", "engines", "--runtime", runtime, "--calls", str(calls), "--json", str(raw)])
    printed = capsys.readouterr().out
    for what in ("bare", "engine", "ADDED"):
        assert re.search(rf"^{runtime}, {what} +-?[0-9.]+.* {calls}$", printed, re.MULTILINE), printed
    verdict = re.search(
        rf"^{runtime}: added at p50: (-?[0-9.]+) us \((under|OVER) the limit of 30 us\)$", printed, re.M
    )
    assert verdict, printed
    assert (verdict[2] == "under") == (status == 0)
    records = [json.loads(line) for line in raw.read_text().splitlines()]
    samples = {record["series"]: record["values"] for record in records if record["record"] == "samples"}
    taken = Taken(*([round(1e3 * us) for us in samples[f"{runtime}, {which}"]] for which in ("bare", "engine")))
    assert len(taken.bare_ns) == len(taken.engine_ns) == calls
    assert f"{added_at_p50(taken):.1f}" == verdict[1]
    assert records[-1]["added_p50_us"][runtime] == pytest.approx(added_at_p50(taken))
    return printed


def test_onnx_is_measured_and_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    judged("onnx", 20, capsys, tmp_path)


@pytest.mark.torch
def test_torch_is_measured_and_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    judged("torch", 20, capsys, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("runtime", PAIRS)
def test_what_the_engine_layer_adds(runtime: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    printed = judged(runtime, 20_000, capsys, tmp_path)
    with capsys.disabled():
        print(f"\n{printed}")


def test_they_take_turns_and_change_places() -> None:
    calls: list[str] = []
    engine = load("policy")
    run = engine.infer

    def infer(inputs: Arrays) -> Arrays:
        calls.append("engine")
        return run(inputs)

    engine.infer = infer  # type: ignore[method-assign]
    taken = measure(Pair(lambda inputs: calls.append("bare"), engine), 4)
    engine.close()
    assert calls[-8:] == ["engine", "bare", "bare", "engine"] * 2
    assert all(bare < whole for bare, whole in zip(taken.bare_ns, taken.engine_ns, strict=True))  # nothing, and a model


def test_what_is_added_is_the_median_of_the_turns_not_the_difference_of_medians() -> None:
    # bare [us]    1  1  1  1  1  9  9  9  9  9  9     median 9
    # engine [us]  2  2  2  2  2  9  9  9  9  9  9     median 9
    bare = [1000] * 5 + [9000] * 6
    assert added_at_p50(Taken(bare, [2000] * 5 + [9000] * 6)) == 0
    assert added_at_p50(Taken(bare, [2000] * 5 + [10_000] * 6)) == 1


def test_too_few_calls_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "engines", "--calls", "10"]) == EX_CONFIG
    assert "--calls must be 11 or more for a p50, got 10" in capsys.readouterr().err
