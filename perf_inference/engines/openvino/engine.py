"""OpenVINO: x86 and Arm CPUs, Intel's GPUs and NPUs; .xml with its .bin, and .onnx as it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, PRECISIONS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.onnx import metadata as of_onnx
from perf_inference.engines.openvino.library import openvino
from perf_inference.engines.openvino.metadata import read_metadata
from perf_inference.errors import ConfigError, EngineError

_DTYPES = {
    "f32": np.float32,
    "f16": np.float16,
    "f64": np.float64,
    "u8": np.uint8,
    "i8": np.int8,
    "i32": np.int32,
    "i64": np.int64,
    "boolean": np.bool_,
}
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}  # of OpenVINO's element types and precision hints
_STORED = {**_PRECISIONS, "i8": "int8", "u8": "int8"}


def open_engine(model: str, options: Options) -> OpenVinoEngine:
    """Return an engine for an .xml or .onnx file.

    Raises:
        ConfigError: the file is no model that OpenVINO takes, or the device or precision is not here.
    """
    return OpenVinoEngine(Path(model), options)


class OpenVinoEngine:
    """A compiled model and one request; `device` is `auto` (a GPU, else the CPU), `cpu`, `gpu:N` or `npu`.

    OpenVINO by itself computes an fp32 model in bf16 or fp16 where the hardware is faster at that; here it does so only
    when asked, so that `fp32` is what it says. A file with fp16 weights runs in fp32 on a CPU that has no fp16: its
    precision is told as fp16, which is what its weights were rounded to.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.parts_ns = NO_PARTS
        core = openvino.Core()
        device = device_for(core.available_devices, options.device)
        try:
            model = core.read_model(path)
            metadata = of_onnx.read_metadata(path) if path.suffix == ".onnx" else read_metadata(model, path)
            stored = stored_precision(model, metadata)
            self.parameters = sum(weights_of(model).values()) or None  # that it has learned, and its constants
            capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
            precision, hint = precision_for(stored, options.precision, capabilities, f"'{path}' on device {device}")
            compiled = core.compile_model(model, device, _properties(device, hint, options.threads))
            self.inputs = tuple(_spec(port) for port in model.inputs)
            self.outputs = tuple(_spec(port) for port in model.outputs)
            self._request = compiled.create_infer_request()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"'{path}' is no model that OpenVINO takes: {last_line(error)}") from error
        self.info = EngineInfo(
            name=path.stem,
            runtime="openvino",
            precision=precision,
            device=device.lower().replace(".", ":"),
            metadata=metadata,
        )

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        if self._request is None:
            raise EngineError(f"'{self.info.name}' is closed")
        given = {index: inputs[spec.name] for index, spec in enumerate(self.inputs)}
        try:
            # Neither side is copied: the outputs are the request's own memory, hence not `owned`.
            outputs = self._request.infer(given, share_inputs=True, share_outputs=True)
        except Exception as error:
            raise EngineError(f"OpenVINO failed on '{self.info.name}': {last_line(error)}") from error
        return {spec.name: outputs[index] for index, spec in enumerate(self.outputs)}

    def close(self) -> None:
        self._request = None


def device_for(available: Sequence[str], wanted: str) -> str:
    """Return OpenVINO's name of the device; it calls a single GPU `GPU`, one of several `GPU.N`."""
    if wanted == "auto":
        return next((name for name in available if name.startswith("GPU")), "CPU")
    kind, _, number = wanted.partition(":")
    names = (kind.upper(), f"{kind.upper()}.{number or 0}") if number in ("", "0") else (f"{kind.upper()}.{number}",)
    for name in names:
        if name in available and kind in ("cpu", "gpu", "npu"):
            return name
    here = ", ".join(name.lower().replace(".", ":") for name in available)
    raise ConfigError(
        f"device '{wanted}' is not one that OpenVINO finds here (it finds {here}); set device: cpu or auto"
    )


def _properties(device: str, hint: str, threads: int) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    if device == "CPU":
        # Pinned threads of several engines would wait for one another on the same cores.
        properties["ENABLE_CPU_PINNING"] = False
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
    return properties


def precision_for(stored: str, wanted: str, capabilities: Sequence[str], where: str) -> tuple[str, str]:
    """Return (the precision to tell, OpenVINO's hint of what to compute in).

    Raises:
        ConfigError: the device does not compute in what is asked for.
    """
    hints = {precision: hint for hint, precision in _PRECISIONS.items() if precision.upper() in capabilities}
    if stored != "fp32":  # the rest of an int8 model is in fp32
        return stored, hints.get(stored) or hints.get("fp32") or hints["fp16"]
    if wanted in ("auto", "int8"):  # int8 is a matter of the file: the caller sees that it is not
        wanted = "fp32" if "fp32" in hints else "fp16"  # an NPU has no fp32
    if wanted not in hints:
        raise ConfigError(
            f"{where} cannot be computed in {wanted}, only in {', '.join(hints)}; set precision to one of these, or "
            f"give it weights in {wanted}: perf-inference build MODEL --runtime openvino --precision {wanted}"
        )
    return wanted, hints[wanted]


def stored_precision(model: Any, metadata: Mapping[str, str]) -> str:
    """Return what the model says of itself, else what most of its weights are stored in; int8 if it was quantised."""
    if metadata.get("precision") in PRECISIONS:
        return metadata["precision"]
    # FakeQuantize is what QuantizeLinear and DequantizeLinear become.
    if any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops()):
        return "int8"
    sizes = weights_of(model)
    return sizes.most_common(1)[0][0] if sizes else "fp32"


def weights_of(model: Any) -> Counter[str]:
    """Return how many elements of its constants are stored in which precision; those of shapes and indices are none."""
    sizes: Counter[str] = Counter()
    for operation in model.get_ops():
        if operation.get_type_name() == "Constant":
            stored = operation.get_output_element_type(0).get_type_name()
            sizes[_STORED.get(stored, "")] += math.prod(operation.get_output_shape(0))
    del sizes[""]
    return sizes


def _spec(port: Any) -> ArraySpec:
    name = port.node.get_friendly_name().removesuffix("/sink_port_0")  # the port's other names are in no order
    if name not in port.names:
        name = port.get_any_name()
    kind = port.get_element_type().get_type_name()
    if kind not in _DTYPES:
        raise ConfigError(f"'{name}' is of OpenVINO's type {kind}; this package passes {', '.join(_DTYPES)}")
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise ConfigError(f"'{name}' has any number of dimensions; export the model with as many as it has")
    return ArraySpec(name, tuple(n.get_length() if n.is_static else None for n in shape), np.dtype(_DTYPES[kind]))


def last_line(error: BaseException) -> str:
    """Return what failed: OpenVINO's messages begin with where in its source they were thrown."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
