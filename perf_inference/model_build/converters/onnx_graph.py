"""What an ONNX graph must be like before its precision is changed, whoever exported it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.errors import ConfigError, in_one_line

PER_CHANNEL_OPSET = 13  # QuantizeLinear and DequantizeLinear with an axis
_INITIALIZERS_ALONE = 4  # ir_version from which an initializer need not be an input too
_LARGEST_HALF = float(np.finfo(np.float16).max)


def plain_files(source: Path, folder: Path) -> Path:
    """Return the model itself, or a copy where it or its weights are links, which onnx does not follow.

    Hugging Face's cache is such a folder: names that lead to files called after their content.
    """
    external = read_onnx_file(source).external
    files = [source, *(source.parent / name for name in sorted(external))]
    if not external or not any(file.is_symlink() or not file.is_file() for file in files):
        return source
    for file in files:
        real = file if file.is_file() else source.resolve().parent / file.relative_to(source.parent)
        target = folder / file.relative_to(source.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(real, target)
    return folder / source.name


def constants_to_weights(model: Any) -> None:
    """Make initializers of Constant nodes that hold a tensor: PaddlePaddle's exporter has all weights in them."""
    graph, kept = model.graph, []
    for node in graph.node:
        tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and tensors:
            graph.initializer.add().CopyFrom(tensors[0])
            graph.initializer[-1].name = node.output[0]
        else:
            kept.append(node)
    if len(kept) < len(graph.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)
        model.ir_version = max(model.ir_version, _INITIALIZERS_ALONE)


def raised_to(model: Any, opset: int) -> Any:
    """Return the model in this opset or a later one.

    Raises:
        ConfigError: onnx does not know how to bring it there.
    """
    import onnx

    has = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if has >= opset:
        return model
    try:
        raised = onnx.version_converter.convert_version(model, opset)
    except Exception as error:
        said = in_one_line(error, 200)
        raise ConfigError(
            f"its opset {has} must become {opset}, and onnx cannot do that ({said}); export it with that opset or later"
        ) from error
    onnx.helper.set_model_props(raised, {entry.key: entry.value for entry in model.metadata_props})
    return raised


def beyond_half(model: Any) -> list[str]:
    """Return the names of the nodes that have a weight which half floats cannot hold; each node gets a name."""
    from onnx import TensorProto, numpy_helper

    large = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and _largest(numpy_helper.to_array(tensor)) > _LARGEST_HALF
    }
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}_{node.op_type}"
    return [node.name for node in model.graph.node if large & set(node.input)]


def inner_graphs(graph: Any) -> Iterator[Any]:
    """Yield the graph and those inside its nodes (the branches of an If, the body of a Loop)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from inner_graphs(inner)


def _largest(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0
