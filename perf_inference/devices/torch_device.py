"""PyTorch's own waiting, events and memory figures; the only file of this room that imports torch, and only when asked.

A PyTorch for AMD devices answers to the same names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perf_inference.devices import board_memory, broken
from perf_inference.devices.cuda_driver import load_driver
from perf_inference.devices.process_memory import HighWaterMark

_WORK_SIDE, _WORK_TIMES = 2048, 100


def loaded() -> bool:
    """Return whether this process has imported PyTorch."""
    return "torch" in sys.modules


def installed_with_cuda() -> bool:
    """Return whether a PyTorch that can use a GPU is installed, without importing it."""
    spec = find_spec("torch") if not loaded() else None
    if loaded() or spec is None or spec.origin is None:
        return loaded()
    libraries = Path(spec.origin).parent / "lib"
    return any((libraries / name).exists() for name in ("libtorch_cuda.so", "libtorch_hip.so"))


def count() -> int:
    """Return how many GPUs PyTorch can use."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


class TorchDevice:
    """A GPU asked through PyTorch."""

    def __init__(self, index: int, blocking: bool = False) -> None:
        """Take the device; `blocking`: who waits for it sleeps, also on other libraries' streams of this process."""
        import torch

        self._torch, self.index, self.blocking = torch, index, blocking
        self.name, self.via = f"cuda:{index}", f"PyTorch {torch.__version__}"
        properties = torch.cuda.get_device_properties(index)
        self.gpu_name: str | None = properties.name
        self.pci_bus_id: str | None = None
        if hasattr(properties, "pci_domain_id"):  # PyTorch 2.7 and later
            bus = (properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id)
            self.pci_bus_id = "{:08x}:{:02x}:{:02x}.0".format(*bus)
        self.shares_memory = bool(getattr(properties, "is_integrated", False))
        if blocking and (driver := load_driver()) is not None:
            driver.wait_blocked(index)

    def synchronize(self) -> None:
        with _as_engine_error(self.index):
            self._torch.cuda.synchronize(self.index)

    def stream(self, handle: int | None = None) -> TorchStream:
        cuda = self._torch.cuda
        if handle is None:
            return TorchStream(self, cuda.Stream(self.index))
        return TorchStream(
            self, cuda.ExternalStream(handle, device=self.index) if handle else cuda.default_stream(self.index)
        )

    def event(self) -> Any:
        """Return an event of PyTorch's that keeps time."""
        return self._torch.cuda.Event(enable_timing=True, blocking=self.blocking)

    def memory_used_bytes(self) -> int:
        if self.shares_memory:
            return board_memory.used_bytes()
        free, total = self._torch.cuda.mem_get_info(self.index)
        return int(total - free)

    @contextmanager
    def work(self) -> Iterator[Callable[[], None]]:
        torch, device = self._torch, self.name
        a = torch.zeros(_WORK_SIDE, _WORK_SIDE, device=device)
        b = torch.empty_like(a)

        def multiply() -> None:
            with torch.cuda.stream(torch.cuda.default_stream(self.index)):
                for _ in range(_WORK_TIMES):
                    torch.mm(a, a, out=b)

        yield multiply


class TorchStream:
    """A stream of PyTorch's, or another library's under its hand."""

    def __init__(self, device: TorchDevice, stream: Any) -> None:
        self._device, self._stream = device, stream
        self.handle = int(stream.cuda_stream)

    def synchronize(self) -> None:
        with _as_engine_error(self._device.index):
            self._stream.synchronize()

    def event(self) -> TorchEvent:
        return TorchEvent(self._device, self._stream)


class TorchEvent:
    """A CUDA event of PyTorch's."""

    def __init__(self, device: TorchDevice, stream: Any) -> None:
        self._index, self._event, self._stream = device.index, device.event(), stream

    def record(self) -> None:
        self._event.record(self._stream)

    def wait(self) -> None:
        with _as_engine_error(self._index):
            self._event.synchronize()

    def since_ns(self, earlier: Any) -> int:
        milliseconds: float = earlier._event.elapsed_time(self._event)
        return round(milliseconds * 1e6)


def tensor_memory(index: int) -> HighWaterMark | None:
    """Return the mark of PyTorch's tensors on this GPU; None while this process has none there."""
    torch = sys.modules.get("torch")
    return _tensor_memory(index) if torch is not None and torch.cuda.is_initialized() else None


def most_tensor_bytes(index: int) -> int:
    """Return the most that they held since the mark was last reset [bytes]."""
    import torch

    return int(torch.cuda.max_memory_allocated(index))


def tensor_bytes(index: int) -> int:
    """Return what PyTorch's tensors hold on this GPU [bytes]."""
    import torch

    return int(torch.cuda.memory_allocated(index))


@cache
def _tensor_memory(index: int) -> HighWaterMark:
    import torch

    def reset() -> bool:
        torch.cuda.reset_peak_memory_stats(index)
        return True

    return HighWaterMark(lambda: most_tensor_bytes(index), lambda: tensor_bytes(index), reset)


@contextmanager
def _as_engine_error(index: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        said = f"the GPU failed at the work before: {str(error).splitlines()[0]}"
        raise broken.failure(index, said) from error
