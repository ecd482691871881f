"""Arrays that lie in host memory and on a GPU, and a GPU's work caught in a graph; through the CUDA runtime alone."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.devices.cuda_runtime import CudaDevice, CudaStream
from perf_inference.errors import EngineError

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may allocate meanwhile


class _Block:
    """Memory of CUDA's that goes with the object."""

    def __init__(self, device: CudaDevice, size_bytes: int, made_by: str, freed_by: str) -> None:
        self._device, self._freed_by, self.address = device, freed_by, 0
        self.address = device.pointer(made_by, max(1, size_bytes))

    def __del__(self) -> None:
        self._device.runtime.give_back(self._device.index, self._freed_by, self.address)


class CudaArray:
    """An array twice: `host`, in page-locked memory, and at `address` on the device; a stream copies between them."""

    def __init__(self, device: CudaDevice, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocate both; what they hold is not defined.

        Raises:
            EngineError: there is no room.
        """
        self._gpu, self._size_bytes = device, math.prod(shape) * dtype.itemsize
        self._device = _Block(device, self._size_bytes, "cudaMalloc", "cudaFree")
        locked = _Block(device, self._size_bytes, "cudaMallocHost", "cudaFreeHost")
        memory = (ctypes.c_uint8 * self._size_bytes).from_address(locked.address)
        memory._block = locked  # type: ignore[attr-defined]  # freed with the last view of it, not with this object
        self.host: NDArray[Any] = np.frombuffer(memoryview(memory), dtype).reshape(shape)

    @property
    def address(self) -> int:
        """Where the device's copy begins."""
        return self._device.address

    def to_device(self, stream: CudaStream) -> None:
        """Let the stream copy the host's array to the device."""
        source = self.host.ctypes.data
        self._gpu.call("cudaMemcpyAsync", self.address, source, self._size_bytes, _HOST_TO_DEVICE, stream.handle)

    def to_host(self, stream: CudaStream) -> None:
        """Let the stream copy the device's array to the host."""
        target = self.host.ctypes.data
        self._gpu.call("cudaMemcpyAsync", target, self.address, self._size_bytes, _DEVICE_TO_HOST, stream.handle)


class CudaGraph:
    """Work that a stream was given once, launched as a whole; its addresses stay those of the first time."""

    def __init__(self, stream: CudaStream, work: Callable[[], None]) -> None:
        """Catch what `work` gives to the stream; nothing of it is done yet.

        Raises:
            EngineError: it cannot be caught (the work waits, allocates, or fails), or CUDA is older than 11.4.
        """
        self._device, self._stream, self._handle = stream.device, stream, 0
        runtime = stream.device.runtime
        if not runtime.has_graphs:
            raise EngineError(f"{runtime.path} has no CUDA graphs; they came with CUDA 11.4")
        with stream.device.selected():
            runtime.call("cudaStreamBeginCapture", stream.handle, _THREAD_LOCAL)
            graph = ctypes.c_void_p()
            try:
                try:
                    work()
                finally:
                    runtime.call("cudaStreamEndCapture", stream.handle, ctypes.byref(graph))
                self._handle = runtime.pointer("cudaGraphInstantiateWithFlags", graph, 0)
            finally:
                runtime.give_back(stream.device.index, "cudaGraphDestroy", graph.value or 0)

    def launch(self) -> None:
        """Give the work to the stream again."""
        self._device.call("cudaGraphLaunch", self._handle, self._stream.handle)

    def __del__(self) -> None:
        self._device.runtime.give_back(self._device.index, "cudaGraphExecDestroy", self._handle)
