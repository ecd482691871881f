"""ONNX networks of any shapes, whose outputs depend on all their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from support.onnx_models import save

TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
Shape = Sequence[int]


def network(
    path: Path,
    inputs: Mapping[str, tuple[Shape, str] | Shape],
    outputs: Mapping[str, Shape],
    gain: float = 0.01,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network: each output is `gain` times the sum of the means of all inputs, in every place."""
    nodes, means, specs = [], [], []
    for i, (name, said) in enumerate(inputs.items()):
        shape, dtype = said if isinstance(said[-1], str) else (said, "float32")
        specs.append(helper.make_tensor_value_info(name, TYPES[dtype], list(shape)))
        nodes.append(helper.make_node("Cast", [name], [f"float{i}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceMean", [f"float{i}"], [f"mean{i}"], keepdims=0))
        means.append(f"mean{i}")
    nodes.append(helper.make_node("Sum", means, ["sum"]))
    nodes.append(helper.make_node("Mul", ["sum", "gain"], ["scaled"]))
    constants = {"gain": np.array(gain, np.float32)}
    wanted = []
    for i, (name, shape) in enumerate(outputs.items()):
        constants[f"shape{i}"] = np.array(shape, np.int64)
        nodes.append(helper.make_node("Expand", ["scaled", f"shape{i}"], [name]))
        wanted.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
    return save(path, nodes, specs, wanted, constants, dict(metadata or {}))
