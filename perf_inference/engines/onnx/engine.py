"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from perf_inference.devices import broken
from perf_inference.engines.engine import (
    NO_PARTS,
    PRECISIONS,
    ArraySpec,
    EngineInfo,
    Options,
    check_inputs,
)
from perf_inference.engines.onnx.binding import Binding
from perf_inference.engines.onnx.file import OnnxFile, read_onnx_file
from perf_inference.engines.onnx.providers import CPU, CUDA, TENSORRT, first_line, open_session
from perf_inference.errors import ConfigError, EngineError, NoRoomError

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def open_engine(model: str, options: Options) -> OnnxEngine:
    """Return an engine for an .onnx file.

    Raises:
        ConfigError: the file is no ONNX model that this runtime takes, or the device or a provider is not here.
    """
    return OnnxEngine(Path(model), options)


class OnnxEngine:
    """A session of ONNX Runtime.

    `info.runtime` names the execution provider too where it is not the CPU's: `onnx/tensorrt`, `onnx/cuda`,
    `onnx/openvino`. What that provider cannot do of a model, ONNX Runtime gives to the next.
    """

    def __init__(self, path: Path, options: Options) -> None:
        """Load the model.

        Raises:
            ConfigError: as `open_engine`.
        """
        self.parts_ns: Mapping[str, int] = NO_PARTS
        file = read_onnx_file(path)
        self.parameters = sum(file.weights.values()) or None  # that it has learned, and its constants
        self._session, provider = open_session(file, session_options(options), options)
        try:
            self.inputs = tuple(_spec(value, owned=False) for value in self._session.get_inputs())
            self.outputs = tuple(_spec(value, owned=True) for value in self._session.get_outputs())
            metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ConfigError(f"'{path}' has names or metadata that are no text: {error}; export it again") from error
        self._input_names = [spec.name for spec in self.inputs]
        self._names = [spec.name for spec in self.outputs]
        self.info = EngineInfo(
            name=path.stem,
            runtime="onnx" if provider.name == CPU else f"onnx/{provider.short_name}",
            precision=_precision(metadata, file, self.inputs + self.outputs),
            device=provider.device,
            metadata=metadata,
        )
        self._gpu = broken.index_of(provider.device) if provider.name in (TENSORRT, CUDA) else None
        self._binding = None if self._gpu is None else self._bind(self._gpu)

    def _bind(self, index: int) -> Binding:
        try:
            return Binding(self._session, self.inputs, self.outputs, "cuda", index)
        except Exception as error:
            raise NoRoomError(f"'{self.info.name}' has no room on cuda:{index}: {first_line(error)}") from error

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        if self._session is None:
            raise EngineError(f"'{self.info.name}' was closed; load it again")
        check_inputs(self.inputs, inputs)
        if self._gpu is not None:
            broken.check(self._gpu)
        try:
            if self._binding is not None:
                outputs, self.parts_ns = self._binding.run(inputs)
            else:  # returns host arrays, hence after the device
                outputs = self._session.run(self._names, {name: inputs[name] for name in self._input_names})
        except Exception as error:
            said = f"ONNX Runtime failed on '{self.info.name}': {first_line(error)}"
            held = (self._session, self._binding)
            raise (EngineError(said) if self._gpu is None else broken.failure(self._gpu, said, *held)) from error
        return dict(zip(self._names, outputs, strict=True))

    def close(self) -> None:
        if self._gpu is not None and self._session is not None:
            broken.keep_if_broken(self._gpu, self._session, self._binding)
        self._session = self._binding = None


def session_options(options: Options) -> Any:
    """Return the options of a session that shares its machine with others."""
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = options.threads
    made.log_severity_level = 4  # its errors are raised too; its log would print the names in the model as they are
    # A spinning pool takes the cores from the other engines and the camera between two inferences.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def _spec(value: Any, owned: bool) -> ArraySpec:
    if value.type not in _DTYPES:
        raise ConfigError(
            f"'{value.name}' is a {value.type}, but an array may be {', '.join(_DTYPES)}; export the model with one of "
            "these for its inputs and outputs (the weights may be of another type)"
        )
    shape = tuple(n if isinstance(n, int) and n > 0 else None for n in value.shape)
    return ArraySpec(value.name, shape, np.dtype(_DTYPES[value.type]), owned)


def _precision(metadata: Mapping[str, str], file: OnnxFile, specs: tuple[ArraySpec, ...]) -> str:
    """Return what the metadata say and the weights can be, else the type of most weights, else of the arrays."""
    said = metadata.get("precision", "")
    if said in PRECISIONS:
        return file.labelled(said)
    return file.precision or ("fp16" if any(spec.dtype == np.float16 for spec in specs) else "fp32")
