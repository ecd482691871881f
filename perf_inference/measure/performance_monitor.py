"""What a block of code costs: time, processor, memory, and the GPU's share.

    monitor = PerformanceMonitor(device="auto")
    with monitor.measure() as metrics:
        model(image)
    print(metrics["inference_time"], metrics["peak_memory_mb"])

    wait for device ─ reset peak ─ cpu, clock ─ BLOCK ─ wait for device ─ clock, cpu ─ peak ─ everything else

What is asked of the machine lies outside the two readings of the clock. docs/measurement.md defines each key.
"""

from __future__ import annotations

import math
import platform
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from perf_inference._version import VERSION, installed
from perf_inference.devices.cuda_runtime import NoCudaError, load_runtime
from perf_inference.devices.device import Device, open_device
from perf_inference.devices.gpu import GpuFigures, GpuSpan
from perf_inference.devices.process_memory import PROCESS_MEMORY, resident_bytes
from perf_inference.errors import EngineError
from perf_inference.measure.block_file import BlockFile
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.measure.statistics import MIN_SAMPLES, Distribution

_SCALE = 1e9  # of a value, whole billionths are kept: nanoseconds of a time
_RTF_BANDS = (
    (0.1, "excellent: leaves most of the device for other work"),
    (0.5, "good: real time with room to spare"),
    (1.0, "real time, with little room: a slower clock or a second model may take it away"),
)
_TOO_SLOW = "slower than real time: the audio piles up"
_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "nvidia-ml-py")


class Metrics(GpuFigures, total=False):
    """One measurement; empty until its block has ended."""

    inference_time: float  # [s] monotonic, from the device idle to the device idle
    peak_memory_mb: float  # most resident memory of this process during the block
    peak_memory_exact: bool  # False: the kernel's mark could not be reset, and the peak is not below this
    cpu_percent: float  # of one core, this process with all threads; 200: two cores
    memory_percent: float  # resident memory of this process at the block's end, of the machine's
    device: str


class PerformanceMonitor:
    """Measures blocks of code, and summarises those that it has measured; use it from as many threads as you like.

    Time, processor and memory are the process's: of measurements that overlap, each has the others' work in it.
    """

    def __init__(
        self,
        device: str = "auto",
        clocks: Clocks = CLOCKS,
        cpu_ns: Callable[[], int] = time.process_time_ns,
        *,
        output_dir: str | Path | None = None,
        session_time: str = "",
        auto_save_interval: int = 10,
    ) -> None:
        """Choose the device that is waited for, and where the blocks are kept.

        Args:
            device: `auto` (the first GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.
            output_dir: each block is appended to `performance_timings_<session_time>.jsonl` there, and `close` writes
                `performance_summary_<session_time>.json`; None: no file.
            session_time: YYYYmmdd_HHMMSS; empty: now.
            auto_save_interval: blocks from one writing to the next.

        Raises:
            ConfigError: that device is not here, or the directory cannot be written.
        """
        self.device: Device = open_device(device)
        self._clocks, self._cpu_ns = clocks, cpu_ns
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}
        self._measured = self._failed = 0
        self._blocks: BlockFile | None = None
        if output_dir is not None:
            self._blocks = BlockFile(Path(output_dir), session_time, auto_save_interval, self.device.name)
            weakref.finalize(self, self._blocks.close)  # what waits is written too where nobody closes

    def close(self) -> None:
        """Write the blocks that wait and the summary, where there is an `output_dir`; a second call does nothing.

        Raises:
            RecordingError: they cannot be written.
        """
        if self._blocks is not None:
            self._blocks.close()

    def __enter__(self) -> PerformanceMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def measure(self) -> Iterator[Metrics]:
        """Measure the block; the mapping it is given is filled when it ends, also by an exception.

        A block that raises does not enter the summary but is counted there; its exception goes on.

        Raises:
            EngineError: the device failed at the block's work.
            RecordingError: the block cannot be written.
        """
        metrics: Metrics = {}
        begin_ns = self._clocks.monotonic_ns()
        block = _Block(self.device, self._clocks.monotonic_ns, self._cpu_ns)
        try:
            yield metrics
        except BaseException:
            with suppress(EngineError):  # the block's own error says more
                metrics.update(block.end())
            self._fail()
            raise
        try:
            metrics.update(block.end())
        except EngineError:
            self._fail()
            raise
        self._add(metrics)
        if self._blocks is not None:
            self._blocks.add(metrics, begin_ns)

    def summary(self) -> dict[str, Any]:
        """Return {device, n, failed}, and per key of a measurement {mean, std, p50 to p99.9, max, n}.

        `std` is the sample deviation (n - 1); percentiles that rest on too few samples are None, and so is `std` of
        one. A key that was never known is left out.
        """
        with self._lock:
            series = {key: series.summary() for key, series in self._series.items()}
            return {"device": self.device.name, "n": self._measured, "failed": self._failed, **series}

    @staticmethod
    def calculate_rtf(inference_time: float, audio_duration: float) -> float:
        """Return the real-time factor inference_time / audio_duration, both [s]: below 1 is faster than real time.

        Raises:
            ValueError: the duration is not a number above 0, or the time not one of at least 0.
        """
        if not (math.isfinite(audio_duration) and audio_duration > 0):
            raise ValueError(f"audio_duration must be a number of seconds above 0, got {audio_duration}")
        if not (math.isfinite(inference_time) and inference_time >= 0):
            raise ValueError(f"inference_time must be a number of seconds of at least 0, got {inference_time}")
        return inference_time / audio_duration

    @staticmethod
    def rtf_text(rtf: float) -> str:
        """Return a real-time factor in words, in four bands: below 0.1, below 0.5, below 1, and from 1 on.

        Raises:
            ValueError: it is not a number of at least 0.
        """
        if not (math.isfinite(rtf) and rtf >= 0):
            raise ValueError(f"rtf must be a number of at least 0, got {rtf}")
        words = next((words for limit, words in _RTF_BANDS if rtf < limit), _TOO_SLOW)
        times = f"{1 / rtf:.3g} times as fast as the audio" if rtf else "no time at all"
        return f"{words} (real-time factor {rtf:.3g}, {times})"

    @staticmethod
    def get_system_info() -> dict[str, Any]:
        """Return what the figures were measured on: cores, memory [GB], GPU, versions; None for what is not here."""
        return {
            "cpu_count": psutil.cpu_count() or 1,
            "total_memory_gb": psutil.virtual_memory().total / 1e9,
            "gpu_name": open_device("auto").gpu_name,
            "platform": platform.platform(),
            "machine": platform.machine(),
            "python_version": platform.python_version(),
            "perf_inference_version": VERSION,
            **{f"{name.replace('-', '_')}_version": installed(name) for name in _PACKAGES},
            **_cuda_versions(),
        }

    def _fail(self) -> None:
        with self._lock:
            self._failed += 1
            if self._blocks is not None:
                self._blocks.failed = self._failed

    def _add(self, metrics: Metrics) -> None:
        with self._lock:
            self._measured += 1
            for key, value in metrics.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._series.setdefault(key, _Series()).add(value)


class _Block:
    """A measurement under way."""

    def __init__(self, device: Device, monotonic_ns: Callable[[], int], cpu_ns: Callable[[], int]) -> None:
        self._device, self._monotonic_ns, self._cpu_ns = device, monotonic_ns, cpu_ns
        device.synchronize()
        self._gpu = GpuSpan(device) if device.name.startswith("cuda") else None
        self._span = PROCESS_MEMORY.begin()
        self._cpu_start_ns = cpu_ns()
        self._start_ns = monotonic_ns()

    def end(self) -> Metrics:
        try:
            self._device.synchronize()
        finally:
            time_ns = self._monotonic_ns() - self._start_ns
            busy_ns = self._cpu_ns() - self._cpu_start_ns
            peak, exact = PROCESS_MEMORY.end(self._span)
        figures = self._gpu.end() if self._gpu else GpuFigures()
        return {
            "inference_time": time_ns / 1e9,
            "peak_memory_mb": peak / 1e6,
            "peak_memory_exact": exact,
            "cpu_percent": 100 * busy_ns / max(1, time_ns),
            "memory_percent": 100 * resident_bytes() / psutil.virtual_memory().total,
            "device": self._device.name,
            **figures,
        }


class _Series:
    """The values of one key over all measurements."""

    def __init__(self) -> None:
        self._values = Distribution()
        self._mean = self._squares = 0.0

    def add(self, value: float) -> None:
        self._values.add(round(value * _SCALE))
        apart = value - self._mean  # Welford, Technometrics 4 (1962) 419
        self._mean += apart / self._values.n
        self._squares += apart * (value - self._mean)

    def summary(self) -> dict[str, float | int | None]:
        n = self._values.n
        percentiles = {f"p{percent:g}": self._values.percentile_ns(percent) for percent in MIN_SAMPLES}
        return {
            "mean": self._mean,
            "std": math.sqrt(self._squares / (n - 1)) if n > 1 else None,
            **{name: None if value is None else value / _SCALE for name, value in percentiles.items()},
            "max": self._values.max_ns / _SCALE,
            "n": n,
        }


def _cuda_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"cuda_runtime_version": None, "cuda_driver_version": None}
    with suppress(NoCudaError, EngineError):
        runtime = load_runtime()
        for key, name in zip(versions, ("cudaRuntimeGetVersion", "cudaDriverGetVersion"), strict=True):
            number = runtime.integer(name)  # 12040 is 12.4
            versions[key] = f"{number // 1000}.{number % 1000 // 10}"
    return versions
