"""One ONNX graph put into another, in the place of the node that stands for it."""

from __future__ import annotations

from typing import Any

DOMAIN = "perf_inference"
"""Of that node's operator; whatever the operator is called."""
_PREFIX = "inner/"


def with_graph(model: Any, content: bytes) -> Any:
    """Return the model (`onnx.ModelProto`) with the graph in place of the only node of DOMAIN.

    The graph has one input and one output, and comes to the model's version of the operators.

    Raises:
        ValueError: there is not one such node.
        onnx.version_converter.ConvertError: the graph's operators are not there in that version.
    """
    import onnx

    stands = [node for node in model.graph.node if node.domain == DOMAIN]
    if len(stands) != 1:
        raise ValueError(f"one node must stand for the inner graph, got {len(stands)}")
    version = next(entry.version for entry in model.opset_import if not entry.domain)
    inner = onnx.load_from_string(content)
    if any(entry.version != version for entry in inner.opset_import if not entry.domain):
        inner = onnx.version_converter.convert_version(inner, version)
    inner = onnx.compose.add_prefix(inner, _PREFIX)
    weights = {tensor.name for tensor in inner.graph.initializer}
    (given,) = (value.name for value in inner.graph.input if value.name not in weights)
    (result,) = (value.name for value in inner.graph.output)
    nodes = [
        onnx.helper.make_node("Identity", [stands[0].input[0]], [given]),
        *inner.graph.node,
        onnx.helper.make_node("Identity", [result], [stands[0].output[0]]),
    ]
    at = list(model.graph.node).index(stands[0])
    nodes = [*model.graph.node[:at], *nodes, *model.graph.node[at + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(inner.graph.initializer)
    model.functions.extend(inner.functions)
    model.ir_version = max(model.ir_version, inner.ir_version)
    kept = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    kept += [entry for entry in inner.opset_import if entry.domain not in {one.domain for one in kept}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model
