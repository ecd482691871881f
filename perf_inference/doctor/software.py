"""Installed packages that must fit each other; each is tried in a process of its own, which may crash."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from perf_inference.doctor.finding import Finding
from perf_inference.doctor.trial import try_code

_CV_BRIDGE = """
import json, numpy
print(json.dumps({"numpy": numpy.__version__}), flush=True)
from cv_bridge import CvBridge
bridge = CvBridge()
message = bridge.cv2_to_imgmsg(numpy.zeros((2, 2, 3), numpy.uint8), "bgr8")
bridge.imgmsg_to_cv2(message, "rgb8")  # the half in C++
print(json.dumps({"works": True}), flush=True)
"""
_TORCH = """
import json, torch
cuda = torch.version.cuda
print(json.dumps({"torch": torch.__version__, "cuda": cuda}), flush=True)
seen = {"available": torch.cuda.is_available()}
if seen["available"]:
    major, minor = torch.cuda.get_device_capability(0)
    seen.update(device=torch.cuda.get_device_name(0), sm=f"sm_{major}{minor}", arches=torch.cuda.get_arch_list())
    seen["sum"] = float(torch.ones(8, device="cuda").sum())
print(json.dumps({**seen, "works": True}), flush=True)
"""


def cv_bridge() -> Finding:
    """Convert an image with cv_bridge; built against another NumPy it fails, or takes the process with it."""
    if importlib.util.find_spec("cv_bridge") is None:
        return Finding("cv_bridge", "skipped", "not installed, and not needed by this package")
    said, failure = try_code(_CV_BRIDGE)
    value = f"cv_bridge with NumPy {said.get('numpy', '?')}"
    if said.get("works"):
        return Finding("cv_bridge", "ok", f"{value} converts an image")
    why = "cv_bridge built against NumPy 1 does not run under NumPy 2, nor the reverse: nodes that use it end at once"
    fix = "$ pip install 'numpy<2'\nor let the environment see the system's NumPy only: pip uninstall numpy"
    return Finding("cv_bridge", "error", f"{value} fails: {failure}", why, fix)


def torch(driver_cuda: str | None, gpus: int) -> Finding:
    """Compute on the GPU with PyTorch.

    Args:
        driver_cuda: the newest CUDA that the driver runs ("12.4"); None: not known.
        gpus: how many there are.
    """
    if importlib.util.find_spec("torch") is None:
        return Finding("torch", "skipped", "PyTorch is not installed")
    said, failure = try_code(_TORCH)
    return judge_torch(said, failure, driver_cuda, gpus)


def judge_torch(said: dict[str, Any], failure: str, driver_cuda: str | None, gpus: int) -> Finding:
    """Judge what the trial printed."""
    cuda = said.get("cuda")
    value = f"PyTorch {said.get('torch', '?')}, built for " + (f"CUDA {cuda}" if cuda else "the CPU only")
    if driver_cuda:
        value += f"; the driver runs CUDA up to {driver_cuda}"
    install = "a PyTorch that fits the driver: https://pytorch.org/get-started (on a Jetson: NVIDIA's own wheels)"
    if "torch" not in said:
        return Finding("torch", "error", f"PyTorch cannot be imported: {failure}", "no model of it can run", install)
    if not gpus:
        return Finding("torch", "ok", f"{value}; no GPU here")
    if not cuda:
        why = "models run on the processor although there is a GPU"
        return Finding("torch", "warning", value, why, install)
    if said.get("works") and said.get("available"):
        return Finding("torch", "ok", f"{value}; computes on {said.get('device')}")
    if driver_cuda and _version(cuda)[:1] > _version(driver_cuda)[:1]:
        why = "a driver runs no CUDA of a newer major version than its own"
        return Finding("torch", "error", value, why, f"a newer driver, or {install}")
    if said.get("sm") and said["sm"] not in said.get("arches", ()):
        value += f"; no code for {said['sm']} (it has {', '.join(said.get('arches', ()))})"
    why = "PyTorch sees no GPU that it can use: models run on the processor, or fail"
    return Finding("torch", "error", f"{value}; {failure or 'no GPU available to it'}", why, install)


def driver_cuda() -> tuple[str | None, int]:
    """Return the newest CUDA that the driver runs, and the number of GPUs."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no module, no driver
        return None, 0
    try:
        version = nvml.nvmlSystemGetCudaDriverVersion_v2()
        return f"{version // 1000}.{version % 1000 // 10}", nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return None, 0
    finally:
        nvml.nvmlShutdown()


def rclpy_loads() -> bool:
    """Return whether rclpy can be imported: with an RMW that is not there, rcl ends the process."""
    if not os.environ.get("RMW_IMPLEMENTATION"):
        return True
    said, _ = try_code("import json, rclpy; print(json.dumps({'works': True}))")
    return bool(said.get("works"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
