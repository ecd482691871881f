"""What PerformanceMonitor says of a block, against what the block says of itself."""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT

from perf_inference import PerformanceMonitor
from perf_inference.cli import main
from perf_inference.devices.device import CpuDevice
from perf_inference.devices.process_memory import HighWaterMark, resident_bytes
from perf_inference.errors import ConfigError, EngineError, RecordingError
from perf_inference.measure.clocks import Clocks
from perf_inference.measure.performance_monitor import Metrics

MB = 1_000_000
MS = 1_000_000
KEYS = {"inference_time", "peak_memory_mb", "peak_memory_exact", "cpu_percent", "memory_percent", "device"}


@pytest.fixture
def monitor() -> PerformanceMonitor:
    return PerformanceMonitor(device="cpu")


def resident_mb() -> float:
    return resident_bytes() / MB


def touch(megabytes: int) -> None:
    """Have so much memory for a moment, filled in one C call that keeps the GIL."""
    with mmap.mmap(-1, megabytes * MB) as memory:
        first = ctypes.c_char.from_buffer(memory)
        ctypes.PyDLL(None).memset(ctypes.byref(first), 1, megabytes * MB)
        del first


def busy(cpu_ms: float) -> float:
    """Keep this thread's core busy so long; return its processor time [ns]."""
    start_ns = time.thread_time_ns()
    while time.thread_time_ns() - start_ns < cpu_ms * MS:
        pass
    return time.thread_time_ns() - start_ns


class FakeMachine:
    """Clocks, and a device that still works when the host has given it the work."""

    def __init__(self) -> None:
        self.now_ns = self.cpu_now_ns = 0
        self.outstanding_ns = 0
        self.broken = False
        self.device = CpuDevice()
        self.monitor = PerformanceMonitor("cpu", Clocks(lambda: self.now_ns), lambda: self.cpu_now_ns)
        self.monitor.device = self.device
        self.device.synchronize = self.synchronize  # type: ignore[method-assign]

    def work(self, ms: float, cpu_ms: float = 0, device_ms: float = 0) -> None:
        self.now_ns += round(ms * MS)
        self.cpu_now_ns += round(cpu_ms * MS)
        self.outstanding_ns += round(device_ms * MS)

    def synchronize(self) -> None:
        self.now_ns += self.outstanding_ns
        self.outstanding_ns = 0
        if self.broken:
            raise EngineError("cudaDeviceSynchronize: an illegal memory access was encountered (cudaError 700)")


# Time


def test_the_device_is_waited_for_before_and_after_the_block() -> None:
    # t [ms]   0 ------ 100        110 ------- 140
    # host                [ block ]
    # device   [ before ]   [ of the block .... ]      the block costs 40 ms, not 10, and not 140
    machine = FakeMachine()
    machine.work(0, device_ms=100)
    with machine.monitor.measure() as metrics:
        machine.work(10, cpu_ms=25, device_ms=30)
    assert metrics["inference_time"] == pytest.approx(0.040)
    assert metrics["cpu_percent"] == pytest.approx(62.5)  # 25 ms of processor in 40 ms


def test_all_keys_are_there_after_the_block_and_none_within(monitor: PerformanceMonitor) -> None:
    with monitor.measure() as metrics:
        assert not metrics
    assert set(metrics) == KEYS  # and none of a GPU
    assert metrics["device"] == "cpu"
    assert 0 < metrics["memory_percent"] < 100


@pytest.mark.timing
def test_the_time_is_that_of_the_block(monitor: PerformanceMonitor) -> None:
    with monitor.measure() as metrics:
        start_ns = time.monotonic_ns()
        busy(20)
        own_s = (time.monotonic_ns() - start_ns) / 1e9
    assert own_s <= metrics["inference_time"] < own_s + 0.05  # what lies between the readings may be interrupted


# Processor


@pytest.mark.timing
def test_a_busy_block_of_50_ms_is_charged_its_processor_time(monitor: PerformanceMonitor) -> None:
    with monitor.measure() as metrics:
        own_ns = busy(50)
    assert metrics["cpu_percent"] == pytest.approx(own_ns / metrics["inference_time"] / 1e7, rel=0.1)
    assert metrics["cpu_percent"] < 110  # 100 where no one else wants the core


def test_a_sleeping_block_is_charged_next_to_nothing(monitor: PerformanceMonitor) -> None:
    with monitor.measure() as metrics:
        threading.Event().wait(0.1)
    assert metrics["cpu_percent"] < 10


def test_two_threads_in_native_code_are_charged_both() -> None:
    data = bytes(1 << 20)
    used_ns = []

    def digest() -> None:
        start_ns = time.thread_time_ns()
        while time.thread_time_ns() - start_ns < 50 * MS:
            hashlib.sha256(data).digest()  # gives the GIL away
        used_ns.append(time.thread_time_ns() - start_ns)

    threads = [threading.Thread(target=digest) for _ in range(2)]
    with PerformanceMonitor("cpu").measure() as metrics:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # about 200 where two cores are free; how many are is not this test's to say
    assert metrics["cpu_percent"] == pytest.approx(sum(used_ns) / metrics["inference_time"] / 1e7, rel=0.15)


# Memory


@pytest.mark.slow
def test_the_peak_is_that_of_the_block_not_what_is_left_of_it(monitor: PerformanceMonitor) -> None:
    touch(300)  # before the block: not its business
    before_mb = resident_mb()
    with monitor.measure() as metrics:
        touch(200)
    assert metrics["peak_memory_exact"]
    assert before_mb + 195 < metrics["peak_memory_mb"] < before_mb + 260
    with monitor.measure() as metrics:
        pass
    assert metrics["peak_memory_mb"] < before_mb + 60


def test_a_string_that_lives_for_one_call_is_seen(monitor: PerformanceMonitor) -> None:
    before_mb = resident_mb()
    with monitor.measure() as metrics:
        len(b"x" * (200 * MB))
    assert metrics["peak_memory_mb"] > before_mb + 195


def test_a_nested_measurement_takes_nothing_from_the_outer_one(monitor: PerformanceMonitor) -> None:
    before_mb = resident_mb()
    with monitor.measure() as outer:
        touch(200)
        with monitor.measure() as inner:
            touch(50)
    assert outer["peak_memory_mb"] > before_mb + 195
    assert before_mb + 45 < inner["peak_memory_mb"] < before_mb + 120
    assert outer["inference_time"] > inner["inference_time"]


def test_overlapping_measurements_each_have_their_own_peak() -> None:
    # first    [ 200 MB .......... ]
    # second              [ ......... 100 MB ]
    before_mb = resident_mb()
    with ExitStack() as first_block, ExitStack() as second_block:
        first = first_block.enter_context(PerformanceMonitor("cpu").measure())
        touch(200)
        second = second_block.enter_context(PerformanceMonitor("cpu").measure())
        first_block.close()
        touch(100)
    assert before_mb + 195 < first["peak_memory_mb"] < before_mb + 260
    assert before_mb + 95 < second["peak_memory_mb"] < before_mb + 160


class FakeMemory:
    """Memory in use and its mark; a kernel may refuse to reset it."""

    def __init__(self, resettable: bool) -> None:
        self.used = self.most = 0
        self.resettable = resettable
        self.mark = HighWaterMark(lambda: self.most, lambda: self.used, self.reset)

    def use(self, *amounts: int) -> None:
        for amount in amounts:
            self.used = amount
            self.most = max(self.most, amount)

    def reset(self) -> bool:
        if self.resettable:
            self.most = self.used
        return self.resettable


def test_where_the_mark_cannot_be_reset_a_peak_is_exact_or_a_bound_and_says_which() -> None:
    memory = FakeMemory(resettable=False)
    memory.use(100, 500, 120)
    lower = memory.mark.begin()
    memory.use(300, 150)  # under the mark of 500: not to be seen
    assert memory.mark.end(lower) == (150, False)
    higher = memory.mark.begin()
    memory.use(700, 90)
    assert memory.mark.end(higher) == (700, True)


@pytest.mark.parametrize("resettable", [True, False])
def test_three_spans_that_overlap(resettable: bool) -> None:
    # use     10  60  20    80  30    40  20    90  10
    # a       [                 ]
    # b               [               ]
    # c                         [               ]
    memory = FakeMemory(resettable)
    memory.use(10)
    a = memory.mark.begin()
    memory.use(60, 20)
    b = memory.mark.begin()
    memory.use(80, 30)
    c = memory.mark.begin()
    assert memory.mark.end(a) == (80, True)
    memory.use(40, 20)
    assert memory.mark.end(b) == (80, True)
    memory.use(90, 10)
    assert memory.mark.end(c) == (90, True)


def test_a_child_of_fork_measures_itself() -> None:
    script = (
        "import os\n"
        "from perf_inference import PerformanceMonitor\n"
        "from perf_inference.devices.process_memory import PROCESS_MEMORY\n"
        "monitor = PerformanceMonitor('cpu')\n"
        "with monitor.measure() as outer, PROCESS_MEMORY._lock:\n"  # as if another thread were measuring
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        with monitor.measure() as metrics:\n"
        "            b'x' * 100_000_000\n"
        "        os._exit(0 if metrics['peak_memory_mb'] > 100 else 1)\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "assert status == 0 and outer['peak_memory_mb'] < 100, (status, outer)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


# Several measurements


@pytest.mark.parametrize("broken", [False, True])
def test_a_block_that_raises_is_counted_apart_and_its_error_goes_on(broken: bool) -> None:
    machine = FakeMachine()
    seen: list[Metrics] = []

    def block() -> None:
        with machine.monitor.measure() as metrics:
            seen.append(metrics)
            machine.work(7)
            machine.broken = broken  # the device's error does not hide the block's own
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        block()
    assert seen[0].get("inference_time") == (None if broken else pytest.approx(0.007))
    summary = machine.monitor.summary()
    assert (summary["n"], summary["failed"]) == (0, 1)


def test_a_device_that_failed_at_the_work_of_the_block_is_an_error() -> None:
    machine = FakeMachine()

    def block() -> None:
        with machine.monitor.measure():
            machine.broken = True

    with pytest.raises(EngineError, match="illegal memory access"):
        block()
    assert machine.monitor.summary()["failed"] == 1


def test_measurements_summarise_themselves() -> None:
    machine = FakeMachine()
    for ms in (*range(1, 101),):
        with machine.monitor.measure():
            machine.work(ms, cpu_ms=ms / 2)
    summary = machine.monitor.summary()
    times = summary["inference_time"]
    assert (summary["device"], summary["n"], summary["failed"]) == ("cpu", 100, 0)
    assert times["mean"] == pytest.approx(0.0505)
    assert times["std"] == pytest.approx(0.029011, rel=1e-4)  # of 1 to 100, with n - 1
    assert (times["p50"], times["p90"], times["max"], times["n"]) == (0.050, 0.090, 0.100, 100)
    assert times["p99"] is None  # 662 samples are needed
    assert summary["cpu_percent"]["mean"] == pytest.approx(50)
    assert set(summary) == {"device", "n", "failed", *KEYS} - {"peak_memory_exact"}


def test_one_measurement_has_no_deviation_and_none_no_figures() -> None:
    machine = FakeMachine()
    assert machine.monitor.summary() == {"device": "cpu", "n": 0, "failed": 0}
    with machine.monitor.measure():
        machine.work(3)
    assert machine.monitor.summary()["inference_time"]["std"] is None


def test_threads_may_share_a_monitor(monitor: PerformanceMonitor) -> None:
    wrong: list[Any] = []

    def measure() -> None:
        for _ in range(50):
            with monitor.measure() as outer, monitor.measure() as inner:
                pass
            if not (set(outer) == set(inner) == KEYS and outer["inference_time"] >= inner["inference_time"]):
                wrong.append((outer, inner))

    threads = [threading.Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert monitor.summary()["n"] == 4 * 50 * 2


# The rest


def test_rtf() -> None:
    assert PerformanceMonitor.calculate_rtf(0.5, 2.0) == 0.25
    for duration in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="audio_duration must be a number of seconds above 0, got"):
            PerformanceMonitor.calculate_rtf(0.5, duration)
    with pytest.raises(ValueError, match="inference_time must be"):
        PerformanceMonitor.calculate_rtf(float("nan"), 1.0)


def test_system_info(monitor: PerformanceMonitor) -> None:
    info = monitor.get_system_info()
    assert info["cpu_count"] >= 1
    assert 0.1 < info["total_memory_gb"] < 100_000
    assert info["gpu_name"] is None or isinstance(info["gpu_name"], str)
    assert info["python_version"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert info["numpy_version"]
    assert {"perf_inference_version", "onnxruntime_version", "torch_version", "cuda_runtime_version"} <= set(info)


@pytest.mark.parametrize("device", ["tpu", "", "cuda:", "cuda:x", "cpu:0", "auto:1"])
def test_a_device_of_no_kind_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N, got"):
        PerformanceMonitor(device)


def test_importing_the_package_stays_light() -> None:
    script = (
        "import sys, perf_inference\n"
        "assert 'perf_inference.measure' not in sys.modules\n"
        "with perf_inference.PerformanceMonitor().measure(): pass\n"
        "assert 'torch' not in sys.modules or perf_inference.PerformanceMonitor().device.name != 'cpu'\n"
        "try: perf_inference.Performance\n"
        "except AttributeError as error: assert 'Performance' in str(error)\n"
        "else: raise SystemExit('no AttributeError')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def _lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_blocks_are_appended_and_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timings = tmp_path / "run" / "performance_timings_20240131_120000.jsonl"
    summary = tmp_path / "run" / "performance_summary_20240131_120000.json"
    monitor = PerformanceMonitor(
        "cpu", output_dir=tmp_path / "run", session_time="20240131_120000", auto_save_interval=4
    )
    for number in range(10):
        with monitor.measure():
            pass
        if number == 4:
            assert len(_lines_of(timings)) == 4
    with pytest.raises(KeyError), monitor.measure():
        raise KeyError
    assert not summary.exists()
    monitor.close()
    monitor.close()
    records = _lines_of(timings)
    assert [record["seq"] for record in records] == list(range(1, 11))
    assert all(record["total_ms"] == pytest.approx(1e3 * float(str(record["inference_time"]))) for record in records)
    figures = json.loads(summary.read_text())["nodes"]["performance_monitor"]
    assert (figures["inferences"], figures["failed"], figures["device"]) == (10, 1, "cpu")
    assert main(["analyze", str(tmp_path / "run")]) == 0
    assert "performance_monitor" in capsys.readouterr().out
    with pytest.raises(RecordingError, match="is closed"), monitor.measure():
        pass


def test_what_waits_is_written_at_the_end_of_the_process(tmp_path: Path) -> None:
    program = (
        "import sys; from perf_inference import PerformanceMonitor\n"
        "monitor = PerformanceMonitor('cpu', output_dir=sys.argv[1], session_time='t', auto_save_interval=1000)\n"
        "for _ in range(3):\n    with monitor.measure(): pass\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environ)
    assert len(_lines_of(tmp_path / "performance_timings_t.jsonl")) == 3
    assert (tmp_path / "performance_summary_t.json").exists()


def test_a_session_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, words in (
        ({"output_dir": tmp_path / "file" / "x"}, "cannot be written"),
        ({"output_dir": tmp_path, "auto_save_interval": 0}, "auto_save_interval"),
        ({"output_dir": tmp_path, "session_time": "../x"}, "session_time"),
    ):
        with pytest.raises(ConfigError, match=words):
            PerformanceMonitor("cpu", **arguments)  # type: ignore[arg-type]


def test_the_real_time_factor_in_words() -> None:
    words = [PerformanceMonitor.rtf_text(rtf).split(":")[0].split(",")[0] for rtf in (0.0, 0.0999, 0.1, 0.5, 1.0, 3)]
    assert words == ["excellent", "excellent", "good", "real time", "slower than real time", "slower than real time"]
    assert "4 times as fast" in PerformanceMonitor.rtf_text(0.25)
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rtf must be"):
            PerformanceMonitor.rtf_text(wrong)
