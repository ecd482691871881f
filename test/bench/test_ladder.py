"""`perf-inference bench ladder`: the judgement on numbers, and a real model in real runtimes."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from perf_inference.bench.ladder.energy import measure_energy
from perf_inference.bench.ladder.judge import Row, difference, recommend
from perf_inference.bench.ladder.loaded import Loaded, read_own_sound
from perf_inference.bench.ladder.measure import Results, measure
from perf_inference.bench.ladder.plan import Variant, fit, scenarios_of, variants_of
from perf_inference.bench.ladder.report import reasons_of, rows_of
from perf_inference.cli import main
from perf_inference.engines import AS_IT_IS, ArraySpec
from perf_inference.errors import ConfigError, EngineError
from perf_inference.testing.fakes import Arrays, FakeEngine

FLOAT = np.dtype(np.float32)
NONE = argparse.Namespace(shape=[], audio=None, images=None)


def test_outputs_are_compared_relative_to_the_largest_and_by_their_best_class() -> None:
    base = {"p": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)}
    assert difference(base, base) == difference(base, base)
    near = difference(base, {"p": base["p"] + np.float32(0.005)})
    assert near.relative == pytest.approx(0.005 / 0.9, rel=1e-3)
    assert near.within(1e-2)
    other_class = difference({"p": np.array([[0.5, 0.501]])}, {"p": np.array([[0.501, 0.5]])})
    assert (other_class.within(1e-2), other_class.same_best) == (False, False)
    for wrong in ({"q": base["p"]}, {"p": base["p"][:, :1]}, {"p": np.full((2, 2), np.nan)}):
        assert math.isnan(difference(base, wrong).relative)
        assert not difference(base, wrong).within(1.0)
    assert difference(base, {"p": base["p"][:1]}).within(0.0)  # a batch of one beside one of two


def row(variant: str, scenario: str, *ms: float, device: str = "cpu", ranked: bool = True) -> Row:
    return Row(variant, scenario, device, ms, None, ranked)


def test_what_drifts_is_never_recommended() -> None:
    rows = [
        row("baseline", "batch 1", 10, 10, 10), row("int8", "batch 1", 1, 1, 1, ranked=False),
        row("fp16", "batch 1", 4, 4, 16, device="cuda:0"), row("threads", "batch 1", 6, 7, 8),
        row("even", "batch 1", 60, 60, 60),
        row("baseline", "batch 8", 80, 80), row("fp16", "batch 8", 9, 9, device="cuda:0"),
    ]  # fmt: skip
    best = recommend(rows, ["batch 1", "batch 8"])
    assert {use: found.variant for use, found in best.items()} == {
        "short": "fp16", "long": "fp16", "streaming": "threads", "CPU only": "threads", "stability first": "threads",
    }  # fmt: skip
    assert recommend([row("int8", "batch 1", 1.0, ranked=False)], ["batch 1"]) == {}


def test_what_is_faster_in_some_rounds_only_is_not_taken() -> None:
    base = replace(row("baseline", "batch 1", 10, 10, 10), round_ms=(10, 10))
    for round_ms, taken in (((5, 6), "int8"), ((5, 11), "baseline")):
        other = replace(row("int8", "batch 1", 5, 5, 5), round_ms=round_ms)
        assert recommend([base, other], ["batch 1"])["short"].variant == taken


def loaded(name: str, limit: int = 99) -> Loaded:
    """Return a variant that doubles its input, and fails with batches over `limit`."""

    def answer(inputs: Arrays) -> Arrays:
        if len(inputs["x"]) > limit:
            raise EngineError("out of memory")
        return {"y": 2 * inputs["x"]}

    specs = (ArraySpec("x", (None, 3), FLOAT),), (ArraySpec("y", (None, 3), FLOAT),)
    return Loaded(Variant(name, "fake", AS_IT_IS), FakeEngine(*specs, answer), call_s=0.001)


def test_cells_batches_and_memory() -> None:
    found = [loaded("baseline"), loaded("small", limit=4)]
    assert found[0].engine is not None
    scenarios = scenarios_of(found[0].engine.inputs, (1, 8), NONE)
    cells, left_out, _ = fit(found, scenarios, 5, 100.0, full=False)
    assert [cell.name for cell in cells] == [
        "baseline: batch 1", "small: batch 1", "baseline: batch 8", "baseline, batched: batch 8", "small: batch 8",
        "small, batched: batch 8",
    ]  # fmt: skip
    assert left_out == []
    # 2 s each: the baselines of both scenarios come first
    assert fit(found, scenarios, 5, 4.5, full=False)[1] == [c.name for c in cells if c.variant != "baseline"]
    assert len(fit(found, scenarios, 5, 0.1, full=False)[0]) == 2
    found[1].call_s = 1.0  # of the slower ones none is measured before a quicker one
    assert fit(found, scenarios, 5, 6.5, full=False)[1] == [c.name for c in cells if c.variant.startswith("small")]
    found[1].call_s = 0.001
    results = Results()
    measure(cells, 10, results, cell_s=0.0)
    assert list(results.cells) == cells  # in the order of the plan, whatever the order they were measured in
    taken = {cell.name: taken for cell, taken in results.cells.items()}
    assert all(len(one.latencies_ns) >= 10 for name, one in taken.items() if name != "small, batched: batch 8")
    assert taken["small, batched: batch 8"].why == "out of memory"
    rows = {(one.variant, one.scenario): one for one in rows_of(results, 1e-2)}
    assert rows["baseline, batched", "batch 8"].ranked
    assert not rows["small, batched", "batch 8"].ranked


def test_a_waveform_gets_the_audio_scenarios() -> None:
    speech = scenarios_of([ArraySpec("samples", (None, None), FLOAT)], (1, 8), NONE)
    assert [(one.name, one.batch, one.calls, one.samples) for one in speech] == [
        ("audio 1 s", 1, 1, 16000), ("audio 3 s", 1, 1, 48000), ("audio 10 s", 10, 10, 16000),
    ]  # fmt: skip
    assert [one.name for one in scenarios_of([ArraySpec("x", (1, 8), FLOAT)], (1, 8), NONE)] == ["batch 1"]


@pytest.mark.slow
def test_the_users_own_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.array([[16384, 0], [-16384, -16384]], "<i2").tobytes())
    assert read_own_sound(path).tolist() == [0.25, -0.5]
    if importlib.util.find_spec("scipy"):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(48000)
            file.writeframes(bytes([192]) * 4800)
        own = read_own_sound(path)
        assert len(own) == 1600
        assert own[400:1200] == pytest.approx(0.5, abs=1e-2)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    for wrong in (tmp_path / "b.wav", tmp_path / "c.wav"):
        with pytest.raises(ConfigError, match="--audio"):
            read_own_sound(wrong)


def test_every_runtime_is_a_variant_or_says_why_not() -> None:
    options = argparse.Namespace(precision="auto", device="auto", threads=0, runtime="auto", full=False)
    variants = variants_of("detector", options)
    assert variants[0].name == "baseline"
    assert {"onnx int8", "openvino fp16", "torch fp32 compiled", "tensorrt fp16"} <= {one.name for one in variants}
    assert next(one for one in variants if one.name == "tensorrt fp16").why_not


def test_variants_that_cannot_run_are_named_behind_one_reason() -> None:
    whys = [("trt fp16", "not installed"), ("torch int8", "no layer for it"), ("trt int8", "not installed")]
    found = [Loaded(replace(loaded("a").variant, name=name), why=why) for name, why in whys]
    assert reasons_of([loaded("a"), *found]) == ["trt fp16, trt int8: not installed", "torch int8: no layer for it"]


def test_energy_is_what_a_run_takes_above_idle() -> None:
    found = [loaded(name) for name in ("baseline", "a", "b", "c", "d")]
    assert found[0].engine is not None
    cells, _, _ = fit(found, scenarios_of(found[0].engine.inputs, (1, 8), NONE), 5, 100.0, full=False)
    results = Results()
    measure(cells, 2, results, cell_s=0.0)
    window = SimpleNamespace(power_w=12.0)
    energies = list(measure_energy(results, lambda begin, end: window, 10.0, [], full=False, loop_s=0.02))
    assert energies[0].variant == "baseline"
    assert (len(energies), {one.scenario for one in energies}) == (4, {"batch 1"})
    for one in energies:
        assert (one.power_w, one.above_idle_w) == (12.0, 2.0)
        assert one.per_run_j is not None
        assert one.per_run_j * one.runs >= 0.02 * 2.0
    assert len(list(measure_energy(results, lambda begin, end: window, 10.0, [], full=True, loop_s=0.01))) == 5
    window.power_w = None
    assert next(measure_energy(results, lambda begin, end: window, 10.0, [], full=False, loop_s=0.01)).per_run_j is None


@pytest.mark.thorough
@pytest.mark.slow
def test_the_real_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {kind: tmp_path / f"ladder.{kind}" for kind in ("json", "html", "markdown")}
    flags = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    only = ["--only", "onnx fp32", "--runs", "5", "--device", "cpu"]
    assert main(["bench", "ladder", "detector", *only, *flags]) == 0
    said = capsys.readouterr().out
    assert "the baseline in every round" in said or "as fast as the baseline on 'batch 1'" in said
    assert "ros__parameters:" in said
    records = [json.loads(line) for line in files["json"].read_text().splitlines()]
    series = {record["series"]: record["values"] for record in records if record["record"] == "samples"}
    assert "baseline: batch 1" in series
    assert all(len(values) >= 5 for values in series.values())
    assert main(["bench", "ladder", "no_such_model"]) == 78
    assert main(["bench", "ladder", "detector", "--audio", "x.wav", *only]) == 78
