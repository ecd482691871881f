"""From a model that takes images as it wants them to one that takes the camera's: uint8 BGR [1, H, W, 3] of one size.

Resizing, bars, colour order, scale and layout become nodes in front of the graph, so that they run where the model
runs, in any runtime, and a quarter of the bytes of a float image go to the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference import missing
from perf_inference.engines.image_preprocessing import PICTURE, ImageFit, ImageFront
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.onnx_graph import inner_graphs

_LOWEST_OPSET = 11  # Resize with the centres of pixels as OpenCV has them, Pad with its pads as an input


@dataclass(frozen=True)
class CameraImage:
    """The camera's image that a model is to take, and what is to happen to it."""

    width_px: int
    height_px: int
    front: ImageFront


def fuse(source: Path, target: Path, width_px: int, height_px: int, front: ImageFront) -> None:
    """Write an .onnx that takes images of this size, from one that takes them as `front` says.

    Raises:
        ConfigError: no ONNX model with one image of a fixed size among its inputs, or it already takes a camera's.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(f"building needs onnx, which is not installed: {missing.extra('build')}") from error
    try:
        model = onnx.load(source)
    except Exception as error:
        raise ConfigError(f"'{source}' is no ONNX model: {error}") from error
    if not (0 < width_px < 1 << 16 and 0 < height_px < 1 << 16):
        raise ConfigError(f"image must be WIDTHxHEIGHT px, each below {1 << 16}, got {width_px}x{height_px}")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if PICTURE in metadata or opset < _LOWEST_OPSET:
        raise ConfigError(
            f"'{source}' must take images as it wants them and have opset {_LOWEST_OPSET} or later, it has {opset} "
            f"and {'takes' if PICTURE in metadata else 'does not take'} a camera's; start from the exported model"
        )
    value, size = _image_input(model.graph, source)
    fit = ImageFit.of((width_px, height_px), size, front.letterbox, front.centred)
    nodes = _Nodes(value.name, _names(model.graph))
    kind = value.type.tensor_type.elem_type
    prepared = _front(nodes, value.name, fit, front, kind, onnx.TensorProto)
    _rename(model.graph, value.name, prepared)
    for node in reversed(nodes.made):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(nodes.constants)
    value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.UINT8, [1, height_px, width_px, 3]))
    onnx.helper.set_model_props(model, {**metadata, PICTURE: fit.entry(value.name)})
    onnx.save(model, target)


def _image_input(graph: Any, source: Path) -> tuple[Any, tuple[int, int]]:
    """Return the input that takes an image, and its (width, height) [px]."""
    weights = {tensor.name for tensor in graph.initializer}
    said = []
    for value in graph.input:
        shape = [max(axis.dim_value, 0) for axis in value.type.tensor_type.shape.dim]  # 0 = free; PaddlePaddle: -1
        if value.name in weights:
            continue
        said.append(f"{value.name} {shape}")
        if len(shape) == 4 and shape[0] in (0, 1) and 3 in (shape[1], shape[3]):
            height, width = shape[2:4] if shape[1] == 3 else shape[1:3]
            if height and width:
                return value, (width, height)
    raise ConfigError(
        f"'{source}' must have an input [1, 3, H, W] or [1, H, W, 3] of a fixed size, it has "
        f"{', '.join(said)} (0 = any); fix the size first"
    )


class _Nodes:
    """The nodes made so far, with their constants; names that the graph does not have."""

    def __init__(self, prefix: str, taken: set[str]) -> None:
        self._prefix, self._taken = prefix, taken
        self.made: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return its output's name."""
        from onnx import helper

        output = self._name(kind.lower())
        self.made.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = self._name("constant")
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _name(self, what: str) -> str:
        name = next(
            name for n in range(len(self._taken) + 1) if (name := f"{self._prefix}/{what}_{n}") not in self._taken
        )
        self._taken.add(name)
        return name


def _front(nodes: _Nodes, name: str, fit: ImageFit, front: ImageFront, kind: int, types: Any) -> str:
    """Add the nodes from the camera's image to what the model takes, which is `kind` of onnx's `types`."""
    name = nodes.add("Cast", [name], to=types.FLOAT)  # first: TensorRT takes uint8 into nothing else
    name = nodes.add("Transpose", [name], perm=[0, 3, 1, 2])
    name = _resize(nodes, name, fit, front.area)
    bars = fit.width_px - fit.inner_width_px, fit.height_px - fit.inner_height_px
    if any(bars):
        right, below = bars[0] - fit.left_px, bars[1] - fit.top_px
        pads = np.array([0, 0, fit.top_px, fit.left_px, 0, 0, below, right], np.int64)
        name = nodes.add("Pad", [name, nodes.constant(pads), nodes.constant(np.array(front.fill, np.float32))])
    if front.rgb:
        name = nodes.add("Gather", [name, nodes.constant(np.array([2, 1, 0], np.int64))], axis=1)
    if front.factors:
        a, b = np.array(front.factors, np.float32).T.reshape(2, 1, 3, 1, 1)
        name = nodes.add("Add", [nodes.add("Mul", [name, nodes.constant(a)]), nodes.constant(b)])
    elif front.scale != 1.0:
        name = nodes.add("Mul", [name, nodes.constant(np.array(front.scale, np.float32))])
    if kind == types.UINT8:  # a model with normalisation inside its graph: [1, H, W, 3]
        name = nodes.add("Round", [nodes.add("Transpose", [name], perm=[0, 2, 3, 1])])
    return name if kind == types.FLOAT else nodes.add("Cast", [name], to=kind)


def _resize(nodes: _Nodes, name: str, fit: ImageFit, area: bool) -> str:
    """Add the nodes that resize as `tasks.vision.resize` does on the host.

    Bilinear, or with `area` so that every pixel has its part in the result: means of whole k x k areas, then linear
    interpolation of what is left, under 2; sizes that no whole number divides are averaged by area with a product of
    matrices on either side. ONNX's own Resize with `antialias` is not in TensorRT.
    """
    width, height = fit.camera_width_px, fit.camera_height_px
    to_width, to_height = fit.inner_width_px, fit.inner_height_px
    most = min(width // to_width, height // to_height)
    k = next((k for k in range(most, 1, -1) if width % k == height % k == 0), 1) if area else 1
    if k > 1:
        name = nodes.add("AveragePool", [name], kernel_shape=[k, k], strides=[k, k])
        width, height = width // k, height // k
    if (width, height) == (to_width, to_height):
        return name
    if not area or (width < 2 * to_width and height < 2 * to_height):
        size = nodes.constant(np.array([1, 3, to_height, to_width], np.int64))
        none = nodes.constant(np.zeros(0, np.float32))  # no region, no factors: opset 11 wants them all the same
        return nodes.add("Resize", [name, none, none, size], mode="linear", coordinate_transformation_mode="half_pixel")
    name = nodes.add("MatMul", [name, nodes.constant(area_means(width, to_width).T.copy())])
    return nodes.add("MatMul", [nodes.constant(area_means(height, to_height)), name])


def area_means(length: int, to_length: int) -> NDArray[np.float32]:
    """Return [to_length, length]: each row the parts that the old pixels have in a new one; rows sum to 1."""
    edges = np.arange(to_length + 1) * (length / to_length)
    left, right = edges[:-1, None], edges[1:, None]
    pixels = np.arange(length)
    parts = np.clip(np.minimum(right, pixels + 1) - np.maximum(left, pixels), 0, None)
    means: NDArray[np.float32] = (parts / parts.sum(axis=1, keepdims=True)).astype(np.float32)
    return means


def _names(graph: Any) -> set[str]:
    names = {value.name for value in graph.input}
    for inner in inner_graphs(graph):
        names |= {tensor.name for tensor in inner.initializer}
        names |= {name for node in inner.node for name in (node.name, *node.input, *node.output)}
    return names


def _rename(graph: Any, old: str, new: str) -> None:
    """Let everything that takes the value `old` take `new`."""
    for inner in inner_graphs(graph):
        for node in inner.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new
