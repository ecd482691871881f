"""The CUDA runtime through ctypes: waiting, events, memory and graphs for engines that come without PyTorch.

Names and signatures are those of cuda_runtime_api.h (CUDA 10 to 13). Any copy of the runtime does: all of them work on
the one primary context of a device that TensorRT, ONNX Runtime and PyTorch of this process use as well.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from perf_inference.errors import EngineError

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (POINTER(c_int),),
    "cudaGetDevice": (POINTER(c_int),),
    "cudaSetDevice": (c_int,),
    "cudaDeviceSynchronize": (),
    "cudaDeviceGetPCIBusId": (c_char_p, c_int, c_int),
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaDriverGetVersion": (POINTER(c_int),),
    "cudaStreamCreateWithFlags": (POINTER(c_void_p), c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaEventCreate": (POINTER(c_void_p),),
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
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, -Minor
_STREAM_NON_BLOCKING = 1  # cudaStreamNonBlocking: does not wait for the default stream
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
        except (OSError, AttributeError, EngineError) as error:
            raise NoCudaError(f"{path}: {error}") from error

    def call(self, name: str, *arguments: Any) -> None:
        """Call the function of this name.

        Raises:
            EngineError: it did not return cudaSuccess.
        """
        code = getattr(self._lib, name)(*arguments)
        if code:
            meaning = (self._lib.cudaGetErrorString(code) or b"unknown error").decode(errors="replace")
            raise EngineError(f"{name}: {meaning} (cudaError {code})")

    def forget_error(self) -> None:
        """Take back the last call's error, so that no other library of this process finds it."""
        self._lib.cudaGetLastError()

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

    @contextmanager
    def selected(self, index: int) -> Iterator[None]:
        """Make this device the calling thread's for a while."""
        before = self.integer("cudaGetDevice")
        self.call("cudaSetDevice", index)
        try:
            yield
        finally:
            self.call("cudaSetDevice", before)


class CudaDevice:
    """A GPU asked through the CUDA runtime."""

    def __init__(self, runtime: CudaRuntime, index: int) -> None:
        self.runtime, self.index = runtime, index
        self.name, self.via = f"cuda:{index}", runtime.path
        self.gpu_name = _driver_name(index)
        bus_id = ctypes.create_string_buffer(32)
        runtime.call("cudaDeviceGetPCIBusId", bus_id, len(bus_id), index)
        self.pci_bus_id: str | None = bus_id.value.decode()

    @property
    def compute_capability(self) -> str:
        """What its instructions are: `8.7` of a Jetson AGX Orin."""
        of = [self.runtime.integer("cudaDeviceGetAttribute", part, self.index) for part in (_MAJOR, _MINOR)]
        return f"{of[0]}.{of[1]}"

    def synchronize(self) -> None:
        with self.runtime.selected(self.index):
            self.runtime.call("cudaDeviceSynchronize")

    def stream(self, handle: int | None = None) -> CudaStream:
        return CudaStream(self, handle)

    def memory_used_bytes(self) -> int:
        free, total = c_size_t(), c_size_t()
        with self.runtime.selected(self.index):
            self.runtime.call("cudaMemGetInfo", byref(free), byref(total))
        return total.value - free.value

    @contextmanager
    def work(self) -> Iterator[Callable[[], None]]:
        with self.runtime.selected(self.index):
            buffer = self.runtime.pointer("cudaMalloc", _WORK_BYTES)

        def fill() -> None:
            with self.runtime.selected(self.index):
                for _ in range(_WORK_TIMES):
                    self.runtime.call("cudaMemsetAsync", buffer, 0, _WORK_BYTES, None)

        try:
            yield fill
        finally:
            self.runtime.call("cudaFree", buffer)


class CudaStream:
    """A stream, made here or by another library; what is made here is destroyed with the object."""

    def __init__(self, device: CudaDevice, handle: int | None) -> None:
        self.device = device
        self.handle, self._owned = handle or 0, handle is None
        if self._owned:
            with device.runtime.selected(device.index):
                self.handle = device.runtime.pointer("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)

    def synchronize(self) -> None:
        with self.device.runtime.selected(self.device.index):  # handle 0 is the default stream of the thread's device
            self.device.runtime.call("cudaStreamSynchronize", self.handle)

    def event(self) -> CudaEvent:
        return CudaEvent(self)

    def __del__(self) -> None:
        if self._owned and self.handle and not sys.is_finalizing():
            self.device.runtime.call("cudaStreamDestroy", self.handle)


class CudaEvent:
    """A CUDA event that keeps time (resolution about 0.5 us)."""

    def __init__(self, stream: CudaStream) -> None:
        self._stream, self._device, self._runtime = stream, stream.device, stream.device.runtime
        self.handle = 0
        with self._runtime.selected(self._device.index):
            self.handle = self._runtime.pointer("cudaEventCreate")

    def record(self) -> None:
        with self._runtime.selected(self._device.index):
            self._runtime.call("cudaEventRecord", self.handle, self._stream.handle)

    def wait(self) -> None:
        self._runtime.call("cudaEventSynchronize", self.handle)

    def since_ns(self, earlier: Any) -> int:
        milliseconds = c_float()
        self._runtime.call("cudaEventElapsedTime", byref(milliseconds), earlier.handle, self.handle)
        return round(milliseconds.value * 1e6)

    def __del__(self) -> None:
        if getattr(self, "handle", 0) and not sys.is_finalizing():
            self._runtime.call("cudaEventDestroy", self.handle)


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


def _driver_name(index: int) -> str | None:
    """Return the GPU's name as the driver says it; it answers in a buffer, where the runtime's struct changes size."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        device, name = c_int(), ctypes.create_string_buffer(256)
        failed = driver.cuDeviceGet(byref(device), c_int(index)) or driver.cuDeviceGetName(name, c_int(256), device)
    except (OSError, AttributeError):
        return None
    return None if failed else name.value.decode(errors="replace")
