"""The CUDA driver through ctypes: in which context a thread works, how it waits, and whether an error has broken it.

The calls of every copy of the runtime go to the context that is current to the thread. So a device is chosen by pushing
its primary context, and popping it afterwards: `cudaSetDevice` on the way back would make a context, of some 500 MB, on
the device before, where there was none (CUDA 12 and later; pytorch#94864).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from functools import cache
from typing import Any

from perf_inference.errors import BrokenDeviceError, EngineError

LIBRARY = "libcuda.so.1"
STICKY = frozenset((226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911))
"""Errors of which driver_types.h (CUDA 13.0) says: "the process must be terminated and relaunched"."""
RESTART = "CUDA is broken in this process and stays so: restart it"
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxGetState": (c_int, POINTER(c_uint), POINTER(c_int)),
    "cuDevicePrimaryCtxSetFlags": (c_int, c_uint),
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}
_NEWER = {"cuDevicePrimaryCtxSetFlags": "cuDevicePrimaryCtxSetFlags_v2"}  # CUDA 11: also of a context that is in use
_WAIT_MASK, _BLOCKING = 0x7, 0x4  # CU_CTX_SCHED_MASK, CU_CTX_SCHED_BLOCKING_SYNC


class CudaDriver:
    """A loaded libcuda; a device's number is that of the runtime."""

    def __init__(self, path: str) -> None:
        """Load it.

        Raises:
            OSError, AttributeError: it does not load, or is none.
            EngineError: it finds no device.
        """
        library = ctypes.CDLL(path)
        self._functions: dict[str, Any] = {}
        for name, arguments in _SIGNATURES.items():
            newer = getattr(library, _NEWER.get(name, name), None)
            function = newer or getattr(library, name)
            function.argtypes, function.restype = arguments, c_int
            self._functions[name] = function
        self._contexts: dict[int, int] = {}  # by device; held until the process ends
        self._lock = threading.Lock()
        self.call("cuInit", 0)
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        self.devices = count.value

    def call(self, name: str, *arguments: Any) -> None:
        """Call the function of this name.

        Raises:
            EngineError: it did not return CUDA_SUCCESS; BrokenDeviceError where nothing will any more.
        """
        code = self._functions[name](*arguments)
        if code in STICKY:
            raise BrokenDeviceError(f"{name}: {self.meaning(code)}; {RESTART}")
        if code:
            raise EngineError(f"{name}: {self.meaning(code)}")

    def meaning(self, code: int) -> str:
        """Return an error in words."""
        text = c_char_p()
        self._functions["cuGetErrorString"](code, byref(text))
        return f"{(text.value or b'unknown error').decode(errors='replace')} (CUDA error {code})"

    def name(self, index: int) -> str | None:
        """Return the GPU's name; the driver answers in a buffer, where the runtime's struct changes size."""
        text = ctypes.create_string_buffer(256)
        try:
            self.call("cuDeviceGetName", text, len(text), self._device(index))
        except EngineError:
            return None
        return text.value.decode(errors="replace")

    @contextmanager
    def selected(self, index: int) -> Iterator[None]:
        """Let the calling thread work on this device for a while; what was current to it, if anything, comes back."""
        if self.is_current(index):
            yield
            return
        self.call("cuCtxPushCurrent_v2", self._contexts.get(index) or self._context(index))
        try:
            yield
        finally:
            self._functions["cuCtxPopCurrent_v2"](byref(c_void_p()))

    def is_current(self, index: int) -> bool:
        """Return whether the calling thread works on this device already."""
        context, current = self._contexts.get(index), c_void_p()
        self._functions["cuCtxGetCurrent"](byref(current))
        return context is not None and current.value == context

    def in_use(self, index: int) -> bool:
        """Return whether this process has a context on the device."""
        return self._state(index)[1]

    def broken(self, index: int) -> str | None:
        """Return which error has broken this process' work on the device for good; None: it is not broken."""
        if index >= self.devices or not self.in_use(index):
            return None
        free, total = c_size_t(), c_size_t()
        try:
            with self.selected(index):
                self.call("cuMemGetInfo_v2", byref(free), byref(total))
        except BrokenDeviceError as error:
            return str(error)
        except EngineError:
            return None
        return None

    def wait_blocked(self, index: int) -> None:
        """From now on a thread of this process that waits for the device sleeps instead of spinning."""
        flags, _ = self._state(index)
        self.call("cuDevicePrimaryCtxSetFlags", self._device(index), flags & ~_WAIT_MASK | _BLOCKING)

    def _state(self, index: int) -> tuple[int, bool]:
        flags, active = c_uint(), c_int()
        self.call("cuDevicePrimaryCtxGetState", self._device(index), byref(flags), byref(active))
        return flags.value, bool(active.value)

    def _device(self, index: int) -> int:
        device = c_int()
        self.call("cuDeviceGet", byref(device), index)
        return device.value

    def _context(self, index: int) -> int:
        with self._lock:
            if index not in self._contexts:
                context = c_void_p()
                self.call("cuDevicePrimaryCtxRetain", byref(context), self._device(index))
                self._contexts[index] = context.value or 0
            return self._contexts[index]


@cache
def load_driver() -> CudaDriver | None:
    """Return the driver; None: there is none, or no device."""
    try:
        return CudaDriver(LIBRARY)
    except (OSError, AttributeError, EngineError):
        return None
