"""What an .onnx file refers to is seen wherever its fields lie, as ONNX Runtime's own parser would see it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import AttributeProto, FunctionProto, ModelProto, TensorProto, helper

from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.errors import ConfigError
from perf_inference.model_build import AllowedModels
from perf_inference.model_build.private_copy import private_copy

_GRAPH = 7 << 3 | 2  # the tag of a model's graph


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def elsewhere(location: str = "../secret.bin") -> TensorProto:
    """Return weights that lie in another folder."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(nodes: list[onnx.NodeProto], weights: list[TensorProto], functions: list[FunctionProto]) -> ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=weights)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9, functions=functions)


def under_a_long_tag(made: ModelProto, tag: int) -> bytes:
    """Return the model with its graph under a number that Google's parser cuts to 32 bits."""
    graph = made.graph.SerializeToString()
    made.ClearField("graph")
    return bytes(made.SerializeToString()) + varint(tag) + varint(len(graph)) + bytes(graph)


@pytest.mark.parametrize("tag", [_GRAPH | 1 << 32, _GRAPH | 7 << 32])
def test_a_number_that_is_another_one_to_google_s_parser_is_refused(tmp_path: Path, tag: int) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    engine = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="evil.engine")
    for made in (model([helper.make_node("Add", ["x", "w"], ["y"])], [elsewhere()], []), model([engine], [], [])):
        content = under_a_long_tag(made, tag)
        path = folder / "a.onnx"
        path.write_bytes(content)
        path.chmod(0o644)
        for read in (read_onnx_file, read_metadata):
            with pytest.raises(ConfigError, match="more than 32 bits"):
                read(path)
        with pytest.raises(ConfigError, match="32 bits"), private_copy(str(path), AllowedModels.of(str(path), ())):
            pass


def test_weights_in_a_function_s_default_are_seen(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", ref_attr_name="given", type=AttributeProto.TENSOR)
    add = helper.make_node("Add", ["a", "w"], ["b"])
    function = helper.make_function("own", "F", ["a"], ["b"], [constant, add], [helper.make_opsetid("", 17)])
    function.attribute_proto.add(name="given", type=AttributeProto.TENSOR, t=elsewhere())
    path = tmp_path / "a.onnx"
    path.write_bytes(model([helper.make_node("F", ["x"], ["y"], domain="own")], [], [function]).SerializeToString())
    assert read_onnx_file(path, follow=False).external == {"../secret.bin"}
    with pytest.raises(ConfigError, match="not in its own folder"):
        read_onnx_file(path)


@pytest.mark.parametrize("location", ["*/_ORT_MEM_ADDR_/*", "*/_ORT_MEM_LE_ADDR_/*"])
def test_weights_at_an_address_in_memory_are_refused(tmp_path: Path, location: str) -> None:
    path, beside = tmp_path / "a.onnx", tmp_path / location
    beside.parent.mkdir(parents=True)
    beside.write_bytes(bytes(16))
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], [elsewhere(location)], [])
    path.write_bytes(made.SerializeToString())
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="address in the memory"):
        read_onnx_file(path)
    with pytest.raises(ConfigError, match="memory"), private_copy(str(path), AllowedModels.of(str(path), ())):
        pass
