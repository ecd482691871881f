"""uint8 in an ONNX graph as TensorRT takes it: an input that is cast at once, and nowhere else.

    image (uint8) ── Transpose ── Cast ── ...        what exporters write, and TensorRT's parser refuses
    image (uint8) ── Cast ── Transpose ── Cast ── ...

TensorRT has uint8 for the arrays of a network's edge alone (NvInferRuntimeBase.h, DataType::kUINT8). Nodes that move
values without computing give the same in float32, which holds every uint8.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.model_build.converters import onnx_precision

_MOVING = {"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}  # their first input's values


def with_uint8_cast(source: Path, target: Path) -> Path:
    """Return a model whose uint8 inputs are cast at once: the source where it is one, else what is written to `target`.

    Without the package onnx the source is left as it is.

    Raises:
        ConfigError: something computes with uint8.
    """
    if find_spec("onnx") is None:
        return source
    import onnx

    if not cast_at_once(onnx.load(source, load_external_data=False), source):
        return source
    model = onnx.load(source)
    cast_at_once(model, source)
    onnx_precision.save(model, target)
    return target


def cast_at_once(model: Any, source: Path) -> bool:
    """Cast uint8 inputs to float32 before anything else takes them; return whether the model was changed.

    Args:
        model: an onnx.ModelProto; changed itself.
        source: what the message names.

    Raises:
        ConfigError: something computes with uint8.
    """
    from onnx import TensorProto, helper

    graph, changed = model.graph, False
    for value in graph.input:
        takers = _takers(graph, value.name)
        if value.type.tensor_type.elem_type != TensorProto.UINT8 or all(node.op_type == "Cast" for node in takers):
            continue
        _require_moving(graph, value.name, source)
        cast = f"{value.name}/float32"
        for node in takers:
            node.input[:] = [cast if name == value.name else name for name in node.input]
        graph.node.insert(0, helper.make_node("Cast", [value.name], [cast], name=cast, to=TensorProto.FLOAT))
        changed = True
    for node in graph.node:
        made_uint8 = node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == TensorProto.UINT8
        if made_uint8 and (takers := _takers(graph, node.output[0])):  # an output of the model may be uint8
            _require_moving(graph, node.output[0], source)
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
            changed = True
    if changed:
        del graph.value_info[:]  # the types in between are others now
    return changed


def _require_moving(graph: Any, name: str, source: Path) -> None:
    """Raise ConfigError unless what takes this value moves it only, as far as a Cast."""
    outputs = {value.name for value in graph.output}
    open_names = [name]
    while open_names:
        current = open_names.pop()
        for node in _takers(graph, current):
            if node.op_type == "Cast":
                continue
            if node.op_type not in _MOVING or node.input[0] != current or node.output[0] in outputs:
                raise ConfigError(
                    f"'{source}' computes with uint8 ('{node.name or node.output[0]}', a {node.op_type}), which "
                    "TensorRT takes into a Cast alone; export the model with a cast to float first"
                )
            open_names.append(node.output[0])


def _takers(graph: Any, name: str) -> list[Any]:
    return [node for node in graph.node if name in node.input]
