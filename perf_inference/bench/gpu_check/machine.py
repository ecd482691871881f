"""The machine: what is installed, and what NVML says beside nvidia-smi."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import time
from importlib import metadata
from typing import Any

from perf_inference.bench.gpu_check.found import gpu
from perf_inference.bench.gpu_check.section import Outcome, Skip, Table
from perf_inference.telemetry.nvml import GpuSample, Nvml

_PACKAGES = {  # what is imported: the packages that may bring it
    "numpy": ("numpy",), "cv2": ("opencv-python-headless", "opencv-python"), "psutil": ("psutil",),
    "yaml": ("PyYAML",), "rich": ("rich",), "orjson": ("orjson",), "mcap": ("mcap",), "rosbags": ("rosbags",),
    "onnx": ("onnx",), "onnxruntime": ("onnxruntime-gpu", "onnxruntime"), "torch": ("torch",), "triton": ("triton",),
    "tensorrt": ("tensorrt",), "tensorrt_lean": ("tensorrt-lean",),
    "tensorrt_rtx_bindings": ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
    "pynvml": ("nvidia-ml-py",), "cupy": ("cupy-cuda13x", "cupy-cuda12x"), "safetensors": ("safetensors",),
    "openvino": ("openvino",), "rclpy": ("rclpy", "ros-rclpy"),
}  # fmt: skip
_MEMORY_TEMPERATURE = 82  # NVML_FI_DEV_MEMORY_TEMP


def packages() -> Outcome:
    """List what is here and what is not; nothing is imported."""
    here, missing = {}, []
    for module, names in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            missing.append(module)
        else:
            here[module] = " and ".join(filter(None, (_version(name) for name in names))) or "no package data"
    said = ", ".join(f"{module} {version}" for module, version in here.items())
    return Outcome(f"{said}; missing: {', '.join(missing) or 'nothing'}", values={"here": here, "missing": missing})


def versions() -> Outcome:
    """Say which driver and CUDA there are."""
    device = gpu()
    runtime, driver = (device.runtime.integer(f"cuda{which}GetVersion") for which in ("Runtime", "Driver"))
    values = {
        "runtime": device.runtime.path,
        "runtime_version": runtime,
        "driver_runs_cuda": driver,
        "driver": _driver(),
        "gpu": device.gpu_name,
        "compute_capability": device.compute_capability,
        "pci_bus_id": device.pci_bus_id,
        "graphs": device.runtime.has_graphs,
    }
    return Outcome(", ".join(f"{name} {value}" for name, value in values.items()), bool(device.gpu_name), values)


def nvml_against_nvidia_smi() -> Outcome:
    """Compare each figure of NVML with what nvidia-smi prints in the same second."""
    fields = {
        "name": ("name", 0.0), "uuid": ("uuid", 0.0), "memory_total_mb": ("memory.total", 1.0),
        "memory_used_mb": ("memory.used", 64.0), "temperature_degc": ("temperature.gpu", 2.0),
        "power_w": ("power.draw", 15.0), "power_limit_w": ("enforced.power.limit", 0.5),
        "sm_mhz": ("clocks.sm", 200.0), "sm_max_mhz": ("clocks.max.sm", 0.0), "memory_mhz": ("clocks.mem", 0.0),
        "memory_max_mhz": ("clocks.max.mem", 0.0), "utilisation_pct": ("utilization.gpu", 20.0),
    }  # fmt: skip
    printed = _smi(*(name for name, _ in fields.values()))
    sample = _sample()
    rows, unlike = [], []
    for (ours, (theirs, allowed)), text in zip(fields.items(), printed, strict=True):
        value = getattr(sample, ours)
        same = _same(value, text, allowed, mib="memory.total" in theirs or "memory.used" in theirs)
        rows.append((ours, str(value), f"{theirs} = {text}", "yes" if same else "NO"))
        if not same:
            unlike.append(f"{ours} {value} (nvidia-smi: {text})")
    said = f"not the same: {'; '.join(unlike)}" if unlike else f"all {len(rows)} figures are the same"
    return Outcome(said, not unlike, {"reasons": sample.clock_reasons}, Table(("ours", "value", "", "same"), rows))


def what_nvml_gives() -> Outcome:
    """List the functions of NVML that this GPU and driver answer."""
    nvml, handle = _handle()
    asked = {
        "nvmlDeviceGetMemoryInfo": (), "nvmlDeviceGetMemoryInfo version 2": (),
        "nvmlDeviceGetTotalEnergyConsumption": (), "nvmlDeviceGetPowerUsage": (),
        "nvmlDeviceGetTemperatureV": (nvml.NVML_TEMPERATURE_GPU,),
        "nvmlDeviceGetTemperature": (nvml.NVML_TEMPERATURE_GPU,), "nvmlDeviceGetCurrentClocksEventReasons": (),
        "nvmlDeviceGetCurrentClocksThrottleReasons": (), "nvmlDeviceGetUtilizationRates": (),
        "nvmlDeviceGetArchitecture": (), "nvmlDeviceGetMultiGpuBoard": (), "nvmlDeviceGetMigMode": (),
        "nvmlDeviceGetPersistenceMode": (), "nvmlDeviceGetComputeMode": (),
    }  # fmt: skip
    given = {}
    for name, arguments in asked.items():
        given[name] = _said(nvml, handle, name, arguments)
    return Outcome("; ".join(f"{name.removeprefix('nvmlDeviceGet')}: {value}" for name, value in given.items()),
                   values=given)  # fmt: skip


def memory_temperature() -> Outcome:
    """Read the memory's own temperature, which NVML gives as a field."""
    nvml, handle = _handle()
    try:
        value = nvml.nvmlDeviceGetFieldValues(handle, [_MEMORY_TEMPERATURE])[0]
    except nvml.NVMLError as error:
        raise Skip(f"NVML gives no field values: {error}") from None
    printed = _smi("temperature.memory")[0]
    if value.nvmlReturn:
        return Outcome(f"the field is not given (NVML {value.nvmlReturn}); nvidia-smi prints {printed}")
    degc = int(value.value.uiVal)
    near = printed.isdecimal() and abs(int(printed) - degc) <= 2
    return Outcome(f"memory {degc} degC, nvidia-smi prints {printed}", near, {"degc": degc})


def energy_counter() -> Outcome:
    """Compare the energy counter of a second with the power of that second."""
    nvml, handle = _handle()
    try:
        before_mj, began_s = nvml.nvmlDeviceGetTotalEnergyConsumption(handle), time.monotonic()
        powers_w = []
        while time.monotonic() < began_s + 1.0:
            powers_w.append(nvml.nvmlDeviceGetPowerUsage(handle) / 1000)
            time.sleep(0.02)
        after_mj, took_s = nvml.nvmlDeviceGetTotalEnergyConsumption(handle), time.monotonic() - began_s
    except nvml.NVMLError as error:
        raise Skip(f"no total-energy counter: {error}") from None
    counted_w, sampled_w = (after_mj - before_mj) / 1000 / took_s, sum(powers_w) / len(powers_w)
    near = abs(counted_w - sampled_w) < 10 + 0.2 * sampled_w
    return Outcome(f"the counter says {counted_w:.1f} W over {took_s:.2f} s, the power readings {sampled_w:.1f} W",
                   near, {"counter_w": counted_w, "readings_w": sampled_w})  # fmt: skip


def doctor() -> Outcome:
    """Let the doctor judge GPU and PyTorch."""
    from perf_inference.doctor import accelerator, software

    findings = [*accelerator.gpu(), software.torch(*software.driver_cuda())]
    said = "; ".join(f"{found.check} {found.level}: {found.value}" for found in findings)
    return Outcome(said, all(found.level != "error" for found in findings))


def plan_identity() -> Outcome:
    """Say what built models are bound to here."""
    from perf_inference.model_build.machine import identity

    gpu()
    return Outcome(f"cuda:0 is '{identity('cuda:0')}', the processor '{identity('cpu')}'")


def _version(name: str) -> str:
    try:
        return f"{metadata.version(name)} ({name})"
    except metadata.PackageNotFoundError:
        return ""


def _smi(*fields: str) -> list[str]:
    if shutil.which("nvidia-smi") is None:
        raise Skip("no nvidia-smi")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "-i", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20.0, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Skip(f"nvidia-smi: {(done.stdout + done.stderr).strip()[:200]}")
    return [word.strip() for word in done.stdout.splitlines()[0].split(",")]


def _driver() -> str:
    try:
        return _smi("driver_version")[0]
    except Skip as why:
        return str(why)


def _sample() -> GpuSample:
    nvml = Nvml()
    try:
        samples = nvml.sample()
        if not samples:
            raise Skip(f"no NVIDIA GPU by NVML: {nvml.absent}")
        return samples[0]
    finally:
        nvml.close()


def _handle() -> tuple[Any, Any]:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise Skip("nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
        return nvml, nvml.nvmlDeviceGetHandleByIndex(0)
    except nvml.NVMLError as error:
        raise Skip(f"no NVIDIA GPU by NVML: {error}") from None


def _said(nvml: Any, handle: Any, name: str, arguments: tuple[Any, ...]) -> str:
    bare, _, version = name.partition(" version ")
    if version:
        arguments = (getattr(nvml, "nvmlMemory_v2", None),)
    ask = getattr(nvml, bare, None)
    if ask is None:
        return "no such function in nvidia-ml-py"
    try:
        value = ask(handle, *arguments)
    except Exception as error:  # NVML's own, and ctypes' for a function that the driver lacks
        return f"{type(error).__name__}: {error}"
    fields = getattr(value, "_fields_", None)
    if fields is None:
        return str(value)
    return ", ".join(f"{field[0]} {getattr(value, field[0])}" for field in fields)


def _same(value: Any, printed: str, allowed: float, mib: bool) -> bool:
    if isinstance(value, str):
        return value == printed
    try:
        theirs = float(printed)
    except ValueError:  # [N/A]
        return value is None
    if value is None:
        return False
    ours = float(value) * 1e6 / (1 << 20) if mib else float(value)
    return abs(ours - theirs) <= allowed + 1e-9


CHECKS = (
    packages,
    versions,
    nvml_against_nvidia_smi,
    what_nvml_gives,
    memory_temperature,
    energy_counter,
    doctor,
    plan_identity,
)
