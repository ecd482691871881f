"""Calling a PyTorch function with NumPy arrays: on the CPU without a copy, on a GPU through pinned buffers.

The function takes tensors and returns a tuple of tensors (`torch_outputs.flat` makes one of a module). Both calls
have `run(arrays) -> arrays`, `owned` (whether what it returns stays valid after the next), `parts_ns` and `note`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy import copyto
from numpy.typing import NDArray

from perf_inference.devices import broken
from perf_inference.devices.device import Device, DeviceSplit
from perf_inference.engines.engine import NO_PARTS

Function = Callable[..., tuple[torch.Tensor, ...]]
Arrays = Sequence[NDArray[Any]]
_DEFAULT_THREADS = torch.get_num_threads()
_MOST_PLANS = 4  # shapes whose buffers and graphs are kept; each holds the memory of a whole inference
_WARM_UPS = 3  # before a graph is captured: libraries choose their kernels and allocate in the first calls


class CpuCall:
    """Runs the function on the CPU; a tensor shares its array's memory.

    `threads` is what PyTorch calls intra-op threads. It keeps one number per calling thread (OpenMP's), and one for the
    whole process that threads start with; MKL knows only the latter. So each call sets its engine's number where
    another is in force. That costs nothing while a worker thread runs one engine, as each worker does; what two engines
    that differ in it share is MKL's, the last one set.
    """

    owned = True
    parts_ns = NO_PARTS
    note: Mapping[str, str] = {}

    def __init__(self, function: Function, threads: int = 0, kept: frozenset[int] = frozenset()) -> None:
        """Take the function.

        Args:
            kept: addresses of storages that outlive a call (weights); outputs that lie in one are copied.
        """
        self._function, self._kept = function, kept
        self._threads = threads or _DEFAULT_THREADS
        self._copies_inputs = False  # once the function has been seen to write to them, as it is in the trial

    def run(self, arrays: Arrays) -> list[NDArray[Any]]:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        inputs = [self._tensor(array) for array in arrays]
        with torch.inference_mode():
            outputs = self._function(*inputs)
            self._copies_inputs = self._copies_inputs or any(tensor._version for tensor in inputs)
            others = self._kept.union([tensor.untyped_storage().data_ptr() for tensor in inputs])
            return [_own(tensor, others).numpy() for tensor in outputs]

    def close(self) -> None: ...

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        flags = array.flags
        if self._copies_inputs or not (flags.writeable and flags.c_contiguous and flags.aligned):
            array = array.copy()  # PyTorch has no read-only tensors, and none with negative strides
        return torch.from_numpy(array)


def _own(tensor: torch.Tensor, others: frozenset[int]) -> torch.Tensor:
    tensor = tensor.detach().contiguous()
    return tensor.clone() if tensor.untyped_storage().data_ptr() in others else tensor


@dataclass
class _Plan:
    """What one set of input shapes needs."""

    staged: list[torch.Tensor]  # pinned, on the host
    inputs: list[torch.Tensor]  # on the device
    replay: Callable[[], tuple[torch.Tensor, ...]]  # runs the function on `inputs`
    fetched: list[torch.Tensor] = field(default_factory=list)  # pinned, on the host


class StagedCall:
    """Runs the function on a GPU: copies in, runs and copies out on a stream of its own, and waits for that alone.

    The buffers of a set of shapes are used again, so that the outputs are valid until the next call only. On a CPU it
    does the same steps without pinning and graphs, for the tests.
    """

    owned = False

    def __init__(self, function: Function, device: Device, cuda_graph: bool) -> None:
        self._function = function
        self._device = torch.device(device.name)
        self._on_gpu = self._device.type == "cuda"
        self._index = broken.index_of(device.name) if self._on_gpu else None
        self._stream = device.stream()
        self._split = DeviceSplit(self._stream)
        self._current = torch.cuda.ExternalStream(self._stream.handle, self._device) if self._on_gpu else None
        self._cuda_graph = cuda_graph and self._on_gpu
        self._plans: OrderedDict[tuple[tuple[int, ...], ...], _Plan] = OrderedDict()
        self.parts_ns: Mapping[str, int] = NO_PARTS
        self.note: dict[str, str] = {}

    def run(self, arrays: Arrays) -> list[NDArray[Any]]:
        if self._index is None:
            return self._run(arrays)
        broken.check(self._index)
        try:
            return self._run(arrays)
        except Exception:
            self._keep_if_broken(self._index)
            raise

    def close(self) -> None:
        """Free buffers and graphs; also after the device ran out of memory, and the call may be used again."""
        if self._index is not None and self._keep_if_broken(self._index):
            self._plans = OrderedDict()
            return
        self._plans.clear()
        if self._on_gpu:
            torch.cuda.empty_cache()

    def _keep_if_broken(self, index: int) -> bool:
        return broken.keep_if_broken(index, self._function, self._split, *self._plans.values())

    def _run(self, arrays: Arrays) -> list[NDArray[Any]]:
        shapes = tuple(array.shape for array in arrays)
        with torch.inference_mode(), self._on_stream():
            plan = self._plans.get(shapes) or self._add_plan(shapes, arrays)
            self._plans.move_to_end(shapes)
            for staged, array in zip(plan.staged, arrays, strict=True):
                copyto(staged.numpy(), array)
            self._split.begin()
            for tensor, staged in zip(plan.inputs, plan.staged, strict=True):
                tensor.copy_(staged, non_blocking=True)
            self._split.mark("host_to_device")
            outputs = plan.replay()
            self._split.mark("compute")
            self._fetch(plan, outputs)
            self._split.mark("device_to_host")
            self.parts_ns = self._split.durations_ns()  # waits for this stream, as far as the last copy
        return [tensor.numpy() for tensor in plan.fetched]

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._current) if self._on_gpu else nullcontext()

    def _add_plan(self, shapes: tuple[tuple[int, ...], ...], arrays: Arrays) -> _Plan:
        if self._index is not None and broken.is_broken(self._index):
            broken.check(self._index)  # before page-locked memory is taken, which could not be given back
        while len(self._plans) >= _MOST_PLANS:
            self._plans.popitem(last=False)
        staged = [self._host_like(torch.empty(a.shape, dtype=_dtype(a))) for a in arrays]
        inputs = [torch.zeros_like(tensor, device=self._device) for tensor in staged]
        plan = self._plans[shapes] = _Plan(staged, inputs, lambda: self._function(*inputs))
        if self._cuda_graph:
            self._capture(plan)
        return plan

    def _capture(self, plan: _Plan) -> None:
        """Let the plan replay a graph; a function that cannot be captured is run as before, and `note` says why."""
        for _ in range(_WARM_UPS):
            plan.replay()
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: engines on other threads may allocate meanwhile
            with torch.cuda.graph(graph, stream=self._current, capture_error_mode="thread_local"):
                outputs = plan.replay()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._cuda_graph = False
            self.note["cuda_graph"] = f"no: {str(error).splitlines()[0]}"
            return

        def replay() -> tuple[torch.Tensor, ...]:
            graph.replay()
            return outputs

        plan.replay = replay
        self.note["cuda_graph"] = "yes"

    def _fetch(self, plan: _Plan, outputs: tuple[torch.Tensor, ...]) -> None:
        have = [(tensor.shape, tensor.dtype) for tensor in plan.fetched]
        if have != [(tensor.shape, tensor.dtype) for tensor in outputs]:  # the first time, or they depend on the data
            plan.fetched = [self._host_like(tensor) for tensor in outputs]
        for host, tensor in zip(plan.fetched, outputs, strict=True):
            host.copy_(tensor, non_blocking=True)

    def _host_like(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._on_gpu)


def _dtype(array: NDArray[Any]) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, array.dtype.name)
    return dtype
