"""The fake CUDA of `fake_cudart.c`, compiled: a runtime and a driver whose device is a clock."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perf_inference.devices import cuda_driver


def compiled(folder: Path) -> Path:
    """Return a library of its own in this folder, with no context yet on any device."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the fake CUDA runtime")
    library = folder / "libcudart.so.0"
    source = Path(__file__).with_name("fake_cudart.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


@contextmanager
def in_force(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Let this library be the driver, with two GPUs; give it for the calls that steer it (`fakeBreak` and others)."""
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "2")
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(library))
    cuda_driver.load_driver.cache_clear()
    yield ctypes.CDLL(str(library))
    cuda_driver.load_driver.cache_clear()
