"""The CUDA runtime through ctypes: waiting, events, memory and graphs for engines that come without PyTorch.

Names and signatures are those of cuda_runtime_api.h (CUDA 10 to 13). Any copy of the runtime does: all of them work on
the one primary context of a device that TensorRT, ONNX Runtime and PyTorch of this process use as well.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from perf_inference.devices import board_memory
from perf_inference.devices.cuda_driver import RESTART, STICKY, CudaDriver, load_driver
from perf_inference.errors import BrokenDeviceError, EngineError

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (POINTER(c_int),),
    "cudaDeviceSynchronize": (),
    "cudaDeviceGetPCIBusId": (c_char_p, c_int, c_int),
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaDriverGetVersion": (POINTER(c_int),),
    "cudaStreamCreateWithFlags": (POINTER(c_void_p), c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaEventCreateWithFlags": (POINTER(c_void_p), c_uint),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventSynchronize": (c_void_p,),
    "cudaEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cudaEventDestroy": (c_void_p,),
    "cudaMemGetInfo": (POINTER(c_size_t), POINTER(c_size_t)),
    "cudaMalloc": (POINTER(c_void_p), c_size_t),
    "cudaMemsetAsync": (c_void_p, c_int, c_size_t, c_void_p),
    "cudaFree": (c_void_p,),
    "cudaMallocHost": (POINTER(c_void_p), c_size_t),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaGetLastError": (),
}
GRAPH_SIGNATURES: dict[str, tuple[Any, ...]] = {  # CUDA 11.4 and later have them all
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cudaGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cudaGraphLaunch": (c_void_p, c_void_p),
    "cudaGraphExecDestroy": (c_void_p,),
    "cudaGraphDestroy": (c_void_p,),
}
_MAJOR, _MINOR, _INTEGRATED, _MULTIPROCESSORS = 75, 76, 18, 16  # cudaDevAttrComputeCapabilityMajor, -Minor ...
_NON_BLOCKING = 1  # cudaStreamNonBlocking: does not wait for the default stream
_BLOCKING_SYNC = 1  # cudaEventBlockingSync: who waits for the event sleeps
_SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2", "libcudart.so")
_WORK_BYTES, _WORK_TIMES = 64 << 20, 200


class NoCudaError(Exception):
    """No CUDA runtime, or no device that it can use; says why."""


class CudaRuntime:
    """A loaded libcudart."""

    def __init__(self, path: str) -> None:
        """Load it.

        Raises:
            NoCudaError: it does not load, is none, or finds no device.
        """
        self.path = path
        try:
            self._lib = ctypes.CDLL(path)  # gives the GIL away while it waits
            self.has_graphs = all(hasattr(self._lib, name) for name in GRAPH_SIGNATURES)
            for name, arguments in {**_SIGNATURES, **(GRAPH_SIGNATURES if self.has_graphs else {})}.items():
                function = getattr(self._lib, name)
                function.argtypes, function.restype = arguments, c_int
            self._lib.cudaGetErrorString.argtypes = (c_int,)
            self._lib.cudaGetErrorString.restype = c_char_p
            self.devices = self.integer("cudaGetDeviceCount")
            driver = load_driver()
            if driver is None:
                raise EngineError("there is a device, but no driver's libcuda.so.1 that loads")
            self.driver: CudaDriver = driver
        except (OSError, AttributeError, EngineError) as error:
            raise NoCudaError(f"{path}: {error}") from error

    def call(self, name: str, *arguments: Any) -> None:
        """Call the function of this name.

        Raises:
            EngineError: it did not return cudaSuccess; BrokenDeviceError where nothing will any more.
        """
        if code := getattr(self._lib, name)(*arguments):
            self._lib.cudaGetLastError()  # takes it back: PyTorch shares the library, and would find it
            said = f"{name}: {self._meaning(code)} (cudaError {code})"
            raise BrokenDeviceError(f"{said}; {RESTART}") if code in STICKY else EngineError(said)

    def give_back(self, index: int, name: str, handle: int) -> None:
        """Free something of a device by the function of this name; with CUDA broken or gone it is left where it is."""
        if not handle or sys.is_finalizing():
            return
        with suppress(EngineError), self.driver.selected(index):  # from a destructor nobody could catch it
            self.call(name, handle)

    def _meaning(self, code: int) -> str:
        return (self._lib.cudaGetErrorString(code) or b"unknown error").decode(errors="replace")

    def integer(self, name: str, *arguments: Any) -> int:
        """Return what a function with a first int* argument gives."""
        value = c_int()
        self.call(name, byref(value), *arguments)
        return value.value

    def pointer(self, name: str, *arguments: Any) -> int:
        """Return what a function with a first void** argument gives."""
        value = c_void_p()
        self.call(name, byref(value), *arguments)
        return value.value or 0


class CudaDevice:
    """A GPU asked through the CUDA runtime."""

    def __init__(self, runtime: CudaRuntime, index: int, blocking: bool = False) -> None:
        """Take the device; `blocking`: who waits for it sleeps, also on other libraries' streams of this process."""
        self.runtime, self.index, self.blocking = runtime, index, blocking
        self.name, self.via = f"cuda:{index}", runtime.path
        self.gpu_name = runtime.driver.name(index)
        self.pci_bus_id = self._bus_id()
        if blocking:
            runtime.driver.wait_blocked(index)

    @property
    def compute_capability(self) -> str:
        return f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}"

    @property
    def multiprocessors(self) -> int:
        return self._attribute(_MULTIPROCESSORS)

    @property
    def shares_memory(self) -> bool:
        return bool(self._attribute(_INTEGRATED))

    def selected(self) -> AbstractContextManager[None]:
        """Let the calling thread work on this device for a while."""
        return self.runtime.driver.selected(self.index)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the runtime on this device.

        Raises:
            EngineError: as `CudaRuntime.call`.
        """
        if self.runtime.driver.is_current(self.index):  # as in an engine, which selects it once
            self.runtime.call(name, *arguments)
            return
        with self.selected():
            self.runtime.call(name, *arguments)

    def pointer(self, name: str, *arguments: Any) -> int:
        """Return what a function with a first void** argument gives on this device."""
        with self.selected():
            return self.runtime.pointer(name, *arguments)

    def synchronize(self) -> None:
        self.call("cudaDeviceSynchronize")

    def stream(self, handle: int | None = None) -> CudaStream:
        return CudaStream(self, handle)

    def memory_used_bytes(self) -> int:
        if self.shares_memory:
            return board_memory.used_bytes()
        free, total = c_size_t(), c_size_t()
        self.call("cudaMemGetInfo", byref(free), byref(total))
        return total.value - free.value

    @contextmanager
    def work(self) -> Iterator[Callable[[], None]]:
        buffer = self.pointer("cudaMalloc", _WORK_BYTES)

        def fill() -> None:
            with self.selected():
                for _ in range(_WORK_TIMES):
                    self.runtime.call("cudaMemsetAsync", buffer, 0, _WORK_BYTES, None)

        try:
            yield fill
        finally:
            self.runtime.give_back(self.index, "cudaFree", buffer)

    def _attribute(self, which: int) -> int:
        return self.runtime.integer("cudaDeviceGetAttribute", which, self.index)

    def _bus_id(self) -> str | None:
        """Return its address; None: the system does not tell (a virtual GPU, a board's), and NVML cannot be asked."""
        bus_id = ctypes.create_string_buffer(32)
        try:
            self.runtime.call("cudaDeviceGetPCIBusId", bus_id, len(bus_id), self.index)
        except EngineError:
            return None
        return bus_id.value.decode()


class CudaStream:
    """A stream, made here or by another library; what is made here is destroyed with the object."""

    handle = 0

    def __init__(self, device: CudaDevice, handle: int | None) -> None:
        self.device, self._owned = device, handle is None
        self.handle = device.pointer("cudaStreamCreateWithFlags", _NON_BLOCKING) if handle is None else handle

    def synchronize(self) -> None:
        self.device.call("cudaStreamSynchronize", self.handle)

    def event(self) -> CudaEvent:
        return CudaEvent(self)

    def __del__(self) -> None:
        if self.handle and self._owned:
            self.device.runtime.give_back(self.device.index, "cudaStreamDestroy", self.handle)


class CudaEvent:
    """A CUDA event that keeps time (resolution about 0.5 us)."""

    handle = 0

    def __init__(self, stream: CudaStream) -> None:
        self._stream, self._device = stream, stream.device
        self.handle = self._device.pointer("cudaEventCreateWithFlags", _BLOCKING_SYNC * stream.device.blocking)

    def record(self) -> None:
        self._device.call("cudaEventRecord", self.handle, self._stream.handle)

    def wait(self) -> None:
        self._device.call("cudaEventSynchronize", self.handle)

    def since_ns(self, earlier: Any) -> int:
        milliseconds = c_float()
        self._device.call("cudaEventElapsedTime", byref(milliseconds), earlier.handle, self.handle)
        return round(milliseconds.value * 1e6)

    def __del__(self) -> None:
        self._device.runtime.give_back(self._device.index, "cudaEventDestroy", self.handle)


@cache
def load_runtime() -> CudaRuntime:
    """Return the first CUDA runtime that finds a device.

    Raises:
        NoCudaError: there is none; says why.
    """
    return first_usable(candidates())


def first_usable(paths: Iterable[str]) -> CudaRuntime:
    """Return the first of these libraries that loads and finds a device; a newer one than the driver finds none."""
    said = None
    for path in paths:
        try:
            return CudaRuntime(path)
        except NoCudaError as error:  # noqa: PERF203, each may fail
            if isinstance(error.__cause__, EngineError):
                said = said or error  # it loaded, and says what is wrong with the device
    raise said or NoCudaError("no libcudart.so was found; install CUDA, or `pip install nvidia-cuda-runtime-cu12`")


def candidates() -> Iterator[str]:
    """Return where a CUDA runtime may be, best first.

    What this process has loaded comes first, then pip's packages: were another one loaded under the same soname before
    them, PyTorch would be bound to it.
    """
    yield from dict.fromkeys(_loaded())
    for folder in dict.fromkeys(sys.path):
        for pattern in ("nvidia/*/lib/libcudart.so*", "torch/lib/libcudart*.so*"):
            yield from map(str, sorted(Path(folder).glob(pattern), reverse=True))
    yield from _SONAMES  # LD_LIBRARY_PATH, and what ldconfig knows
    for pattern in ("cuda/lib64", "cuda*/lib64", "cuda*/targets/*/lib", "cuda*/lib"):
        for folder_path in sorted(Path("/usr/local").glob(pattern), reverse=True):
            yield from map(str, sorted(folder_path.glob("libcudart.so.*"), reverse=True))


def _loaded() -> Iterator[str]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                if "/libcudart" in line:
                    yield line.split(maxsplit=5)[5].rstrip("\n")
    except OSError:
        return
