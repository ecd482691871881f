"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.errors import ConfigError, EngineError

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def open_engine(model: str, options: Options) -> OnnxEngine:
    """Return an engine for an .onnx file.

    Raises:
        ConfigError: the file is no ONNX model that this runtime takes, or the device is not here.
    """
    return OnnxEngine(Path(model), options.device, options.threads)


class OnnxEngine:
    """A session of ONNX Runtime; `device` is `auto`, `cpu` or `cuda:N`."""

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        """Load the model.

        Args:
            threads: threads of one inference; 0 = one per core.

        Raises:
            ConfigError: the file is no ONNX model that this runtime takes, or the device is not here.
        """
        self.parts_ns = NO_PARTS
        providers = _providers(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # A spinning pool takes the cores from the other engines and the camera between two inferences.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:
            raise ConfigError(f"'{path}' is no ONNX model that ONNX Runtime takes: {_first_line(error)}") from error
        meta = self._session.get_modelmeta()
        self.inputs = tuple(_spec(value, owned=False) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value, owned=True) for value in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        self.info = EngineInfo(
            name=path.stem,
            runtime="onnx",
            precision=_precision(self.inputs + self.outputs),
            device=(device if device.startswith("cuda") else "cuda:0") if on_gpu else "cpu",
            metadata=dict(meta.custom_metadata_map),
        )

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        try:
            outputs = self._session.run(self._names, dict(inputs))  # returns host arrays, hence after the device
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on '{self.info.name}': {_first_line(error)}") from error
        return dict(zip(self._names, outputs, strict=True))

    def close(self) -> None:
        self._session = None


def _providers(device: str) -> list[Any]:
    available = onnxruntime.get_available_providers()
    cuda = "CUDAExecutionProvider" in available
    if device == "cpu" or (device == "auto" and not cuda):
        return ["CPUExecutionProvider"]
    if not cuda:
        raise ConfigError(
            f"device '{device}' needs ONNX Runtime with CUDA, but this one has only {', '.join(available)}; "
            "install onnxruntime-gpu or set device: cpu"
        )
    index = device.partition(":")[2] or "0"
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _spec(value: Any, owned: bool) -> ArraySpec:
    if value.type not in _DTYPES:
        raise ConfigError(f"'{value.name}' is a {value.type}; this package passes {', '.join(_DTYPES)}")
    shape = tuple(n if isinstance(n, int) and n > 0 else None for n in value.shape)
    return ArraySpec(value.name, shape, np.dtype(_DTYPES[value.type]), owned)


def _precision(specs: tuple[ArraySpec, ...]) -> str:
    """Return fp16 where the model exchanges half floats; the weights' own precision is not told by a session."""
    return "fp16" if any(spec.dtype == np.float16 for spec in specs) else "fp32"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
