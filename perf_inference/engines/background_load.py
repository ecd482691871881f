"""Loading a runtime while the other threads of the process go on.

An import holds the interpreter's lock while the system loads what it links to, and hands it over only every 5 ms
otherwise: in the three seconds that PyTorch takes, the longest stall of another thread was 330 ms. A call through
ctypes lets the lock go, so the libraries come first, and the import finds them there; 170 to 240 ms are left.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from perf_inference.engines.runtimes import Runtime

_SHORT_S = 0.0005


class _Turns:
    """The interpreter's switch interval, short while anybody loads: the nodes of a container may do so at once."""

    def __init__(self) -> None:
        self._lock, self._loading, self._usual_s = threading.Lock(), 0, sys.getswitchinterval()

    def shorten(self) -> None:
        with self._lock:
            if not self._loading:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(_SHORT_S)
            self._loading += 1

    def restore(self) -> None:
        with self._lock:
            self._loading -= 1
            if not self._loading:
                sys.setswitchinterval(self._usual_s)


_TURNS = _Turns()


@contextmanager
def loading_beside(runtime: Runtime) -> Iterator[None]:
    """Load the runtime's big libraries, and let threads take turns quickly while the rest is loaded."""
    _TURNS.shorten()
    try:
        _load_libraries(runtime)
        yield
    finally:
        _TURNS.restore()


def _load_libraries(runtime: Runtime) -> None:
    """Load them without the interpreter's lock; what fails here, the import will tell."""
    there = bool(runtime.shared_objects) and runtime.library not in sys.modules
    spec = find_spec(runtime.library) if there else None
    if spec is None or spec.origin is None:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name in runtime.shared_objects:  # what is not there is left out
        path = Path(spec.origin).parent / "lib" / name
        if path.is_file():
            dlopen(os.fsencode(path), os.RTLD_LAZY | os.RTLD_GLOBAL)
