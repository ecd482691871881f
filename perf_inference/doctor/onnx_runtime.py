"""ONNX Runtime's packages: each fills the same folder, so that of two the one that was installed last is what runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from perf_inference import missing
from perf_inference.devices.jetson import is_jetson
from perf_inference.doctor.finding import Finding
from perf_inference.doctor.trial import try_code

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm",
             "onnxruntime-training")  # fmt: skip
_CUDA = "CUDAExecutionProvider"
_TRIAL = """
import contextlib, ctypes, io, json, os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
print(json.dumps({"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}), flush=True)
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
    onnxruntime.preload_dlls()
path = os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "libonnxruntime_providers_cuda.so")
missing = ""
if os.path.isfile(path):
    try:
        ctypes.CDLL(path)
    except OSError as error:
        missing = str(error) if "cannot open shared object file" in str(error) else ""
print(json.dumps({"missing": missing, "works": True}), flush=True)
"""


def onnx_runtime(gpus: int) -> Finding:
    """Look which packages are installed and, in a process of its own, what is left of them.

    Args:
        gpus: how many NVML shows; a Jetson has one besides.
    """
    installed = {name: found for name in _PACKAGES if (found := _version(name))}
    said, failure = try_code(_TRIAL)
    return judge(installed, said, failure, has_gpu=bool(gpus) or is_jetson(), jetson=is_jetson())


def judge(installed: Mapping[str, str], said: Mapping[str, Any], failure: str, has_gpu: bool, jetson: bool) -> Finding:
    """Judge what is installed, and what the trial printed."""
    names = " and ".join(f"{name} {found}" for name, found in installed.items())
    gpu_package = "onnxruntime-gpu" if has_gpu else "onnxruntime"
    index = " --index-url https://pypi.jetson-ai-lab.io/jp6/cu126" if jetson and has_gpu else ""
    install = "$ " + missing.install_line(gpu_package).replace("pip install", f"pip install{index}")
    again = f"$ pip uninstall -y {' '.join(installed)}\n{install}"
    if "version" not in said:
        why = "no ONNX model can run, the embedded ones neither"
        value = f"{names or 'ONNX Runtime'} cannot be imported: {failure}"
        return Finding("onnxruntime", "error", value, why, again if installed else install)
    providers = said.get("providers", ())
    here = f"providers: {', '.join(name.removesuffix('ExecutionProvider') for name in providers)}"
    if len(installed) > 1:
        why = "they fill one folder: what was installed last runs, and may be without the GPU; pip removes both at once"
        level = "error" if has_gpu and _CUDA not in providers else "warning"
        return Finding("onnxruntime", level, f"{names}, both installed; {here}", why, again)  # type: ignore[arg-type]
    value = f"{names or 'ONNX Runtime ' + said['version']}; {here}"
    if has_gpu and _CUDA not in providers:
        why = "ONNX models run on the processor although there is a GPU"
        return Finding("onnxruntime", "warning", value, why, again)
    if has_gpu and said.get("missing"):
        why = f"the CUDA provider does not load, and ONNX models run on the processor: {said['missing']}"
        fix = f"the CUDA and cuDNN that it was built for:\n$ {missing.install_line('onnxruntime-gpu[cuda,cudnn]')}"
        return Finding("onnxruntime", "error", value, why, "JetPack's CUDA and cuDNN" if jetson else fix)
    return Finding("onnxruntime", "ok", value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
