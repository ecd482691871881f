"""NVIDIA's bindings of TensorRT, whichever are here: the whole of it, or those that only run engines."""

from __future__ import annotations

import importlib
from typing import Any

from perf_inference import missing
from perf_inference._version import version_of
from perf_inference.devices import broken
from perf_inference.devices.cuda_runtime import CudaDevice, NoCudaError, load_runtime
from perf_inference.devices.jetson import is_jetson
from perf_inference.engines.tensorrt.plan_file import Machine
from perf_inference.errors import ConfigError

BINDINGS = ("tensorrt", "tensorrt_lean", "tensorrt_dispatch")


def major_version() -> int:
    """Return the version that is installed; 0: none."""
    try:
        return int((version_of("tensorrt") or "").partition(".")[0])
    except ValueError:
        return 0


def running() -> Any:
    """Return the bindings to run engines with.

    Raises:
        ConfigError: none can be imported; says why.
    """
    said = []
    for name in BINDINGS:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # noqa: PERF203, its libraries may not be there
            said.append(str(error).splitlines()[0])
    raise ConfigError(f"runtime 'tensorrt' needs {' or '.join(BINDINGS)} ({'; '.join(said)}): {install_command()}")


def building() -> Any:
    """Return the bindings to build engines with.

    Raises:
        ConfigError: the whole of TensorRT cannot be imported; says why.
    """
    try:
        found = importlib.import_module("tensorrt")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(f"building for TensorRT needs all of it ({error}): {install_command()}") from error
    if not hasattr(found, "OnnxParser"):
        raise ConfigError(
            f"the tensorrt that is installed cannot build engines, it has no OnnxParser: {install_command()}"
        )
    return found


def install_command() -> str:
    """Return what brings TensorRT here: on a Jetson JetPack has it, and pip's package does not run there."""
    if is_jetson():
        return (
            "JetPack has it (sudo apt install nvidia-jetpack); a virtual environment sees it if it was made with "
            "--system-site-packages"
        )
    return missing.install_line("tensorrt")


def gpu(wanted: str, blocking: bool = False) -> CudaDevice:
    """Return the GPU; `auto` is the first. Without one, TensorRT ends the process instead of raising an error.

    Raises:
        ConfigError: no such GPU, or no driver; says why.
        BrokenDeviceError: an error has broken this process' CUDA there.
    """
    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cuda", "dla") or (number and not number.isdecimal()):
        raise ConfigError(
            f"runtime 'tensorrt' runs on a GPU: device must be auto, cuda, cuda:N or dla:N, got '{wanted}'"
        )
    number = "" if kind == "dla" else number  # a DLA is beside the one GPU of a Jetson
    try:
        runtime = load_runtime()
    except NoCudaError as error:
        raise ConfigError(
            f"runtime 'tensorrt' needs an NVIDIA GPU with its driver, and there is none: {error}; take runtime onnx or "
            "openvino with the model's .onnx file"
        ) from error
    if int(number or 0) >= runtime.devices:
        raise ConfigError(f"device '{wanted}' is not here: {runtime.path} finds {runtime.devices} device(s)")
    if broken.is_broken(int(number or 0)):
        broken.check(int(number or 0))
    return CudaDevice(runtime, int(number or 0), blocking)


def dla_core(wanted: str) -> int | None:
    """Return which deep learning accelerator a device names; None: it is a GPU."""
    kind, _, number = wanted.partition(":")
    return int(number or 0) if kind == "dla" else None


def machine(trt: Any, device: CudaDevice) -> Machine:
    """Return what plans are bound to here."""
    return Machine(trt.__version__, device.gpu_name or "", device.compute_capability, device.multiprocessors)
