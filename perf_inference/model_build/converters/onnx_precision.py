"""An ONNX model in half or eighth precision, by ONNX Runtime's own tools; its inputs and outputs stay as they are.

Embedded models, 200 scenes, one thread of an AMD EPYC with VNNI (docs/engines.md has the whole table): quantising all
kinds of nodes cost the detector 2.7 points of mAP50, quantising only products of matrices nothing; a convolution whose
input is quantised at each run (ConvInteger) took seven times as long as in fp32. Hence the choices below.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference import missing
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.runtimes import ASYMMETRIC, SYMMETRIC
from perf_inference.errors import ConfigError
from perf_inference.model_build import machine
from perf_inference.model_build.converters import onnx_graph

_PRODUCTS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
_DYNAMIC = ["Attention", "Gemm", "LSTM", "MatMul"]
_SMALL = 256  # weights fewer than this are left as they are
_LEVELS = 127  # of int8, symmetric
_SCORES = ("score", "accuracy", "bleu", "map50")  # how keys of the metadata begin that say how good a model is

Inputs = Mapping[str, NDArray[Any]]


def convert(
    source: Path, target: Path, precision: str, calibration: Sequence[Inputs] = (), quantisation: str = ASYMMETRIC
) -> None:
    """Write the model at `precision`, which its metadata then say.

    Args:
        calibration: inputs as the model will meet them, from which int8 takes the ranges of its activations; without
            any, weights are int8 and activations are quantised as they come, or not at all.
        quantisation: of int8 that is calibrated; SYMMETRIC: as TensorRT's parser takes it.

    Raises:
        ConfigError: the model cannot be converted.
    """
    if find_spec("onnx") is None:
        raise ConfigError(f"building needs onnx, which is not installed: {missing.extra('build')}")
    try:
        with _quiet():
            if precision == "fp32":
                save(_loaded(source), target)
            elif precision == "fp16":
                _to_fp16(source, target)
            elif calibration:
                _to_int8_calibrated(source, target, calibration, quantisation == SYMMETRIC)
            else:
                _to_int8(source, target)
            if precision == "int8":
                _require_int8(target)
            _mark(target, precision)
    except Exception as error:
        said = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise ConfigError(f"'{source}' cannot be converted to {precision}: {said}; run it in fp32") from error


def copy(source: Path, target: Path) -> None:
    """Write the model to another path, with the weights of a big one, which lie beside it."""
    save(_loaded(source), target)


def fix_shapes(source: Path, target: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write the model with these inputs' shapes fixed.

    Raises:
        ConfigError: no such input, or a shape that does not fit it.
    """
    model = _loaded(source)
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    lengths = {key: [axis.dim_value if axis.dim_value > 0 else None for axis in axes] for key, axes in inputs.items()}
    for name, shape in shapes.items():  # PaddlePaddle writes -1 for an axis that is free
        had = lengths.get(name, [])
        if len(had) != len(shape) or any(n not in (None, m) for n, m in zip(had, shape, strict=True)):
            raise ConfigError(
                f"shape {name}={','.join(map(str, shape))} does not fit '{source}': its inputs are "
                + ", ".join(f"{key} {axes}" for key, axes in lengths.items())
            )
        for axis, length in zip(inputs[name], shape, strict=True):
            axis.dim_value = length
    del model.graph.value_info[:]  # the shapes in between are others now
    save(model, target)


def _mark(path: Path, precision: str) -> None:
    import onnx

    model = _loaded(path)
    had = {entry.key: entry.value for entry in model.metadata_props}
    if any(key.partition("_")[0] in _SCORES for key in had):  # what was measured before is said of that precision alone
        had.setdefault("score_precision", had.get("precision", "fp32"))
    onnx.helper.set_model_props(model, {**had, "precision": precision})
    save(model, path)


def _to_fp16(source: Path, target: Path) -> None:
    from onnxruntime.transformers import float16

    # A graph whose inputs stay fp32 casts at its edges; what the converter itself keeps in fp32 (Resize before opset
    # 11, NonMaxSuppression, Min and Max ...) is its list. It cuts weights to what a half float can hold, so that nodes
    # with larger ones (the variances of a BatchNormalization) stay in fp32 too.
    model = _weighted(source)
    kept = onnx_graph.beyond_half(model)
    save(float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=kept), target)


def _weighted(source: Path) -> Any:
    """Return the model with all its weights where the tools look for them."""
    model = _loaded(source)
    onnx_graph.constants_to_weights(model)
    return model


def _require_int8(path: Path) -> None:
    """Raise ValueError where nothing has become int8: the file would be slower than fp32, under another name."""
    made = read_onnx_file(path)
    if "int8" not in made.weights and "QuantizeLinear" not in made.operators:
        raise ValueError("none of its weights can be int8 (it has no product of matrices or convolution with weights)")


# TensorRT's parser takes int8 without zero points, and neither biases of int32 nor weights that are stored as int8
# (TensorRT#2774, TensorRT#4698, onnxruntime#14229, onnxruntime#21169).
_OF_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,
    "QuantizeBias": False,
}


def _to_int8_calibrated(source: Path, target: Path, calibration: Sequence[Inputs], symmetric: bool) -> None:
    """Quantise weights per channel and activations by their ranges: QDQ nodes, which the runtimes fuse."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        ready = Path(folder) / "ready.onnx"
        save(onnx_graph.raised_to(_weighted(source), onnx_graph.PER_CHANNEL_OPSET), ready)
        quant_pre_process(ready, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_PRODUCTS,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=not symmetric and _sums_saturate(),
            extra_options=_OF_TENSORRT if symmetric else None,
        )


class _Reader:
    """What ONNX Runtime takes its calibration from."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        found = next(self._inputs, None)
        return None if found is None else dict(found)


def _sums_saturate() -> bool:
    """Return whether the processor adds products of uint8 and int8 in 16 bits: x86 with AVX2 and without VNNI."""
    flags = machine.processor_flags()
    return "avx2" in flags and not flags & {"avx_vnni", "avx512_vnni"}


def _to_int8(source: Path, target: Path) -> None:
    """Quantise products dynamically, and of convolutions the weights alone."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        save(onnx_graph.raised_to(_weighted(source), onnx_graph.PER_CHANNEL_OPSET), ready)
        quantize_dynamic(
            ready, target, op_types_to_quantize=_DYNAMIC, weight_type=QuantType.QInt8, reduce_range=_sums_saturate()
        )
    model = _loaded(target)
    _pack_convolutions(model)
    save(model, target)


def _pack_convolutions(model: Any) -> None:
    """Store the weights of convolutions as int8 with a scale for each output channel."""
    from onnx import helper, numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    users = [name for node in graph.node for name in node.input]
    for node in [node for node in graph.node if node.op_type == "Conv" and node.input[1] in stored]:
        name = node.input[1]
        weight = numpy_helper.to_array(stored[name])
        if weight.dtype != np.float32 or weight.size < _SMALL or users.count(name) > 1:
            continue
        most = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        scale = np.maximum(most / _LEVELS, np.finfo(np.float32).tiny).astype(np.float32)
        packed = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
        graph.initializer.remove(stored[name])
        graph.initializer.extend(
            [numpy_helper.from_array(packed, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
        )
        unpack = helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name], axis=0)
        graph.node.insert(0, unpack)


def _loaded(path: Path) -> Any:
    import onnx

    return onnx.load(path)


def save(model: Any, path: Path) -> None:
    """Write the model; its weights beside it where it is too big for one protobuf message (2 GB)."""
    import onnx

    big = model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF
    onnx.save(model, path, save_as_external_data=big, location=f"{path.name}.data" if big else None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the tools print and log on standard output; their errors are exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logging.disable(level)
