"""The GPU's share of a measurement: memory, and what NVML says of load and temperature. What is not known is None."""

from __future__ import annotations

from functools import cache
from typing import Any, TypedDict

from perf_inference.devices import torch_device
from perf_inference.devices.device import Device


class GpuFigures(TypedDict, total=False):
    """The keys that a measurement on a GPU has beside the others."""

    gpu_memory_mb: float | None  # in use on the device at the block's end, by all processes; or on the board:
    gpu_memory_shared: bool  # the GPU and the processor share their memory (a Jetson), and the figure is of all of it
    gpu_max_memory_mb: float | None  # the most that PyTorch's tensors of this process held during the block
    gpu_memory_allocated: int | None  # [bytes] what they hold at its end, as torch.cuda.memory_allocated()
    gpu_utilization: float | None  # [%] of NVML's own window (1/6 to 1 s) before the block's end
    gpu_temperature: float | None  # [degC] at the block's end


class GpuSpan:
    """A block on a GPU, from its beginning to its end."""

    def __init__(self, device: Device) -> None:
        self._device, self._index = device, int(device.name.partition(":")[2])
        self._tensors = torch_device.tensor_memory(self._index)
        self._span = self._tensors.begin() if self._tensors else None

    def end(self) -> GpuFigures:
        """Return the figures; call it once, after the device was waited for."""
        peak = held = None
        if self._tensors and self._span:
            peak = self._tensors.end(self._span)[0]
        elif torch_device.tensor_memory(self._index):  # PyTorch came to the device during the block
            peak = torch_device.most_tensor_bytes(self._index)
        if peak is not None:
            held = torch_device.tensor_bytes(self._index)
        used = self._device.memory_used_bytes()
        utilization, temperature = _nvml(self._device.pci_bus_id)
        return {
            "gpu_memory_mb": None if used is None else used / 1e6,
            "gpu_memory_shared": self._device.shares_memory,
            "gpu_max_memory_mb": None if peak is None else peak / 1e6,
            "gpu_memory_allocated": held,
            "gpu_utilization": utilization,
            "gpu_temperature": temperature,
        }


def _nvml(pci_bus_id: str | None) -> tuple[float | None, float | None]:
    """Return (utilisation [%], temperature [degC]) of the device at this address."""
    nvml = _start_nvml()
    if nvml is None or pci_bus_id is None:
        return None, None
    try:  # CUDA counts its devices in another order than NVML; the address is the same for both
        handle = nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id.encode())
    except nvml.NVMLError:
        return None, None

    def read(name: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, name)(handle, *arguments)
        except nvml.NVMLError:
            return None

    rates = read("nvmlDeviceGetUtilizationRates")
    temperature = read("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU)
    return None if rates is None else float(rates.gpu), None if temperature is None else float(temperature)


@cache
def _start_nvml() -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, or no driver: pynvml's own errors exist only once it is imported
        return None
    return pynvml
