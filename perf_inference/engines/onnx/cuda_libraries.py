"""The libraries that ONNX Runtime's CUDA and TensorRT providers need: found in pip's packages, named where missing."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
from functools import cache
from pathlib import Path

import onnxruntime

from perf_inference.devices.jetson import is_jetson

_log = logging.getLogger(__name__)


def install() -> str:
    """Return what brings an ONNX Runtime for GPUs; beside `onnxruntime` it would lose its providers to that."""
    build = "onnxruntime-gpu of JetPack's builds (pypi.jetson-ai-lab.io)" if is_jetson() else "onnxruntime-gpu"
    return f"install {build} in place of onnxruntime"


@cache
def preload() -> None:
    """Load CUDA and cuDNN from pip's packages (nvidia-*), where the system's loader does not look; once a process."""
    load = getattr(onnxruntime, "preload_dlls", None)  # ONNX Runtime 1.21 and later
    if load is None:
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):  # it prints what it does not find, which may well be found elsewhere
            load()
    except (OSError, RuntimeError) as error:
        _log.debug("%s", error)
    _log.debug("%s", said.getvalue().strip())


def missing(provider: str) -> str:
    """Return what the loader says of a library that the provider (`cuda`, `tensorrt`) lacks; nothing if it has all."""
    path = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{provider}.so"
    if not path.is_file():
        return ""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        said = str(error)
        return said if "cannot open shared object file" in said else ""  # else it lacks ONNX Runtime's own half alone
    return ""
