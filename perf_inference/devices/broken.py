"""A process whose CUDA an error has broken: it is told in one sentence, and nothing is freed any more.

After an illegal address or a failed assertion in a kernel every call of CUDA fails with that error until the process
ends. PyTorch's page-locked tensors and others' objects end it at once when they are freed then, from a destructor that
cannot raise: before the node has stopped in order, or a trial has said what it saw. So what an engine holds is kept.
"""

from __future__ import annotations

from perf_inference.devices.cuda_driver import load_driver
from perf_inference.errors import BrokenDeviceError, EngineError

_broken: dict[int, str] = {}  # by device: what broke it
_kept: list[object] = []


def check(index: int) -> None:
    """Raise BrokenDeviceError if this process' CUDA is known to be broken on the device; nothing is asked of it."""
    if said := _broken.get(index):
        raise BrokenDeviceError(said)


def is_broken(index: int) -> bool:
    """Ask the driver whether this process' CUDA is broken on the device; `check` raises it then."""
    driver = load_driver()
    said = driver.broken(index) if driver is not None else None
    if said is not None:
        _broken.setdefault(index, said)
    return index in _broken


def failure(index: int, said: str, *held: object) -> EngineError:
    """Return the error to raise for a failure on the device: one that ends the process where CUDA is broken.

    Args:
        held: what the engine has there; it is kept if CUDA is broken.
    """
    if not is_broken(index):
        return EngineError(said)
    _kept.extend(held)
    return BrokenDeviceError(f"{said}; {_broken[index]}" if said not in _broken[index] else _broken[index])


def keep_if_broken(index: int, *held: object) -> bool:
    """Keep what an engine has on the device until the process ends, if CUDA is broken; return whether it is."""
    broken = is_broken(index)
    if broken:
        _kept.extend(held)
    return broken


def index_of(device: str) -> int:
    """Return the number in `cuda:N`."""
    return int(device.partition(":")[2] or 0)
