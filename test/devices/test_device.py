"""Waiting for a device: on the CPU, through a CUDA runtime whose device is a clock, and through the real one."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest
from support import fake_cuda

from perf_inference import PerformanceMonitor
from perf_inference.devices import cuda_driver, cuda_runtime, device, gpu, torch_device
from perf_inference.devices.cuda_runtime import CudaDevice, CudaRuntime, NoCudaError
from perf_inference.devices.device import CpuDevice, DeviceSplit, open_device
from perf_inference.errors import ConfigError, EngineError
from perf_inference.measure import selftest
from perf_inference.measure.selftest import SelfTest, self_test

MS = 1_000_000


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libcudart that needs no GPU."""
    return fake_cuda.compiled(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def runtime(fake_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaRuntime]:
    """Two fake GPUs, and no other CUDA runtime or PyTorch to be found."""
    monkeypatch.setattr(cuda_runtime, "candidates", lambda: iter([str(fake_library)]))
    monkeypatch.setattr(torch_device, "loaded", lambda: False)
    cuda_runtime.load_runtime.cache_clear()
    with fake_cuda.in_force(fake_library, monkeypatch):
        yield cuda_runtime.load_runtime()
    cuda_runtime.load_runtime.cache_clear()


def give_work(runtime: CudaRuntime, stream: int, ms: float) -> None:
    """Give the stream so many ms of work: the fake device fills a KiB in a nanosecond."""
    runtime.call("cudaMemsetAsync", None, 0, round(ms * 1e6 * 1024), stream)


def elapsed_ms(start_ns: int) -> float:
    return (time.monotonic_ns() - start_ns) / MS


# On a CPU


def test_on_a_cpu_there_is_nothing_to_wait_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert selftest.main(["cpu"]) == 0
    assert "nothing to wait for" in capsys.readouterr().out


def test_the_split_of_an_inference_on_a_clock_that_the_test_holds() -> None:
    # t [ms]  0 ------ 3 ----------- 13 - 14        then the next one, without a copy back: 20 -- 21 - 25
    #         [ to it ][ compute ... ][ from it ]
    now_ns = 0
    split = DeviceSplit(CpuDevice(lambda: now_ns).stream())
    split.begin()
    for part, at_ms in (("host_to_device", 3), ("compute", 13), ("device_to_host", 14)):
        now_ns = at_ms * MS
        split.mark(part)
    assert split.durations_ns() == {"host_to_device": 3 * MS, "compute": 10 * MS, "device_to_host": 1 * MS}
    now_ns = 20 * MS
    split.begin()
    now_ns = 21 * MS
    split.mark("host_to_device")
    now_ns = 25 * MS
    split.mark("compute")
    assert split.durations_ns() == {"host_to_device": 1 * MS, "compute": 4 * MS}


# Through the CUDA runtime, with a device that is a clock


def test_auto_takes_the_first_gpu_that_the_runtime_finds(runtime: CudaRuntime) -> None:
    assert runtime.devices == 2
    assert [open_device(name).name for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "cpu",
    ]
    assert open_device("cuda:1").pci_bus_id == "0000:02:00.0"
    with pytest.raises(ConfigError, match=r"device 'cuda:2' is not here: .* finds 2 device\(s\), cuda:0 to cuda:1"):
        open_device("cuda:2")


def test_the_device_is_waited_for(runtime: CudaRuntime) -> None:
    gpu0 = open_device("cuda:0")
    start_ns = time.monotonic_ns()
    give_work(runtime, 0, 20)
    gpu0.synchronize()
    assert elapsed_ms(start_ns) >= 20
    gpu0.synchronize()
    assert gpu0.memory_used_bytes() == 2_000_000_000


@pytest.mark.timing
def test_a_stream_is_charged_its_own_work_only(runtime: CudaRuntime) -> None:
    # short  [ 10 ms ]
    # long   [ ....... 300 ms ....... ]
    gpu0 = open_device("cuda:0")
    short, long = gpu0.stream(), gpu0.stream()
    assert len({short.handle, long.handle, 0}) == 3
    splits = []
    start_ns = time.monotonic_ns()
    for stream, ms in ((long, 300), (short, 10)):
        split = DeviceSplit(stream)
        split.begin()
        give_work(runtime, stream.handle, ms)
        split.mark("compute")
        splits.append(split)
    short.synchronize()
    assert 9.9 <= elapsed_ms(start_ns) < 300
    assert 9.9 * MS < splits[1].durations_ns()["compute"] < 150 * MS
    assert elapsed_ms(start_ns) < 300  # the long one still runs
    assert splits[0].durations_ns()["compute"] > 299 * MS
    assert elapsed_ms(start_ns) >= 299


def test_a_stream_of_another_library_is_waited_for_and_left_to_it(runtime: CudaRuntime) -> None:
    gpu0 = open_device("cuda:0")
    owned = gpu0.stream()
    start_ns = time.monotonic_ns()
    give_work(runtime, owned.handle, 15)
    borrowed = gpu0.stream(owned.handle)
    borrowed.synchronize()
    assert elapsed_ms(start_ns) >= 15
    del borrowed
    gc.collect()
    owned.synchronize()  # a destroyed stream would crash here


@pytest.mark.timing
def test_waiting_gives_the_gil_away(runtime: CudaRuntime) -> None:
    gpu0, waiting, done = open_device("cuda:0"), threading.Event(), []

    def wait() -> None:
        waiting.set()
        gpu0.synchronize()
        done.append(True)

    give_work(runtime, 0, 300)
    thread = threading.Thread(target=wait)
    start_ns = time.monotonic_ns()
    thread.start()
    assert waiting.wait(5)
    while elapsed_ms(start_ns) < 50:
        pass
    assert elapsed_ms(start_ns) < 290  # Python went on meanwhile
    assert not done
    thread.join()
    assert done


def test_the_calling_threads_device_is_left_as_it_was(runtime: CudaRuntime) -> None:
    runtime.call("cudaSetDevice", 0)
    gpu1 = open_device("cuda:1")
    gpu1.synchronize()
    gpu1.stream(0).event().record()
    assert runtime.integer("cudaGetDevice") == 0


def test_an_engine_on_one_gpu_makes_no_context_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # thread      nothing | in gpu1 ... | nothing again          a call of the runtime would choose device 0
    library = fake_cuda.compiled(tmp_path)
    with fake_cuda.in_force(library, monkeypatch) as fake:
        gpu1 = CudaDevice(CudaRuntime(str(library)), 1)
        assert (fake.fakeContext(0), fake.fakeContext(1)) == (0, 0)  # finding it takes no memory

        def use() -> None:
            split = DeviceSplit(gpu1.stream())
            split.begin()
            split.mark("compute")
            assert split.durations_ns()["compute"] >= 0
            gpu1.synchronize()
            assert gpu1.memory_used_bytes() == 2_000_000_000
            with gpu1.work() as work:
                work()

        use()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        gc.collect()  # streams and events are destroyed on it too
        assert (fake.fakeContext(0), fake.fakeContext(1)) == (0, 1)


def test_a_threads_own_context_comes_back(runtime: CudaRuntime) -> None:
    runtime.call("cudaSetDevice", 0)
    gpu1 = open_device("cuda:1")
    assert isinstance(gpu1, CudaDevice)
    with gpu1.selected():
        with gpu1.selected():
            assert runtime.integer("cudaGetDevice") == 1
        assert runtime.integer("cudaGetDevice") == 1
        assert gpu1.runtime.driver.is_current(1)
    assert runtime.integer("cudaGetDevice") == 0


def test_a_failed_call_leaves_no_error_for_others(runtime: CudaRuntime) -> None:
    library = ctypes.CDLL(runtime.path)
    with pytest.raises(EngineError, match=r"^cudaMalloc: out of memory \(cudaError 2\)$"):
        runtime.pointer("cudaMalloc", 1 << 50)
    assert library.cudaPeekAtLastError() == 0


def test_a_gpu_without_an_address_is_a_gpu(runtime: CudaRuntime) -> None:
    library = ctypes.CDLL(runtime.path)
    library.fakeNoAddress(1)
    try:
        gpu0 = open_device("cuda:0")
    finally:
        library.fakeNoAddress(0)
    assert (gpu0.name, gpu0.pci_bus_id, gpu0.gpu_name) == ("cuda:0", None, "Fake 0")
    assert gpu._nvml(gpu0.pci_bus_id) == (None, None)
    gpu0.synchronize()


def test_a_boards_gpu_shares_its_memory(runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    board = psutil.virtual_memory()
    library = ctypes.CDLL(runtime.path)
    gpu0 = open_device("cuda:0")
    assert not gpu0.shares_memory
    library.fakeBoard(1)
    try:
        assert gpu0.shares_memory
        used = gpu0.memory_used_bytes()
        with PerformanceMonitor("cuda:0").measure() as metrics:
            pass
    finally:
        library.fakeBoard(0)
    assert used is not None
    assert abs(used - (board.total - board.available)) < 500e6  # not cudaMemGetInfo's 2 GB of 8
    assert metrics["gpu_memory_shared"] is True


def test_waiting_may_sleep_instead_of_spinning(runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ctypes.CDLL(runtime.path)
    library.fakeEventFlags.argtypes = (ctypes.c_void_p,)
    spinning, blocking = CudaDevice(runtime, 1), CudaDevice(runtime, 1, blocking=True)
    events = [one.stream().event() for one in (spinning, blocking)]
    assert [library.fakeEventFlags(event.handle) for event in events] == [0, 1]
    assert library.fakeFlags(1) == 4  # cudaDeviceScheduleBlockingSync: for streams, and for other libraries
    assert library.fakeFlags(0) == 0


def test_a_failing_device_is_an_engine_error_that_says_what(runtime: CudaRuntime) -> None:
    fail = ctypes.CDLL(runtime.path).fakeBreak
    fail(1)
    try:
        with pytest.raises(EngineError, match=r"cudaDeviceSynchronize: an illegal memory access .*\(cudaError 700\)"):
            open_device("cuda:0").synchronize()
    finally:
        fail(0)


def test_the_self_test_shows_the_gap(runtime: CudaRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    # the work of the self-test keeps the fake device busy for 200 x 65.5 us
    result = self_test(open_device("cuda:0"))
    assert result.synchronised_ns >= 13 * MS
    assert result.on_device_ns >= 13 * MS
    assert result.gap_ns == result.synchronised_ns - result.unsynchronised_ns > 0
    assert selftest.main(["cuda:0"]) == 0
    assert "a clock read without waiting misses" in capsys.readouterr().out


def test_the_self_test_says_what_it_read() -> None:
    text = str(SelfTest("cuda:0", "libcudart.so.13", 1 * MS, 31 * MS, 30 * MS))
    assert "returned after 1.000 ms" in text
    assert "misses 30.000 ms" in text


def test_a_measurement_on_a_gpu_waits_and_has_its_keys(runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_start_nvml", lambda: FakeNvml)
    monkeypatch.setattr(torch_device, "tensor_memory", lambda index: None)
    monitor = PerformanceMonitor("auto")
    give_work(runtime, 0, 30)  # before the block: not its time
    with monitor.measure() as metrics:
        give_work(runtime, 0, 20)
    assert metrics["inference_time"] >= 0.02
    assert metrics["device"] == "cuda:0"
    assert (metrics["gpu_memory_mb"], metrics["gpu_utilization"], metrics["gpu_temperature"]) == (2000, 37, 54)
    assert metrics["gpu_max_memory_mb"] is metrics["gpu_memory_allocated"] is None  # no PyTorch here: not known
    assert "gpu_max_memory_mb" not in monitor.summary()
    info = monitor.get_system_info()
    assert (info["cuda_runtime_version"], info["cuda_driver_version"]) == ("12.4", "13.0")


class FakeNvml:
    """pynvml's answers for the GPU at 0000:01:00.0; it does not tell its power."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception): ...

    @staticmethod
    def nvmlDeviceGetHandleByPciBusId(bus_id: bytes) -> str:  # noqa: N802
        if bus_id != b"0000:01:00.0":
            raise FakeNvml.NVMLError("not found")
        return "handle"

    @staticmethod
    def nvmlDeviceGetUtilizationRates(handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=37, memory=5)

    @staticmethod
    def nvmlDeviceGetTemperature(handle: str, sensor: int) -> int:  # noqa: N802
        return 54


def test_what_nvml_does_not_know_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_start_nvml", lambda: FakeNvml)
    assert gpu._nvml("0000:01:00.0") == (37.0, 54.0)
    assert gpu._nvml("0000:09:00.0") == gpu._nvml(None) == (None, None)
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetUtilizationRates", lambda handle: _raise(FakeNvml.NVMLError("no")))
    assert gpu._nvml("0000:01:00.0") == (None, 54.0)


def _raise(error: Exception) -> None:
    raise error


# The real CUDA runtime, where the toolkit is


def test_the_real_runtime_has_every_function_and_says_why_it_finds_no_device() -> None:
    found = False
    for path in cuda_runtime.candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        missing = [name for name in (*cuda_runtime._SIGNATURES, "cudaGetErrorString") if not hasattr(library, name)]
        assert not missing, path
        count = ctypes.c_int()
        if library.cudaGetDeviceCount(ctypes.byref(count)) == 0:
            pytest.skip(f"{path} finds {count.value} GPU(s)")
        with pytest.raises(NoCudaError, match=r"cudaGetDeviceCount: .*\(cudaError \d+\)"):
            CudaRuntime(path)
        found = True
    if not found:
        pytest.skip("no libcudart here")
    cuda_runtime.load_runtime.cache_clear()
    with pytest.raises(NoCudaError, match=r"cudaError \d+"):
        cuda_runtime.load_runtime()


def test_a_library_that_is_no_cuda_runtime_is_passed_over(fake_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda.in_force(fake_library, monkeypatch):
        assert cuda_runtime.first_usable(["/nowhere/libcudart.so", "libm.so.6", str(fake_library)]).devices == 2
    monkeypatch.setattr(cuda_driver, "LIBRARY", "/nowhere/libcuda.so")
    with pytest.raises(NoCudaError, match=r"there is a device, but no driver's libcuda\.so\.1 that loads"):
        cuda_runtime.first_usable([str(fake_library)])
    monkeypatch.delenv("FAKE_CUDA_DEVICES")
    with pytest.raises(NoCudaError, match="no CUDA-capable device is detected"):
        cuda_runtime.first_usable(["/nowhere/libcudart.so", str(fake_library)])
    with pytest.raises(NoCudaError, match=r"no libcudart\.so was found; install"):
        cuda_runtime.first_usable(["/nowhere/libcudart.so"])


def test_without_a_gpu_auto_is_the_cpu_and_cuda_says_what_is_wrong(
    fake_library: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda_runtime, "candidates", lambda: iter([str(fake_library)]))
    monkeypatch.setattr(torch_device, "loaded", lambda: False)
    monkeypatch.setattr(torch_device, "installed_with_cuda", lambda: False)
    cuda_runtime.load_runtime.cache_clear()
    assert open_device("auto").name == "cpu"
    with pytest.raises(ConfigError, match=r"device 'cuda:1' is not here: .*no CUDA-capable device .*set device: cpu"):
        open_device("cuda:1")
    assert selftest.main(["cuda"]) == 1
    assert "no CUDA-capable device" in capsys.readouterr().err


def test_the_runtime_of_pip_is_found_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidia/cuda_runtime/lib/libcudart.so.12", "nvidia/cu13/lib/libcudart.so.13"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(cuda_runtime, "_loaded", lambda: iter(["/opt/libcudart.so.12", "/opt/libcudart.so.12"]))
    found = list(cuda_runtime.candidates())
    assert found[0] == "/opt/libcudart.so.12"
    assert {Path(path).name for path in found[1:3]} == {"libcudart.so.12", "libcudart.so.13"}
    assert str(tmp_path) in found[1]
    assert found[3] == "libcudart.so.13"  # by LD_LIBRARY_PATH and ldconfig


# Through PyTorch: its own calls noted, as there is no GPU


class FakeCuda(ModuleType):
    """torch.cuda of a machine with one GPU; what is asked of it is noted."""

    def __init__(self) -> None:
        super().__init__("torch.cuda")
        self.calls: list[Any] = []
        self.held = self.most = 0
        self.broken = False
        self.Stream = lambda index: SimpleNamespace(cuda_stream=7, synchronize=lambda: self.calls.append("stream 7"))
        self.ExternalStream = lambda handle, device: SimpleNamespace(
            cuda_stream=handle, synchronize=lambda: self.calls.append(f"stream {handle}")
        )
        self.default_stream = lambda index: SimpleNamespace(cuda_stream=0)
        self.is_available = self.is_initialized = lambda: True
        self.device_count = lambda: 1
        self.get_device_properties = lambda index: SimpleNamespace(
            name="Fake GPU", pci_domain_id=0, pci_bus_id=1, pci_device_id=0
        )
        self.mem_get_info = lambda index: (5_000_000_000, 8_000_000_000)
        self.memory_allocated = lambda index: self.held
        self.max_memory_allocated = lambda index: self.most

    def synchronize(self, index: int) -> None:
        self.calls.append(index)
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")

    def reset_peak_memory_stats(self, index: int) -> None:
        self.most = self.held

    def hold(self, *amounts: int) -> None:
        for amount in amounts:
            self.held = amount
            self.most = max(self.most, amount)


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    torch, cuda = ModuleType("torch"), FakeCuda()
    torch.cuda = cuda  # type: ignore[attr-defined]
    torch.__version__ = "2.9.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    torch_device._tensor_memory.cache_clear()
    yield cuda
    torch_device._tensor_memory.cache_clear()


def test_a_loaded_pytorch_is_what_is_asked(fake_torch: FakeCuda) -> None:
    device = open_device("auto")
    assert (device.name, device.via, device.gpu_name) == ("cuda:0", "PyTorch 2.9.0", "Fake GPU")
    assert device.pci_bus_id == "00000000:01:00.0"
    device.synchronize()
    device.stream(1234).synchronize()
    device.stream().synchronize()
    assert fake_torch.calls == [0, "stream 1234", "stream 7"]
    assert device.stream(0).handle == 0
    fake_torch.broken = True
    with pytest.raises(EngineError, match=r"an illegal memory access was encountered$"):
        device.synchronize()


def test_the_peak_of_tensors_is_the_blocks_also_when_nested(
    fake_torch: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_start_nvml", lambda: None)
    monitor = PerformanceMonitor("cuda")
    fake_torch.hold(900_000_000, 100_000_000)
    with monitor.measure() as outer:
        fake_torch.hold(700_000_000, 200_000_000)
        with monitor.measure() as inner:
            fake_torch.hold(300_000_000, 150_000_000)
    assert (outer["gpu_max_memory_mb"], inner["gpu_max_memory_mb"]) == (700, 300)
    assert (inner["gpu_memory_mb"], inner["gpu_memory_allocated"]) == (3000, 150_000_000)
    assert inner["gpu_utilization"] is inner["gpu_temperature"] is None  # no NVML: not known, not 0
    assert monitor.summary()["gpu_max_memory_mb"]["max"] == 700
    assert fake_torch.calls == [0, 0, 0, 0]


@pytest.mark.torch
def test_pytorch_has_what_is_asked_of_it() -> None:
    import torch

    for name in (
        "synchronize", "stream", "Stream", "ExternalStream", "default_stream", "Event", "mem_get_info", "device_count",
        "memory_allocated", "max_memory_allocated", "reset_peak_memory_stats", "get_device_properties",
        "is_available", "is_initialized",
    ):  # fmt: skip
        assert hasattr(torch.cuda, name), name
    if not torch.cuda.is_available():
        assert torch_device.count() == 0
        assert device.open_device("auto").name == "cpu" or isinstance(device.open_device("auto"), CudaDevice)
