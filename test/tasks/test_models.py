"""The embedded models, on scenes that no training has seen."""

from __future__ import annotations

import numpy as np
import pytest

from perf_inference import engines
from perf_inference.demo import training
from perf_inference.demo.score import caption_exact, detector_map50
from perf_inference.engines import MODELS, Options


@pytest.mark.parametrize("name", ["detector", "captioner", "policy", "pruned"])
def test_each_is_small_and_runs(name: str) -> None:
    assert (MODELS / f"{name}.onnx").stat().st_size < 2_000_000
    engine = engines.load(name, options=Options(threads=1))
    zeros = {spec.name: np.zeros([n or 1 for n in spec.shape], spec.dtype) for spec in engine.inputs}
    outputs = engine.infer(zeros)
    assert {spec.name for spec in engine.outputs} == set(outputs)
    engine.close()


@pytest.mark.slow
def test_the_detector_finds_the_shapes() -> None:
    score = detector_map50(MODELS / "detector.onnx", training.test_scenes(80))
    print(f"detector: mAP50 {score:.4f} on 80 held-out scenes")
    assert score >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("name", ["captioner", pytest.param("pruned", marks=pytest.mark.thorough)])
def test_the_captioner_says_the_sentence(name: str) -> None:
    score = caption_exact(MODELS / f"{name}.onnx", training.test_scenes(80))
    print(f"{name}: {score:.3f} of 80 sentences exact")
    assert score >= 0.90
