"""An encoder that is an ONNX file beside the decoder's checkpoint: ONNX Runtime runs it, in fp32 on the CPU.

It takes normalised RGB, float [1, 3, H, W] (ImageNet's mean and deviation), and gives as many channels as the decoder
reads: [1, C, h, w], [1, h, w, C] or [1, cells, C].
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from perf_inference import missing
from perf_inference.engines.onnx.file import read_onnx_content
from perf_inference.errors import ConfigError, in_one_line

DOMAIN, OPERATOR = "perf_inference", "Encoder"
"""Of the node that stands for the encoder while its captioner is exported."""
NAME = "encoder.onnx"
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxEncoder(nn.Module):
    """Normalised RGB [1, 3, H, W] to features [1, C, h, w]."""

    _session: Any = None

    def __init__(self, content: bytes, channels: int) -> None:
        """Take the file's content.

        Args:
            channels: that the decoder reads.

        Raises:
            ConfigError: no ONNX model that holds all its weights, no such input or output, or ONNX Runtime is absent.
        """
        super().__init__()
        self.onnx_content, self._channels = content, channels
        self.more_parameters = sum(read_onnx_content(NAME, content).weights.values())
        self._threads = 0  # of the session
        self._open(1)
        self._type, self.size = self._input()
        out = self._session.get_outputs()
        if len(out) != 1:
            raise ConfigError(f"'{NAME}' must have one output, the features, got {[one.name for one in out]}")
        px = self.size or 224
        self._arranged(self._ran(np.zeros((1, 3, px, px), np.float32)))

    def forward(self, pixels: Tensor) -> Tensor:
        if torch.jit.is_tracing() and not torch.onnx.is_in_onnx_export():
            raise ConfigError(f"a captioner with '{NAME}' is exported as ONNX only: set runtime: onnx, or torch")
        features: Tensor = _Run.apply(pixels, self)
        return self._arranged(features)

    def run(self, pixels: Tensor) -> Tensor:
        """Return what the file's graph gives, as it is arranged there."""
        if self._session is None or self._threads != torch.get_num_threads():
            self._open(torch.get_num_threads())
        array = pixels.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self._ran(array)).to(pixels)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_session": None}  # a session cannot be copied

    def _ran(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            (found,) = self._session.run(None, {self._session.get_inputs()[0].name: pixels.astype(self._type)})
        except Exception as error:  # ONNX Runtime's own
            raise ConfigError(
                f"'{NAME}' does not run on images of {list(pixels.shape)} ({in_one_line(error)})"
            ) from error
        return np.asarray(found, np.float32)

    def _arranged(self, found: Any) -> Any:
        """Return features as [1, C, h, w]; cells in a row as the square that they are."""
        shape, channels = tuple(map(int, found.shape)), self._channels
        turned = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        if len(shape) == 4 and shape[1] == channels:
            return turned
        if len(shape) == 4 and shape[3] == channels:
            return turned.permute(0, 3, 1, 2)
        side = round(shape[1] ** 0.5) if len(shape) == 3 else 0
        if len(shape) == 3 and shape[2] == channels and side * side == shape[1]:
            return turned.transpose(1, 2).reshape(1, channels, side, side)
        raise ConfigError(
            f"'{NAME}' must give features [1, {channels}, h, w], [1, h, w, {channels}] or [1, cells, {channels}], as "
            f"the decoder reads {channels} channels, got {list(shape)}"
        )

    def _input(self) -> tuple[Any, int]:
        """Return its type, and the height and width that it must have [px]; 0: any."""
        inputs = self._session.get_inputs()
        shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
        fixed = [length for length in shape[2:] if isinstance(length, int)]
        if (
            len(shape) != 4
            or inputs[0].type not in _FLOATS
            or (isinstance(shape[1], int) and shape[1] != 3)
            or (isinstance(shape[0], int) and shape[0] != 1)
            or len(set(fixed)) > 1
        ):
            had = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise ConfigError(f"'{NAME}' must take one square image, float [1, 3, H, H], got {had}")
        return _FLOATS[inputs[0].type], fixed[0] if fixed else 0

    def _open(self, threads: int) -> None:
        try:
            runtime: Any = import_module("onnxruntime")
        except ImportError as error:
            raise ConfigError(
                f"'{NAME}' is run by ONNX Runtime, which is not installed: {missing.extra('cpu')}"
            ) from error
        made = runtime.SessionOptions()
        made.intra_op_num_threads = threads
        made.log_severity_level = 4  # its errors are raised too
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(self.onnx_content, made, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own
            raise ConfigError(f"'{NAME}' is no model that ONNX Runtime takes ({in_one_line(error)})") from error
        self._threads = threads


class _Run(torch.autograd.Function):
    """Runs the encoder; in an export a node stands in its place, which the converter replaces by the file's graph."""

    @staticmethod
    def forward(context: Any, pixels: Tensor, encoder: OnnxEncoder) -> Tensor:
        return encoder.run(pixels)

    @staticmethod
    def symbolic(graph: Any, pixels: Any, encoder: OnnxEncoder) -> Any:
        return graph.op(f"{DOMAIN}::{OPERATOR}", pixels)
