"""Make the five networks of `bench contention`: random weights, in the shapes of the five YOLO kinds.

.venv/bin/python tools/make_random_networks.py perf_inference/bench/contention/networks
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE_PX, CLASSES, KEYPOINTS, MASKS = 160, 4, 17, 32
CHANNELS = {"detect": 4 + CLASSES, "segment": 4 + CLASSES + MASKS, "pose": 4 + CLASSES + 3 * KEYPOINTS,
            "obb": 4 + CLASSES + 1}  # fmt: skip
KINDS = (*CHANNELS, "classify")


class Graph:
    """Nodes and weights as they are added."""

    def __init__(self, numbers: np.random.Generator) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._numbers = numbers

    def weight(self, name: str, shape: tuple[int, ...], scale: float = 0.0) -> None:
        deviation = scale or (2 / np.prod(shape[1:])) ** 0.5
        self.weights.append(numpy_helper.from_array(self._numbers.normal(0, deviation, shape).astype(np.float32), name))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, x: str, name: str, into: int, out: int, size: int, stride: int, relu: bool = True) -> str:
        self.weight(f"{name}_w", (out, into, size, size))
        self.weight(f"{name}_b", (out,), 0.01)
        done = self.node("Conv", [x, f"{name}_w", f"{name}_b"], name, kernel_shape=[size, size],
                         strides=[stride, stride], pads=[size // 2] * 4)  # fmt: skip
        return self.node("Relu", [done], f"{name}_r") if relu else done


def network(kind: str, numbers: np.random.Generator) -> Any:
    """Return the model of a kind."""
    graph = Graph(numbers)
    x = graph.convolution("images", "c1", 3, 12, 3, 2)
    by_4 = graph.convolution(x, "c2", 12, 20, 3, 2)
    by_8 = graph.convolution(by_4, "c3", 20, 32, 3, 2)
    by_16 = graph.convolution(by_8, "c4", 32, 48, 3, 2)
    by_32 = graph.convolution(by_16, "c5", 48, 48, 3, 2)
    if kind == "classify":
        graph.weights.append(numpy_helper.from_array(np.array([1, 48]), "flat"))
        graph.weight("fc_w", (48, 10))
        pooled = graph.node("GlobalAveragePool", [by_32], "pooled")
        flat = graph.node("Reshape", [pooled, "flat"], "features")
        graph.node("Softmax", [graph.node("MatMul", [flat, "fc_w"], "logits")], "output0", axis=1)
        outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 10])]
    else:
        channels, boxes, parts = CHANNELS[kind], 0, []
        graph.weights.append(numpy_helper.from_array(np.array([1, channels, -1]), "shape"))
        for name, feature, into, stride in (("h8", by_8, 32, 8), ("h16", by_16, 48, 16), ("h32", by_32, 48, 32)):
            head = graph.convolution(feature, name, into, channels, 1, 1, relu=False)
            parts.append(graph.node("Reshape", [head, "shape"], f"{name}_s"))
            boxes += (SIZE_PX // stride) ** 2
        graph.node("Sigmoid", [graph.node("Concat", parts, "all", axis=2)], "output0")
        outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, channels, boxes])]
        if kind == "segment":
            graph.convolution(by_4, "output1", 20, MASKS, 1, 1, relu=False)
            shape = [1, MASKS, SIZE_PX // 4, SIZE_PX // 4]
            outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, shape))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE_PX, SIZE_PX])
    made = helper.make_graph(graph.nodes, f"random_{kind}", [images], outputs, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], producer_name="perf_inference")
    model.ir_version = 8
    words = f"random weights, for bench contention: the shapes of a YOLO of kind {kind}"
    helper.set_model_props(model, {"description": words})
    onnx.checker.check_model(model)
    return model


def main() -> int:
    """Write all five."""
    folder, numbers = Path(sys.argv[1]), np.random.default_rng(11)
    for kind in KINDS:
        onnx.save(network(kind, numbers), folder / f"{kind}.onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
