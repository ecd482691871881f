"""Threads: what a wait costs the processor, and in which context a thread works; PyTorch is not loaded here."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np

from perf_inference.bench.gpu_check.found import gpu, ms, spread
from perf_inference.bench.gpu_check.section import Outcome, Table
from perf_inference.bench.gpu_check.waiting import Work
from perf_inference.devices.cuda_runtime import CudaDevice
from perf_inference.engines.tensorrt.cuda_memory import CudaArray


def waiting_lets_python_run() -> Outcome:
    """While one thread waits for the device another counts; and what the wait costs the processor."""
    device = gpu()
    stream, work = device.stream(), Work(device)
    work.give(stream, 5)
    stream.synchronize()
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    work.give(stream, 800)
    began_ns, began_cpu_ns, first = time.perf_counter_ns(), time.thread_time_ns(), counted[0]
    stream.synchronize()
    took_ns, cpu_ns, turns = time.perf_counter_ns() - began_ns, time.thread_time_ns() - began_cpu_ns, counted[0] - first
    stop.set()
    thread.join()
    work.close()
    share = 100 * cpu_ns / max(took_ns, 1)
    said = f"in a wait of {ms(took_ns)} another thread ran {turns} times, and the wait took {share:.0f} % of a core"
    return Outcome(said, turns > took_ns / 1e6 / 4, {"cpu_pct": share, "wait_ns": took_ns, "turns": turns})


def another_thread() -> Outcome:
    """Use and free what one thread made in another, as a node's worker does."""
    device = gpu()
    stream = device.stream()
    array = CudaArray(device, (256,), np.dtype(np.float32))
    seen: list[float] = []

    def use() -> None:
        array.host[...] = 7
        with device.selected():
            array.to_device(stream)
            array.to_host(stream)
            stream.synchronize()
        seen.append(float(array.host.sum()))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    return Outcome(f"another thread copied with the first one's stream and array: {seen}", seen == [7.0 * 256])


def no_context_is_left_current() -> Outcome:
    """Work on the device in a thread that has no context, and find it without one afterwards."""
    device, seen = gpu(), list[object]()

    def current() -> int | None:
        found = ctypes.c_void_p()
        device.runtime.driver.call("cuCtxGetCurrent", ctypes.byref(found))
        return found.value

    def use() -> None:
        seen.append(current())
        array, stream = CudaArray(device, (256,), np.dtype(np.float32)), device.stream()
        array.host[...] = 3
        array.to_device(stream)
        array.host[...] = 0
        array.to_host(stream)
        stream.synchronize()
        event = stream.event()
        event.record()
        event.wait()
        seen.extend((float(array.host.sum()), device.runtime.integer("cudaGetDevice"), current()))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    said = f"context before, sum, cudaGetDevice, context after: {seen}"
    return Outcome(f"a thread's {said}", seen == [None, 3.0 * 256, 0, None])


def sleeping_waits() -> Outcome:
    """The same wait with `blocking_wait`: what it costs the processor and how much later it ends."""
    rows, ok = [], True
    for blocking in (False, True):
        device = CudaDevice(gpu().runtime, 0, blocking)
        stream, work = device.stream(), Work(device)
        begin, end = stream.event(), stream.event()
        late_ns, busy = [], []
        for times in (5, *([40] * 30)):
            begin.record()
            work.give(stream, times)
            end.record()
            began_ns, began_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
            end.wait()
            took_ns = time.perf_counter_ns() - began_ns
            busy.append(100 * (time.thread_time_ns() - began_cpu_ns) / max(took_ns, 1))
            began_ns = time.perf_counter_ns()
            begin.record()
            end.record()
            end.wait()
            late_ns.append(time.perf_counter_ns() - began_ns)
        cpu_pct = float(np.median(busy[1:]))
        rows.append(("sleeps" if blocking else "spins", f"{cpu_pct:.0f} %", *spread(late_ns[1:])))
        ok = ok and (cpu_pct < 50) is blocking
        work.close()
    head = Table(("wait", "of a core, while it lasts", "an empty wait, p50 [ms]", "p99", "max", "times"), rows)
    said = (
        f"a wait that sleeps takes {rows[1][1]} of a core, one that spins {rows[0][1]}; an empty one {rows[1][2]} and "
    )
    return Outcome(f"{said}{rows[0][2]} ms", ok, table=head)


CHECKS = (
    waiting_lets_python_run,
    another_thread,
    no_context_is_left_current,
    sleeping_waits,
)
