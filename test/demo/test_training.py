"""The training scripts run, are seeded, and write models of the shape that the nodes expect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perf_inference import engines
from perf_inference.tasks.language.caption import CaptionTask
from perf_inference.tasks.policy.policy_task import PolicyTask
from perf_inference.tasks.vision.task import YoloTask

pytestmark = pytest.mark.torch

SHORT = {
    "detector": ["--steps", "2", "--scenes", "64"],
    "captioner": ["--steps", "2", "--scenes", "64", "--detector-steps", "2"],
    "policy": ["--episodes", "4", "--epochs", "1", "--rounds", "1"],
}


def train(name: str, out: Path) -> None:
    """Train for a moment in a process of its own, and write the model to `out`."""
    command = [sys.executable, "-m", f"perf_inference.demo.train_{name}", "--out", str(out), *SHORT[name]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(SHORT))
def test_a_short_training_gives_a_model_that_the_node_takes(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"{name}.onnx"
    train(name, out)
    assert out.stat().st_size < 2_000_000
    engine, embedded = engines.load(str(out)), engines.load(name)
    assert (engine.inputs, engine.outputs) == (embedded.inputs, embedded.outputs)
    said = {key: value for key, value in embedded.info.metadata.items() if not key.startswith("score")}
    assert engine.info.metadata == said
    checkpoint = engines.load(str(out.with_suffix(".pt" if name == "policy" else ".safetensors")))
    zeros = {spec.name: np.zeros([n or 1 for n in spec.shape], spec.dtype) for spec in engine.inputs}
    one, two = engine.infer(zeros), checkpoint.infer(zeros)
    for output in one:
        np.testing.assert_allclose(one[output], two[output], rtol=0, atol=1e-3)
    checkpoint.close()
    image = np.zeros((480, 640, 3), np.uint8)
    if name == "detector":
        task = YoloTask(engine)
        assert len(task.names) == 24
        inputs, context = task.preprocess(image)
        task.postprocess(engine.infer(inputs), context)
    elif name == "captioner":
        caption = CaptionTask(engine)
        inputs, context = caption.preprocess(image)
        caption.postprocess(engine.infer(inputs), context)
    else:
        assert PolicyTask(engine, ("shoulder", "elbow")).window == 65
    engine.close()


def test_the_seed_fixes_the_weights(tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    for out in (first, second):
        train("detector", out)
    image = {"image": np.random.default_rng(0).integers(0, 255, (1, 192, 256, 3), np.uint8)}
    one, two = (engines.load(str(path)).infer(image)["output0"] for path in (first, second))
    assert np.array_equal(one, two)
