"""Memory on both sides and graphs, through a CUDA runtime whose device is a clock: it shows our calls, not a GPU's."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support import fake_cuda

from perf_inference.devices import cuda_runtime
from perf_inference.devices.cuda_runtime import CudaDevice, CudaRuntime
from perf_inference.devices.device import DeviceSplit
from perf_inference.engines.tensorrt.cuda_memory import CudaArray, CudaGraph
from perf_inference.errors import BrokenDeviceError, EngineError

F32 = np.dtype(np.float32)
MS = 1_000_000


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaDevice]:
    """The second of two fake GPUs; at the end all that was taken from it has been given back."""
    library = fake_cuda.compiled(tmp_path)
    with fake_cuda.in_force(library, monkeypatch):
        yield CudaDevice(CudaRuntime(str(library)), 1)
        gc.collect()
        assert held(library) == 0


def held(library: Path | str) -> int:
    return int(ctypes.CDLL(str(library)).fakeHeld())


def work(gpu: CudaDevice, stream: cuda_runtime.CudaStream, ms: float) -> Callable[[], None]:
    """Return work of so many ms: the fake device fills a KiB in a nanosecond."""
    return lambda: gpu.call("cudaMemsetAsync", None, 0, round(ms * MS * 1024), stream.handle)


def test_the_compute_capability_is_told(gpu: CudaDevice) -> None:
    assert gpu.compute_capability == "8.7"


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)])
def test_an_array_goes_there_and_back(gpu: CudaDevice, shape: tuple[int, ...]) -> None:
    stream, array = gpu.stream(), CudaArray(gpu, shape, F32)
    assert (array.host.shape, array.host.dtype, array.host.flags.writeable) == (shape, F32, True)
    array.host[...] = 7
    array.to_device(stream)
    array.host[...] = 0
    array.to_host(stream)
    stream.synchronize()
    assert (array.host == 7).all()


@pytest.mark.slow
def test_the_hosts_memory_stays_while_it_is_looked_at(gpu: CudaDevice) -> None:
    array = CudaArray(gpu, (1000,), F32)
    view = array.host[10:20]
    view[...] = 3
    assert held(gpu.via) == 2
    del array
    gc.collect()
    assert held(gpu.via) == 1
    assert (view == 3).all()
    del view
    gc.collect()
    assert held(gpu.via) == 0


def test_work_in_a_graph_is_done_at_each_launch_and_not_when_it_is_caught(gpu: CudaDevice) -> None:
    # catch: nothing       launch: [ 4 ms ]       launch: [ 4 ms ]
    stream = gpu.stream()
    given = ctypes.CDLL(gpu.via).fakeWork
    given.restype = ctypes.c_double
    graph = CudaGraph(stream, work(gpu, stream, 4))
    assert given() == 0
    split = DeviceSplit(stream)
    for launches in (1, 2):
        split.begin()
        graph.launch()
        split.mark("compute")
        assert split.durations_ns()["compute"] > 3.9 * MS
        assert given() == pytest.approx(launches * 0.004)


def test_work_that_fails_leaves_the_stream_as_it_was(gpu: CudaDevice) -> None:
    stream = gpu.stream()

    def fail() -> None:
        raise EngineError("no")

    with pytest.raises(EngineError, match=r"^no$"):
        CudaGraph(stream, fail)
    array, broken = CudaArray(gpu, (3,), F32), ctypes.CDLL(gpu.via).fakeBreak
    broken(1)
    try:
        with pytest.raises(EngineError, match=r"cudaStreamEndCapture: .*\(cudaError 901\)"):
            CudaGraph(stream, lambda: None)
        with pytest.raises(EngineError, match=r"cudaMemcpyAsync: an illegal memory access"):
            array.to_device(stream)
    finally:
        broken(0)
    CudaGraph(stream, work(gpu, stream, 0.01)).launch()
    stream.synchronize()


def test_a_runtime_without_graphs_says_so(gpu: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.runtime, "has_graphs", False)
    with pytest.raises(EngineError, match=r"libcudart.so.0 has no CUDA graphs; they came with CUDA 11.4"):
        CudaGraph(gpu.stream(), lambda: None)


def test_the_real_runtime_has_every_function_of_graphs() -> None:
    for path in cuda_runtime.candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        missing = [name for name in cuda_runtime.GRAPH_SIGNATURES if not hasattr(library, name)]
        assert not missing, path
        return
    pytest.skip("no libcudart here")


def test_what_goes_after_cuda_broke_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, raised = fake_cuda.compiled(tmp_path), list[str]()
    monkeypatch.setattr(sys, "unraisablehook", lambda said: raised.append(str(said.exc_value)))
    with fake_cuda.in_force(library, monkeypatch) as fake:
        gpu = CudaDevice(CudaRuntime(str(library)), 0)
        stream, array = gpu.stream(), CudaArray(gpu, (3,), F32)
        event, graph = stream.event(), CudaGraph(stream, work(gpu, stream, 0.01))
        fake.fakeBreak(1)
        with pytest.raises(
            BrokenDeviceError, match=r"cudaMemcpyAsync: .*\(cudaError 700\); CUDA is broken .*restart it$"
        ):
            array.to_device(stream)
        del array, event, graph, stream
        gc.collect()
    assert raised == []
    assert held(library) == 2  # both sides of the array: nothing can be freed any more
