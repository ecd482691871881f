"""Small ONNX models that tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any],
         metadata: dict[str, str]) -> Path:  # fmt: skip
    """Write a model of these nodes."""
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def constant_policy(
    path: Path, velocity_rad_s: tuple[float, float], matmuls: int = 0, side: int = 1024,
    metadata: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write a policy that always answers with these joint velocities, after some matrix products."""
    inputs = [
        helper.make_tensor_value_info("force", TensorProto.FLOAT, [1, 65, 6]),
        helper.make_tensor_value_info("joints", TensorProto.FLOAT, [1, 65, 4]),
        helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 96, 128, 3]),
    ]
    outputs = [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 2])]
    constants = {"velocity": np.array([velocity_rad_s], np.float32)}
    if not matmuls:
        return save(
            path, [helper.make_node("Identity", ["velocity"], ["action"])], inputs, outputs, constants, metadata or {}
        )
    constants["matrix"] = np.full((side, side), 1 / side, np.float32)
    constants["nothing"] = np.zeros((1, 1), np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["force"], ["mean"], keepdims=0),  # of the input: not folded beforehand
        helper.make_node("Add", ["matrix", "mean"], ["product0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"product{i}", "matrix"], [f"product{i + 1}"]) for i in range(matmuls)]
    nodes += [
        helper.make_node("ReduceMean", [f"product{matmuls}"], ["whole"], keepdims=0),
        helper.make_node("Mul", ["whole", "nothing"], ["zero"]),
        helper.make_node("Add", ["velocity", "zero"], ["action"]),
    ]
    return save(path, nodes, inputs, outputs, constants, {})


def slow_detector(path: Path, size: int, products: int) -> Path:
    """Write a detector that sees nothing, and multiplies matrices of this size so often before it says so."""
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 84])]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Expand", ["nothing", "square"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(products)),
        helper.make_node("ReduceMean", [f"m{products}"], ["result"], keepdims=0),
        helper.make_node("Expand", ["result", "shape"], ["output0"]),
    ]
    constants = {
        "zero": np.zeros((), np.float32),
        "square": np.array([size, size], np.int64),
        "shape": np.array([1, 7, 84], np.int64),
    }
    return save(path, nodes, inputs, outputs, constants, {"names": "{0: 'a', 1: 'b', 2: 'c'}"})


def detector_of_no_numbers(path: Path) -> Path:
    """Write a detector that runs and whose scores are no numbers."""
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 84])]
    nodes = [helper.make_node("Identity", ["nan"], ["output0"])]
    constants = {"nan": np.full((1, 7, 84), np.nan, np.float32)}
    return save(path, nodes, inputs, outputs, constants, {"names": "{0: 'a', 1: 'b', 2: 'c'}"})


def sometimes_failing_detector(path: Path, height_px: int, width_px: int, layers: int = 4, channels: int = 64) -> Path:
    """Write a slow detector that finds nothing, and that ONNX Runtime fails at where the middle pixel is over 200.

    That pixel is an index into a table of 201 entries; the convolutions give it work to do.
    """
    numbers = np.random.default_rng(0)
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height_px, width_px, 3])]
    outputs = [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 5, 8])]
    constants: dict[str, Any] = {
        "table": np.zeros(201, np.float32),
        "start": np.array([0, height_px // 2, width_px // 2, 0], np.int64),
        "end": np.array([1, height_px // 2 + 1, width_px // 2 + 1, 1], np.int64),
        "nothing": np.zeros((1, 5, 8), np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array([1], np.int64),
        "weight_0": numbers.normal(size=(channels, 3, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["layer_0"], perm=[0, 3, 1, 2]),
    ]
    for i in range(layers):
        if i:
            weights = numbers.normal(size=(channels, channels, 3, 3)).astype(np.float32) / channels
            constants[f"weight_{i}"] = weights
        nodes.append(helper.make_node("Conv", [f"layer_{i}", f"weight_{i}"], [f"layer_{i + 1}"], pads=[1, 1, 1, 1]))
    nodes += [
        helper.make_node("ReduceMax", [f"layer_{layers}"], ["highest"], keepdims=0),
        helper.make_node("Min", ["highest", "zero"], ["low"]),  # the highest of these many is not below zero
        helper.make_node("Slice", ["image", "start", "end"], ["pixel"]),
        helper.make_node("Reshape", ["pixel", "one"], ["level"]),
        helper.make_node("Cast", ["level"], ["value"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["value", "low"], ["raised"]),  # so that it fails after the work, not before
        helper.make_node("Cast", ["raised"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Add", ["nothing", "found"], ["boxes"]),
    ]
    return save(path, nodes, inputs, outputs, constants, {"names": "{0: 'nothing'}"})


def depth_of_brightness(path: Path, height_px: int, width_px: int) -> Path:
    """Write a model of an image [1, 3, H, W] in [0, 1] whose "depth" [1, H, W] is the mean of the channels."""
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height_px, width_px])]
    outputs = [helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, height_px, width_px])]
    mean = helper.make_node("ReduceMean", ["image"], ["depth"], axes=[1], keepdims=0)
    return save(path, [mean], inputs, outputs, {}, {})


def brightness_detector(path: Path, batch: int | str | None = 1, side: int | None = 64, products: int = 0) -> Path:
    """Write a detector of one box whose score is the mean of the image's first channel, from 0 to 1.

    Args:
        batch: fixed, or the name of a free axis.
        side: of the input [px]; None: free.
        products: matrices of the image's own size that each image is multiplied with first, to take time.
    """
    sides = ["h", "w"] if side is None else [side, side]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *sides])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 6, None if side is None else 84])]
    base = np.zeros((1, 6, 84), np.float32)
    base[0, :4, 0] = 32, 32, 16, 8
    place = np.zeros((1, 6, 84), np.float32)
    place[0, 4, 0] = 1
    constants: dict[str, Any] = {
        "first": np.array([0], np.int64), "base": base, "place": place, "shape": np.array([-1, 1, 1], np.int64),
    }  # fmt: skip
    nodes = []
    source = "images"
    for i in range(products):
        constants["unit"] = np.eye(side or 64, dtype=np.float32)
        nodes.append(helper.make_node("MatMul", [source, "unit"], [f"m{i}"]))
        source = f"m{i}"
    nodes += [
        helper.make_node("Gather", [source, "first"], ["channel"], axis=1),
        helper.make_node("ReduceMean", ["channel"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["score"]),
        helper.make_node("Mul", ["place", "score"], ["scores"]),
        helper.make_node("Add", ["base", "scores"], ["output0"]),
    ]
    return save(path, nodes, inputs, outputs, constants, {"names": "{0: 'light', 1: 'dark'}", "task": "detect"})
