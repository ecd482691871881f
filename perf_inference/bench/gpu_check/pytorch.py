"""The same through PyTorch, which shares the CUDA runtime with the package in one process."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from perf_inference import PerformanceMonitor
from perf_inference.bench.gpu_check.found import gpu, ms, torch_gpu
from perf_inference.bench.gpu_check.section import Outcome, Table
from perf_inference.bench.gpu_check.waiting import judge
from perf_inference.devices.device import open_device
from perf_inference.devices.torch_device import TorchDevice
from perf_inference.errors import EngineError


def installed() -> Outcome:
    """Which PyTorch, for which CUDA and GPUs."""
    torch = torch_gpu()
    major, minor = torch.cuda.get_device_capability(0)
    arches = torch.cuda.get_arch_list()
    said = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
    said += f"{torch.cuda.get_device_name(0)} sm_{major}{minor}, code for {' '.join(arches)}"
    return Outcome(said, f"sm_{major}{minor}" in arches)


def selftest() -> Outcome:
    """What a clock misses that is read before the device has finished, through PyTorch."""
    torch_gpu()
    device = open_device("cuda:0")
    outcome = judge(device)
    return outcome if isinstance(device, TorchDevice) else Outcome(f"not PyTorch: {device.via}; {outcome.said}", False)


def one_address() -> Outcome:
    """PyTorch, the CUDA runtime and NVML mean the same GPU by its address on the bus."""
    torch_gpu()
    from perf_inference.devices.gpu import _nvml

    ours, theirs = gpu(), TorchDevice(0)
    load_pct, degc = _nvml(theirs.pci_bus_id)
    said = f"PyTorch {theirs.pci_bus_id}, CUDA {ours.pci_bus_id}; NVML by PyTorch's: {load_pct} %, {degc} degC; "
    said += f"in use: PyTorch {theirs.memory_used_bytes() / 1e6:.0f}, CUDA {ours.memory_used_bytes() / 1e6:.0f} MB"
    same = (theirs.pci_bus_id or "").split(":", 1)[-1].lower() == (ours.pci_bus_id or "").split(":", 1)[-1].lower()
    return Outcome(said, same and degc is not None)


def shared_libraries() -> Outcome:
    """List the CUDA runtimes that this process has loaded: one, or an error of the one is not the other's."""
    torch_gpu()
    gpu()
    with open("/proc/self/maps", encoding="utf-8") as file:
        paths = sorted({line.split(maxsplit=5)[5].strip() for line in file if "/libcudart" in line})
    return Outcome(f"{len(paths)}: {', '.join(paths)}; ours is {gpu().runtime.path}", len(paths) == 1)


def a_failed_call_leaves_no_error_for_pytorch() -> Outcome:
    """Fail a call of the CUDA runtime; PyTorch's next operation must not find its error."""
    torch, device = torch_gpu(), gpu()
    torch.ones(3, device="cuda:0").sum().item()
    try:
        device.pointer("cudaMalloc", 1 << 50)
    except EngineError as error:
        ours = str(error)
    else:
        return Outcome("the call did not fail", False)
    try:
        total = torch.ones(3, device="cuda:0").sum().item()
    except RuntimeError as error:
        return Outcome(f"after '{ours}' PyTorch's next operation raised: {str(error).splitlines()[0]}", False)
    return Outcome(f"after '{ours}' PyTorch went on (the sum of three ones is {total})", total == 3.0)


def events_against_wall() -> Outcome:
    """Time products of matrices by events and by the clock of the host."""
    torch = torch_gpu()
    device = TorchDevice(0)
    stream = device.stream()
    a = torch.randn(4096, 4096, device="cuda:0")
    b = torch.empty_like(a)
    begin, end = stream.event(), stream.event()
    rows, ok = [], True
    with torch.cuda.stream(torch.cuda.ExternalStream(stream.handle, device=0)):
        torch.mm(a, a, out=b)
        stream.synchronize()
        for times in (1, 10, 50):
            began_ns = time.perf_counter_ns()
            begin.record()
            for _ in range(times):
                torch.mm(a, a, out=b)
            end.record()
            end.wait()
            wall_ns, event_ns = time.perf_counter_ns() - began_ns, end.since_ns(begin)
            rows.append((str(times), ms(wall_ns), ms(event_ns), f"{times * 2 * 4096**3 / event_ns / 1e3:.1f} TFLOP/s"))
            ok = ok and event_ns <= wall_ns and wall_ns - event_ns < 0.05 * wall_ns + 300_000
    return Outcome(f"50 products of 4096x4096 in fp32: {rows[-1][1]} by the host, {rows[-1][2]} by events", ok,
                   table=Table(("products", "host's clock", "events", ""), rows))  # fmt: skip


def performance_monitor() -> Outcome:
    """Measure a block on the GPU: its time is the device's, and the GPU's figures are there."""
    torch = torch_gpu()
    monitor = PerformanceMonitor(device="cuda:0")
    a = torch.randn(8192, 8192, device="cuda:0")
    torch.mm(a, a)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with monitor.measure() as metrics:
        begin.record()
        for _ in range(10):
            torch.mm(a, a)
        end.record()
    events_s, measured_s = begin.elapsed_time(end) / 1000, metrics["inference_time"]
    figures = {key: value for key, value in metrics.items() if key.startswith("gpu_")}
    near = events_s <= measured_s < 1.05 * events_s + 0.002
    return Outcome(f"block {measured_s * 1e3:.2f} ms, events {events_s * 1e3:.2f} ms; {figures}",
                   near and all(value is not None for value in figures.values()), figures)  # fmt: skip


def what_fp32_is() -> Outcome:
    """How far a convolution and a product in fp32 are from float64, with TF32 as PyTorch has it, off and on."""
    torch = torch_gpu()
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.standard_normal((1, 64, 64, 64)))
    weight = torch.from_numpy(rng.standard_normal((64, 64, 3, 3)))
    a, b = (torch.from_numpy(rng.standard_normal((512, 512))) for _ in range(2))
    exact = torch.nn.functional.conv2d(image, weight, padding=1), a @ b
    was = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    rows, off = [], {}
    for name, flags in (("as PyTorch starts", was), ("TF32 off", (False, False)), ("TF32 on", (True, True))):
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
        got = (torch.nn.functional.conv2d(image.float().cuda(), weight.float().cuda(), padding=1),
               a.float().cuda() @ b.float().cuda())  # fmt: skip
        errors = [_off(have.double().cpu(), wanted) for have, wanted in zip(got, exact, strict=True)]
        off[name] = errors
        rows.append((name, str(flags), *(f"{error:.1e}" for error in errors)))
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = was
    said = f"cudnn.allow_tf32 is {was[0]}, matmul.allow_tf32 {was[1]} by default; a convolution is off by "
    said += f"{off['as PyTorch starts'][0]:.1e} so, {off['TF32 off'][0]:.1e} with TF32 off"
    return Outcome(said, off["TF32 off"][0] < 1e-5, {"off": off},
                   Table(("", "(cudnn, matmul)", "convolution", "product"), rows))  # fmt: skip


def _off(have: Any, wanted: Any) -> float:
    return float((have - wanted).abs().max() / wanted.abs().max())


CHECKS = (
    installed,
    selftest,
    one_address,
    shared_libraries,
    a_failed_call_leaves_no_error_for_pytorch,
    events_against_wall,
    performance_monitor,
    what_fp32_is,
)
