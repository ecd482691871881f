"""The runtimes: which files each takes, what installs it, and which one a file is for."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from perf_inference.errors import ConfigError


@dataclass(frozen=True)
class Runtime:
    """What runs models of some formats."""

    name: str
    module: str  # has `open_engine(model, options)`
    suffixes: tuple[str, ...]  # of the files that it takes as they are
    library: str  # what it imports; `a or b`: one of them
    install: str  # the command that brings it, or what does

    @property
    def installed(self) -> bool:
        """Whether its library can be imported here (it is not)."""
        try:
            return any(find_spec(name) is not None for name in self.library.split(" or "))
        except ModuleNotFoundError:  # of a parent package
            return False


_ENGINES = "perf_inference.engines"


def _extra(name: str) -> str:
    return f"pip install 'perf_inference[{name}]'"


_TORCH = _extra("torch")
RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("onnx", f"{_ENGINES}.onnx.engine", (".onnx",), "onnxruntime", _extra("cpu") + " (or [cuda])"),
        Runtime("torch", f"{_ENGINES}.pytorch.torch", (".safetensors", ".pt", ".pth"), "torch", _TORCH),
        Runtime("torchscript", f"{_ENGINES}.pytorch.torchscript", (".torchscript", ".ts"), "torch", _TORCH),
        Runtime("torch_export", f"{_ENGINES}.pytorch.torch_export", (".pt2",), "torch", _TORCH),
        Runtime(
            "tensorrt",
            f"{_ENGINES}.tensorrt.engine",
            (".engine", ".plan", ".trt"),
            "tensorrt or tensorrt_lean",
            "pip install tensorrt; on a Jetson take JetPack's, by a venv made with --system-site-packages",
        ),
        Runtime(
            "openvino",
            f"{_ENGINES}.openvino.engine",
            (".xml", ".onnx"),
            "openvino",
            "pip install 'perf_inference[openvino]'",
        ),
        Runtime("remote", f"{_ENGINES}.remote.engine", (), "tritonclient", _extra("remote")),
    )
}
AUTO = "auto"
SCHEMES = ("grpc://", "grpcs://", "http://", "https://")  # of a remote model: grpc://host:8081/MODEL


def is_remote(model: str) -> bool:
    """Return whether the model is one that a server runs."""
    return model.startswith(SCHEMES)


def runtime_of(model: str | Path, wanted: str = AUTO) -> Runtime:
    """Return the runtime of this name, or with `auto` that which the model's file is for.

    Raises:
        ConfigError: no such runtime, or a file that none is for.
    """
    if wanted != AUTO:
        if wanted not in RUNTIMES:
            raise ConfigError(f"runtime must be one of {', '.join((AUTO, *RUNTIMES))}, got '{wanted}'")
        return RUNTIMES[wanted]
    if is_remote(str(model)):
        return RUNTIMES["remote"]
    path = Path(model)
    if path.suffix in (".pt", ".pth") and _is_torchscript(path):
        return RUNTIMES["torchscript"]
    for runtime in RUNTIMES.values():
        if path.suffix in runtime.suffixes:
            return runtime
    known = ", ".join(suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes)
    raise ConfigError(
        f"'{path}' must end in one of {known}, got '{path.suffix or 'no suffix'}'; rename it, or set runtime"
    )


def _is_torchscript(path: Path) -> bool:
    """Return whether a .pt file was written by torch.jit.save: an archive that has code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except Exception:  # of every kind, from a damaged one; the runtime will say what is wrong with it
        return False
