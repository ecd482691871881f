"""uint8 as TensorRT takes it: cast at once, and the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from perf_inference.engines import MODELS, load
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.uint8_values import cast_at_once, with_uint8_cast
from perf_inference.model_build.trial.child import random_inputs


def model_of(*nodes: onnx.NodeProto, shape: tuple[int, ...] = (1, 2, 3)) -> onnx.ModelProto:
    """Return a model from `x` (uint8) to `y` (float)."""
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [given], [made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("name", ["captioner", "detector", "policy", "pruned"])
def test_the_embedded_models_answer_the_same(name: str, tmp_path: Path) -> None:
    written = with_uint8_cast(MODELS / f"{name}.onnx", tmp_path / "m.onnx")
    graph = onnx.load(written).graph
    uint8 = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    assert uint8
    assert {node.op_type for node in graph.node if uint8 & set(node.input)} == {"Cast"}
    one, other = load(str(MODELS / f"{name}.onnx"), "onnx"), load(str(written), "onnx")
    inputs = random_inputs(one.inputs)
    outputs = other.infer(inputs)
    for key, value in one.infer(inputs).items():
        np.testing.assert_array_equal(outputs[key], value)


def test_a_model_that_casts_at_once_is_left_as_it_is(tmp_path: Path) -> None:
    onnx.save(model_of(helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)), tmp_path / "m.onnx")
    assert with_uint8_cast(tmp_path / "m.onnx", tmp_path / "other.onnx") == tmp_path / "m.onnx"
    assert not (tmp_path / "other.onnx").exists()


def test_uint8_in_the_middle_goes_too() -> None:
    # x -> Cast float -> Cast uint8 -> Transpose -> Cast float: what an image's front leaves before the model's own
    model = model_of(
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["b"], ["c"], perm=[2, 0, 1]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    )
    assert cast_at_once(model, Path("m.onnx"))
    assert TensorProto.UINT8 not in {
        helper.get_node_attr_value(node, "to") for node in model.graph.node if node.op_type == "Cast"
    }
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"x": image})[0], image.transpose(2, 0, 1).astype(np.float32))


def test_what_computes_with_uint8_is_refused() -> None:
    model = model_of(
        helper.make_node("Transpose", ["x"], ["a"], perm=[2, 0, 1]),
        helper.make_node("MaxPool", ["a"], ["b"], name="pool", kernel_shape=[1]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    )
    with pytest.raises(ConfigError, match=r"'m.onnx' computes with uint8 \('pool', a MaxPool\).*a cast to float first"):
        cast_at_once(model, Path("m.onnx"))
