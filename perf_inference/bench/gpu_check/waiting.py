"""Waiting, events, memory and graphs through the CUDA runtime alone; PyTorch is not loaded here."""

from __future__ import annotations

import time

import numpy as np

from perf_inference.bench.gpu_check.found import gpu, ms, spread, times_ns
from perf_inference.bench.gpu_check.section import Outcome, Skip, Table
from perf_inference.devices.cuda_runtime import CudaDevice, CudaStream
from perf_inference.devices.device import Device, DeviceSplit
from perf_inference.engines.tensorrt.cuda_memory import CudaArray, CudaGraph
from perf_inference.errors import EngineError
from perf_inference.measure.selftest import self_test
from perf_inference.telemetry.nvml import Nvml

_MB = 1 << 20
_FILL_BYTES = 64 * _MB


class Work:
    """Fills of memory given to a stream: the device's own time grows with their number.

    A stream takes some 1000 of them before the host has to wait.
    """

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._buffer = device.pointer("cudaMalloc", _FILL_BYTES)

    def give(self, stream: CudaStream, times: int) -> None:
        with self._device.selected():
            for _ in range(times):
                self._device.runtime.call("cudaMemsetAsync", self._buffer, 0, _FILL_BYTES, stream.handle)

    def close(self) -> None:
        self._device.call("cudaFree", self._buffer)


def selftest() -> Outcome:
    """What a clock misses that is read before the device has finished."""
    return judge(gpu())


def judge(device: Device) -> Outcome:
    """Return the self-test of this device, judged."""
    self_test(device)  # the first one loads what the device needs
    tests = [self_test(device) for _ in range(3)]
    test = min(tests, key=lambda test: abs(test.on_device_ns - test.synchronised_ns))  # the least disturbed one
    near = abs(test.on_device_ns - test.synchronised_ns) < 0.1 * test.synchronised_ns + 200_000
    values = {"unsynchronised_ns": test.unsynchronised_ns, "synchronised_ns": test.synchronised_ns,
              "on_device_ns": test.on_device_ns}  # fmt: skip
    return Outcome(str(test), near and 0 <= test.gap_ns <= test.synchronised_ns, values)


def events_against_wall() -> Outcome:
    """Time growing amounts of work by events and by the clock of the host."""
    device = gpu()
    stream, work = device.stream(), Work(device)
    begin, end = stream.event(), stream.event()
    work.give(stream, 10)
    stream.synchronize()
    rows, ok = [], True
    for times in (10, 100, 1000):
        turns = []
        for _ in range(3):
            began_ns = time.perf_counter_ns()
            begin.record()
            work.give(stream, times)
            end.record()
            end.wait()
            turns.append((time.perf_counter_ns() - began_ns, end.since_ns(begin)))
        wall_ns, event_ns = min(turns, key=lambda turn: turn[0] - turn[1])  # the least disturbed one
        gb_s = times * _FILL_BYTES / event_ns
        rows.append((str(times), ms(wall_ns), ms(event_ns), f"{gb_s:.0f} GB/s"))
        ok = ok and event_ns <= wall_ns and wall_ns - event_ns < 0.05 * wall_ns + 300_000
    work.close()
    said = f"{rows[-1][0]} fills of 64 MiB: {rows[-1][1]} by the host, {rows[-1][2]} by events"
    return Outcome(said, ok, table=Table(("fills", "host's clock", "events", "memory written"), rows))


def two_streams() -> Outcome:
    """An engine waits for its own stream: long work of another stream is not charged to it."""
    device = gpu()
    long, short, work = device.stream(), device.stream(), Work(device)
    small = CudaArray(device, (1 << 18,), np.dtype(np.float32))
    work.give(long, 5)
    device.synchronize()
    began_ns = time.perf_counter_ns()
    work.give(long, 800)
    small.to_device(short)
    small.to_host(short)
    short.synchronize()
    own_ns = time.perf_counter_ns() - began_ns
    long.synchronize()
    other_ns = time.perf_counter_ns() - began_ns
    work.close()
    said = f"a copy of 1 MB to the device and back on its own stream was waited for in {ms(own_ns)}, while another "
    said += f"stream had work for {ms(other_ns)}"
    return Outcome(said, own_ns < 0.5 * other_ns, {"own_ns": own_ns, "other_ns": other_ns})


def memory_figures() -> Outcome:
    """Take 1 GiB, and see it in what CUDA and NVML say is in use."""
    device, nvml = gpu(), Nvml()

    def used_mb() -> tuple[float, float | None]:
        samples = nvml.sample()
        return device.memory_used_bytes() / 1e6, samples[0].memory_used_mb if samples else None

    before = used_mb()
    buffer = device.pointer("cudaMalloc", 1 << 30)
    during = used_mb()
    device.call("cudaFree", buffer)
    after = used_mb()
    nvml.close()
    grown, wanted = during[0] - before[0], (1 << 30) / 1e6
    by_nvml = None if during[1] is None or before[1] is None else during[1] - before[1]
    said = f"1 GiB ({wanted:.0f} MB): CUDA sees {grown:.0f} MB more, NVML "
    said += "nothing" if by_nvml is None else f"{by_nvml:.0f} MB more"
    said += f"; in use CUDA {before[0]:.0f}, NVML {before[1] or 0:.0f} MB before, CUDA {after[0]:.0f} MB after"
    near = abs(grown - wanted) < 40 and (by_nvml is None or abs(by_nvml - wanted) < 40)
    return Outcome(said, near, {"before": before, "during": during, "after": after})


def copies() -> Outcome:
    """Copy a camera's image to the device and back, and find what was sent."""
    device = gpu()
    stream = device.stream()
    array = CudaArray(device, (1080, 1920, 3), np.dtype(np.uint8))
    image = np.random.default_rng(0).integers(0, 256, array.host.shape).astype(np.uint8)
    split, parts = DeviceSplit(stream), []
    for _ in range(30):
        np.copyto(array.host, image)
        split.begin()
        array.to_device(stream)
        split.mark("host_to_device")
        stream.synchronize()
        array.host[...] = 0
        array.to_host(stream)
        split.mark("device_to_host")
        stream.synchronize()
        parts.append(split.durations_ns()["host_to_device"])
    same = bool(np.array_equal(array.host, image))
    usual_ns = float(np.median(parts))
    gb_s = image.nbytes / usual_ns
    said = f"1920x1080x3 bytes to the device in {ms(usual_ns)} ({gb_s:.1f} GB/s, pinned), back the same: {same}"
    return Outcome(said, same, {"gb_s": gb_s})


def graph() -> Outcome:
    """Catch two copies and a fill in a graph, launch it with other contents, and find them copied again."""
    device = gpu()
    if not device.runtime.has_graphs:
        raise Skip(f"{device.runtime.path} has no CUDA graphs")
    stream = device.stream()
    array = CudaArray(device, (1024,), np.dtype(np.float32))

    def work() -> None:
        array.to_device(stream)
        array.to_host(stream)

    with device.selected():
        caught, same = CudaGraph(stream, work), True
        for value in range(5):
            array.host[...] = value
            caught.launch()
            stream.synchronize()
            same = same and bool((array.host == value).all())

        def launch() -> None:
            caught.launch()
            stream.synchronize()

        p50, p99, _, count = spread(times_ns(launch, 200))
    said = f"a graph of two copies replays the right contents: {same}; launched and waited for in p50 {p50}, p99 {p99} "
    return Outcome(f"{said}ms ({count} times)", same)


def a_failed_call_leaves_no_error() -> Outcome:
    """Ask for more memory than there is: an EngineError with a sentence, and no error left for other libraries."""
    device = gpu()
    said = "no error"
    try:
        device.pointer("cudaMalloc", 1 << 50)
    except EngineError as error:
        said = str(error)
    left = device.runtime._lib.cudaPeekAtLastError()
    small = CudaArray(device, (16,), np.dtype(np.float32))
    stream = device.stream()
    small.to_device(stream)
    stream.synchronize()
    return Outcome(f"'{said}'; cudaPeekAtLastError is {left} afterwards (0: none left); the device still copies",
                   "out of memory" in said and left == 0, {"left": left})  # fmt: skip


CHECKS = (
    selftest,
    events_against_wall,
    two_streams,
    memory_figures,
    copies,
    graph,
    a_failed_call_leaves_no_error,
)
