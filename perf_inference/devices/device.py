"""Waiting for a device, and timing on it, without knowing whose it is.

    open_device ── CpuDevice    nothing to wait for: a call returns when its work is done
                ├─ CudaDevice   the CUDA runtime through ctypes (cuda_runtime.py): TensorRT without torch
                └─ TorchDevice  PyTorch (torch_device.py): where that is what is in use

An engine waits for its own stream (`device.stream(handle).synchronize()`), so that it is charged its own time only;
the whole device is waited for around a `PerformanceMonitor` block, in benchmarks of one engine and in the self-test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from perf_inference.devices import torch_device
from perf_inference.devices.cuda_runtime import CudaDevice, NoCudaError, load_runtime
from perf_inference.errors import ConfigError

PARTS = ("host_to_device", "compute", "device_to_host")


class Event(Protocol):
    """A point in a stream's work; it may be recorded again and again."""

    def record(self) -> None:
        """Put the point behind the work that the stream has been given so far."""

    def wait(self) -> None:
        """Return when the stream has passed the point."""

    def since_ns(self, earlier: Event) -> int:
        """Return the device's own time from `earlier` to here [ns]; both must have been passed."""


class Stream(Protocol):
    """Work that a device does in order."""

    handle: int  # a cudaStream_t; 0 = the default stream

    def synchronize(self) -> None:
        """Return when the work given to this stream so far is done; other streams are not waited for."""

    def event(self) -> Event:
        """Return a new event of this stream."""


class Device(Protocol):
    """What a model runs on."""

    name: str  # `cpu`, `cuda:N`
    via: str  # what it is asked through
    gpu_name: str | None
    pci_bus_id: str | None

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is the board's, which the processor uses too (a Jetson)."""

    def synchronize(self) -> None:
        """Return when all work given to the device by this process so far is done.

        Raises:
            EngineError: the device failed at that work.
        """

    def stream(self, handle: int | None = None) -> Stream:
        """Return the stream of this handle (another library's; 0 = the default), or a new one."""

    def memory_used_bytes(self) -> int | None:
        """Return the device memory in use by all processes, or the board's; None on a CPU."""

    def work(self) -> AbstractContextManager[Callable[[], None]]:
        """Return a function that gives the default stream some milliseconds of work, for the self-test."""


class DeviceSplit:
    """Where an inference's time on the device goes: to it, in it, from it.

        split.begin(); copy to;   split.mark("host_to_device")
                       run;       split.mark("compute")
                       copy from; split.mark("device_to_host");   split.durations_ns()

    The marks cost the host some microseconds each and wait for nothing; `durations_ns` waits for the last one.
    """

    def __init__(self, stream: Stream) -> None:
        self._start = stream.event()
        self._ends = {part: stream.event() for part in PARTS}
        self._marked: list[str] = []

    def begin(self) -> None:
        """Start again."""
        self._marked.clear()
        self._start.record()

    def mark(self, part: str) -> None:
        """Note that the work given to the stream since the last mark is this part."""
        self._ends[part].record()
        self._marked.append(part)

    def durations_ns(self) -> dict[str, int]:
        """Return the device's own time in each marked part [ns], once the last is done."""
        if self._marked:
            self._ends[self._marked[-1]].wait()
        previous, durations = self._start, {}
        for part in self._marked:
            durations[part] = self._ends[part].since_ns(previous)
            previous = self._ends[part]
        return durations


class CpuDevice:
    """The processor: nothing to wait for, and events are readings of the monotonic clock."""

    name = "cpu"
    via = "nothing to wait for"
    gpu_name: str | None = None
    pci_bus_id: str | None = None
    shares_memory = False

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns

    def synchronize(self) -> None: ...

    def stream(self, handle: int | None = None) -> Stream:
        return _CpuStream(self._monotonic_ns)

    def memory_used_bytes(self) -> int | None:
        return None

    @contextmanager
    def work(self) -> Iterator[Callable[[], None]]:
        def busy() -> None:
            sum(range(200_000))

        yield busy


class _CpuStream:
    handle = 0

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._monotonic_ns = monotonic_ns

    def synchronize(self) -> None: ...

    def event(self) -> Event:
        return _CpuEvent(self._monotonic_ns)


class _CpuEvent:
    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._monotonic_ns = monotonic_ns
        self.reading_ns = 0

    def record(self) -> None:
        self.reading_ns = self._monotonic_ns()

    def wait(self) -> None: ...

    def since_ns(self, earlier: Event) -> int:
        assert isinstance(earlier, _CpuEvent)
        return self.reading_ns - earlier.reading_ns


def open_device(device: str = "auto", blocking: bool = False) -> Device:
    """Return the device of this name: `auto` (the first GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    `blocking`: whoever waits for the GPU in this process sleeps instead of spinning.

    PyTorch is asked if this process has it loaded, then the CUDA runtime, then a PyTorch that is only installed: it
    takes seconds to import, and one without CUDA never is.

    Raises:
        ConfigError: no such device here; the message says what was tried.
    """
    kind, _, number = device.partition(":")
    if device == "cpu":
        return CpuDevice()
    if (kind != "cuda" and device != "auto") or (":" in device and not number.isdecimal()):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got '{device}'")
    index = int(number or 0)
    if torch_device.loaded() and index < torch_device.count():
        return torch_device.TorchDevice(index, blocking)
    try:
        runtime = load_runtime()
    except NoCudaError as error:
        reason = str(error)
        if torch_device.installed_with_cuda() and index < torch_device.count():
            return torch_device.TorchDevice(index, blocking)
    else:
        if index < runtime.devices:
            return CudaDevice(runtime, index, blocking)
        reason = f"{runtime.path} finds {runtime.devices} device(s), cuda:0 to cuda:{runtime.devices - 1}"
    if device == "auto":
        return CpuDevice()
    raise ConfigError(f"device '{device}' is not here: {reason}; set device: cpu or auto")
