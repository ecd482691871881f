"""Errors after which a process can use CUDA no more; each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from perf_inference.bench.gpu_check.found import gpu, torch_gpu
from perf_inference.bench.gpu_check.section import Outcome, Skip
from perf_inference.engines import ArraySpec, Options, load
from perf_inference.engines.tensorrt.cuda_memory import CudaArray
from perf_inference.errors import ConfigError, PerfInferenceError


def an_assertion_in_a_kernel() -> Outcome:
    """A network that indexes past its table: what its engine, another one and a new one say from then on."""
    torch = torch_gpu()
    from perf_inference.engines.pytorch.engine import Network, TorchEngine

    table = torch.arange(8.0, device="cuda:0")
    network = Network(
        name="table", runtime="torch", precision="fp32", device="cuda:0", module=lambda rows: table[rows],
        inputs=(ArraySpec("rows", (4,), np.dtype(np.int64)),),
    )  # fmt: skip
    engine, other = TorchEngine(network, Options(cuda_graph=False)), load("detector", "torch", Options(device="cuda:0"))
    image = {spec.name: np.zeros([n or 1 for n in spec.shape], spec.dtype) for spec in other.inputs}
    good, bad = np.arange(4), np.array([0, 1, 2, 1 << 40])
    first = engine.infer({"rows": good})
    right = [float(value) for array in first.values() for value in array] == [0.0, 1.0, 2.0, 3.0]
    said = {
        "the call": _said(lambda: engine.infer({"rows": bad})),
        "the next call": _said(lambda: engine.infer({"rows": good})),
        "another engine": _said(lambda: other.infer(image)),
        "a new engine": _said(lambda: load("policy", "torch", Options(device="cuda:0"))),
        "with device auto": _said(lambda: load("policy", "torch", Options())),
        "close": _said(engine.close),
        "close of the other": _said(other.close),
    }
    told = [said[when] for when in said if not when.startswith("close")]
    ours = all(text.startswith("BrokenDeviceError") and "restart" in text for text in told)
    return Outcome(_told(said), right and ours and said["close"] == "no error", said)


def an_illegal_address() -> Outcome:
    """A kernel that writes where nothing is: what the CUDA runtime's waiting, copies and memory say from then on."""
    device = gpu()
    stream = device.stream()
    array = CudaArray(device, (16,), np.dtype(np.float32))
    _write_nowhere()

    def copy() -> None:
        array.to_device(stream)
        stream.synchronize()

    said = {
        "waiting for the device": _said(device.synchronize),
        "a copy": _said(copy),
        "new memory": _said(lambda: CudaArray(device, (16,), np.dtype(np.float32))),
        "an event": _said(lambda: stream.event()),
    }
    ours = all(text.startswith("BrokenDeviceError") and "restart" in text for text in said.values())
    said["asked afterwards, the driver says"] = str(device.runtime.driver.broken(0))
    return Outcome(_told(said), ours and "restart" in said["asked afterwards, the driver says"], said)


def onnx_runtime_after_an_error_of_another() -> Outcome:
    """After an illegal address in another library, what ONNX Runtime's engine and a new one say; closing is quiet."""
    try:
        engine = load("detector", "onnx", Options(device="cuda:0"))
    except ConfigError as error:
        raise Skip(str(error)) from None
    inputs = {spec.name: np.zeros([n or 1 for n in spec.shape], spec.dtype) for spec in engine.inputs}
    engine.infer(inputs)
    _write_nowhere()
    said = {
        "the engine": _said(lambda: engine.infer(inputs)),
        "again": _said(lambda: engine.infer(inputs)),
        "a new one with device auto": _said(lambda: load("policy", "onnx", Options())),
    }
    ours = all(text.startswith("BrokenDeviceError") and "restart" in text for text in said.values())
    said["close"] = _said(engine.close)
    return Outcome(_told(said), ours and said["close"] == "no error", said)


def a_trial_goes_on_in_its_own_process() -> Outcome:
    """After an illegal address here a trial, which has a process of its own, still runs on the GPU."""
    torch_gpu()
    _write_nowhere()
    here = _said(gpu().synchronize)
    from perf_inference.model_build.trial.trial import try_out

    began_s = time.monotonic()
    found = try_out("detector", "torch", Options(device="cuda:0"), runs=3, timeout_s=50.0)
    said = f"here: {here}; the trial ran on {found.info.device} in {time.monotonic() - began_s:.1f} s"
    return Outcome(said, found.info.device == "cuda:0")


def _write_nowhere() -> None:
    """Write to an address that nothing lies at, by a kernel of CuPy."""
    try:
        import cupy
    except ImportError as error:
        raise Skip(f"no CuPy, which compiles the kernel: {error}") from None
    kernel: Any = cupy.RawKernel('extern "C" __global__ void w(long long at) { *(volatile int *)at = 1; }', "w")
    kernel((1,), (1,), (np.int64(8),))


def _said(call: Callable[[], object]) -> str:
    try:
        call()
    except PerfInferenceError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"not ours, {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return "no error"


def _told(said: dict[str, str]) -> str:
    return "; ".join(f"{when}: '{text}'" for when, text in said.items())


CHECKS = (
    an_assertion_in_a_kernel,
    an_illegal_address,
    onnx_runtime_after_an_error_of_another,
    a_trial_goes_on_in_its_own_process,
)
