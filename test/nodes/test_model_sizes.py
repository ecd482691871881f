"""The score that a node tells of its model is that of the precision in use, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from perf_inference.engines import MODELS, Options, load
from perf_inference.model_build.converters.onnx_precision import convert
from perf_inference.nodes.engine.model_sizes import ModelSizes
from perf_inference.testing.fakes import FakeEngine

SCORES = {"detector": 0.9993, "captioner": 0.972, "pruned": 0.983}


@pytest.mark.parametrize(("model", "score"), SCORES.items())
def test_embedded_models_tell_their_score(model: str, score: float) -> None:
    engine = load(model, options=Options(threads=1))
    assert ModelSizes().figures(engine)["model_score"] == score
    engine.close()


@pytest.mark.parametrize(
    ("runtime", "precision", "score"),
    [("onnx", "fp32", 0.9), ("torch", "fp32", 0.9), ("onnx", "int8", 0.8), ("onnx", "fp16", None),
     ("tensorrt", "int8", None)],
)  # fmt: skip
def test_a_score_of_another_precision_is_not_told(runtime: str, precision: str, score: float | None) -> None:
    engine = FakeEngine([], [])
    metadata = {"score": "0.9", "score_precision": "fp32", "score_onnx_int8": "0.8"}
    engine.info = replace(engine.info, runtime=runtime, precision=precision, metadata=metadata)
    assert ModelSizes().figures(engine)["model_score"] == score


def test_a_model_that_is_built_smaller_does_not_keep_the_score(tmp_path: Path) -> None:
    convert(MODELS / "policy.onnx", tmp_path / "plain.onnx", "int8")
    assert "score_precision" not in load(str(tmp_path / "plain.onnx")).info.metadata
    convert(MODELS / "captioner.onnx", tmp_path / "int8.onnx", "fp16")
    metadata = load(str(tmp_path / "int8.onnx")).info.metadata
    assert (metadata["score"], metadata["score_precision"], metadata["precision"]) == ("0.9720", "fp32", "fp16")
