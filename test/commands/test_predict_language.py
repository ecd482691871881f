"""What `predict` writes of captions and of sound."""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path

import numpy as np
from support.onnx_models import onnx

from perf_inference.commands.predict import captions, sounds
from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.engines import load


def test_a_caption_has_its_tokens_and_their_scores() -> None:
    given = argparse.ArgumentParser()
    captions.add_arguments(given)
    engine = load("captioner")
    assert captions.is_captioner(engine)
    image = render(Scene((Item("circle", "red", 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)), seed=5))
    found = captions.predict_caption(engine, captions.task_of(engine, given.parse_args([])), image)
    assert (found["kind"], found["caption"]) == ("caption", "a red circle left of a blue square")
    assert len(found["tokens"]) == len(found["scores"]) == 8
    assert all(0 < score <= 1 for score in found["scores"])
    assert (found["width"], found["height"]) == (image.shape[1], image.shape[0])
    json.dumps(found)


def _loudness(path: Path) -> Path:
    """Write a network of sound that tells loud chunks from quiet ones: logits [mean |x|, 0.1]."""
    helper, proto = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Abs", ["samples"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Add", ["z", "tenth"], ["t"]),
        helper.make_node("Concat", ["m", "t"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "loudness",
        [helper.make_tensor_value_info("samples", proto.FLOAT, ["b", "n"])],
        [helper.make_tensor_value_info("logits", proto.FLOAT, ["b", 2])],
        [helper.make_tensor("zero", proto.FLOAT, [], [0.0]), helper.make_tensor("tenth", proto.FLOAT, [], [0.1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    said = {"audio": "classification", "sample_rate": "16000", "vocabulary": '["loud", "quiet"]'}
    onnx.helper.set_model_props(model, said)
    onnx.save(model, path)
    return path


def test_sound_has_its_chunks_with_their_times(tmp_path: Path) -> None:
    loud = np.where(np.arange(40_000) // 16_000 % 2, 20_000, 10).astype("<i2")
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    data = loud.tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    file = tmp_path / "a.wav"
    file.write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
    engine = load(str(_loudness(tmp_path / "loudness.onnx")))
    assert sounds.hears(engine)
    assert sounds.is_sound(file)
    for batch in (1, 3):
        found = sounds.predict_audio(engine, file, batch=batch)
        assert (found["kind"], found["duration_s"], found["audio"]) == ("audio", 2.5, str(file))
        heard = [(one["start_s"], one["class_name"]) for one in found["chunks"]]
        assert heard == [(0.0, "quiet"), (1.0, "loud"), (2.0, "quiet")]
        assert all(0.5 <= one["score"] <= 1 for one in found["chunks"])
    found = sounds.predict_audio(engine, file, hop_s=0.5)
    assert [one["start_s"] for one in found["chunks"]] == [0.0, 0.5, 1.0, 1.5]
