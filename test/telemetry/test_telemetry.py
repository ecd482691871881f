"""The machine: tegrastats as a child process, NVML, the host, and windows worked out by hand."""

from __future__ import annotations

import ctypes.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.machine_samples import S, at, gpu, window
from support.processes import wait_until

import perf_inference
from perf_inference.errors import ConfigError
from perf_inference.telemetry.history import History, MachineSample
from perf_inference.telemetry.host import Host
from perf_inference.telemetry.jetson import Jetson, JetsonSettings, clocks_fixed, power_mode
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.nvml import CLOCK_REASONS, SLOWDOWNS, Nvml, clock_reasons
from perf_inference.telemetry.tegrastats import parse
from perf_inference.telemetry.tegrastats_process import TegrastatsReader, TegrastatsReading
from perf_inference.testing.fakes import FakeClock

LINE = (
    "RAM 4412/7772MB (lfb 237x4MB) CPU [9%@1190,6%@1192] GR3D_FREQ 62%@306 GPU@43C VDD_IN 4067/4067 VDD_SOC 1353/1353"
)


def clock_at_50_s() -> FakeClock:
    """Return a clock whose system time is 100 s ahead."""
    return FakeClock(50 * S, 100 * S)


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the command line of a shell script with this text."""

    def write(text: str) -> list[str]:
        script = tmp_path / "tegrastats"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        return [str(script)]

    return write


@pytest.fixture
def read() -> Iterator[Callable[..., TegrastatsReader]]:
    """Start a reader that is closed after the test."""
    readers: list[TegrastatsReader] = []

    def start(command: str | list[str], **options: object) -> TegrastatsReader:
        readers.append(TegrastatsReader(command, **options))  # type: ignore[arg-type]
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()


Child = Callable[[str], list[str]]
Read = Callable[..., TegrastatsReader]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# -- tegrastats as a child process


def test_the_newest_sample_comes_with_the_time_of_its_line(child: Child, read: Read) -> None:
    clock = clock_at_50_s()
    reader = read(child(f"echo '{LINE}'; exec sleep 60"), clocks=clock.clocks(), stale_s=3.0)
    assert wait_until(reader.newest)
    assert reader.newest() == TegrastatsReading(parse(LINE), 50 * S, 150 * S)  # type: ignore[arg-type]
    clock.now_ns += 3 * S
    assert reader.newest() is not None
    clock.now_ns += 1
    assert reader.newest() is None  # stale


def test_a_child_that_dies_is_started_again(child: Child, read: Read) -> None:
    reader = read(child(f"echo '{LINE}'; exit 3"), retry_s=0.01)
    assert wait_until(lambda: reader.counts.samples >= 3)
    assert reader.counts.starts >= 3


@pytest.mark.slow
def test_the_wait_before_a_restart_doubles(child: Child, read: Read) -> None:
    # t [s]   0    0.2       0.6
    # starts  1    2         3
    reader = read(child("exit 1"), retry_s=0.2)
    started_s = time.monotonic()
    assert wait_until(lambda: reader.counts.starts == 3)
    assert time.monotonic() - started_s >= 0.2 + 0.4 - 0.05


def test_what_is_no_sample_is_counted_and_quoted(child: Child, read: Read) -> None:
    reader = read(child(f"echo 'must be run as root' >&2; printf '\\377\\n'; echo; echo '{LINE}'; exec sleep 60"))
    assert wait_until(lambda: reader.counts.samples)
    assert (reader.counts.samples, reader.counts.other_lines) == (1, 2)
    assert reader.counts.last_other_line == "\ufffd"


def test_a_line_that_was_cut_off_is_no_sample(child: Child, read: Read) -> None:
    reader = read(child("printf 'RAM 4412/7772MB CPU [9%%@1190] VDD_IN 40'"), retry_s=0.01)
    assert wait_until(lambda: reader.counts.starts >= 2)
    assert reader.counts.samples == 0


def test_output_without_an_end_of_line_does_not_pile_up(child: Child, read: Read) -> None:
    reader = read(child(f"head -c 300000 /dev/zero; echo; echo '{LINE}'; exec sleep 60"))
    assert wait_until(reader.newest)


def test_without_tegrastats_nothing_runs_and_nothing_is_said(caplog: pytest.LogCaptureFixture, read: Read) -> None:
    with caplog.at_level(logging.DEBUG):
        reader = read("tegrastats-that-is-nowhere --interval 1000")
    assert reader.absent == "no tegrastats-that-is-nowhere"
    assert (reader.newest(), reader.counts.starts, reader.pid) == (None, 0, None)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert read("").absent == "switched off"


def test_a_command_that_is_none_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="tegrastats_command 'tegrastats \"' is not a command line: No closing"):
        TegrastatsReader('tegrastats "')


def test_the_raw_lines_are_kept_with_their_times(child: Child, read: Read, tmp_path: Path) -> None:
    log = tmp_path / "tegrastats.log"
    log.write_text("of an earlier run\n")
    reader = read(child(f"echo '{LINE}'; exec sleep 60"), log=log)
    assert wait_until(reader.newest)
    earlier, line = log.read_text().splitlines()
    assert earlier == "of an earlier run"
    assert line.endswith(" " + LINE)
    assert len(line.split(" ")[0]) == len("2026-11-20T12:00:00.000+00:00")
    assert parse(line) == parse(LINE)


def test_a_log_that_cannot_be_written_costs_no_sample(child: Child, read: Read, tmp_path: Path) -> None:
    reader = read(child(f"echo '{LINE}'; exec sleep 60"), log=tmp_path / "nowhere" / "tegrastats.log")
    assert wait_until(reader.newest)


def test_closing_ends_the_child_at_once(child: Child, read: Read) -> None:
    reader = read(child(f"echo '{LINE}'; exec sleep 60"))
    assert wait_until(reader.newest)
    pid = reader.pid
    started_s = time.monotonic()
    reader.close()
    assert time.monotonic() - started_s < 30  # it does not wait for the 60 s
    assert pid is not None
    assert gone(pid)
    reader.close()


def test_closing_ends_a_child_that_resists_and_its_own_children(child: Child, read: Read, tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/pid; echo '{LINE}'; while :; do sleep 60; done"
    reader = read(child(script))
    assert wait_until(reader.newest)
    pid, grandchild = reader.pid, int((tmp_path / "pid").read_text())
    started_s = time.monotonic()
    reader.close()
    assert time.monotonic() - started_s < 30  # it does not wait for the 60 s
    assert pid is not None
    assert wait_until(lambda: gone(pid))
    assert wait_until(lambda: gone(grandchild))


def test_closing_while_waiting_for_a_restart(child: Child, read: Read) -> None:
    reader = read(child("exit 1"), retry_s=60.0)
    assert wait_until(lambda: reader.counts.starts == 1 and reader.pid is None)
    started_s = time.monotonic()
    reader.close()
    assert time.monotonic() - started_s < 30  # it does not wait for the 60 s


def test_the_child_ends_when_this_process_is_killed(child: Child) -> None:
    code = (
        "import sys, threading\n"
        "from perf_inference.telemetry.tegrastats_process import TegrastatsReader\n"
        "reader = TegrastatsReader(sys.argv[1:])\n"
        "while reader.newest() is None: threading.Event().wait(0.01)\n"
        "print(reader.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(perf_inference.__file__).parents[1])}
    command = [sys.executable, "-c", code, *child(f"echo '{LINE}'; exec sleep 60")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert not gone(pid)
        process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: gone(pid))


def test_the_child_ends_at_a_closed_pipe(child: Child, read: Read) -> None:
    """What the kernel does not kill for us (sudo's) must at least not ignore SIGPIPE, as Python does."""
    reader = read(child("grep SigIgn /proc/self/status; exec sleep 60"))
    assert wait_until(lambda: reader.counts.other_lines)
    ignored = int(reader.counts.last_other_line.split()[1], 16)
    assert not ignored >> (signal.SIGPIPE - 1) & 1


# -- NVML


def test_without_nvml_there_is_no_sample_and_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    nvml = Nvml()
    sample = nvml.sample()
    if sample is not None:
        assert all(gpu.memory_total_mb is None or gpu.memory_total_mb > 0 for gpu in sample)
    else:
        assert nvml.absent
    nvml.close()
    nvml.close()
    assert nvml.sample() is None
    assert capfd.readouterr() == ("", "")


def test_the_genuine_module_without_a_driver() -> None:
    pytest.importorskip("pynvml")
    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("there is a driver here")
    nvml = Nvml()
    assert (nvml.sample(), nvml.absent) == (None, "NVML Shared Library Not Found")


def test_the_reasons_have_the_names_of_the_genuine_module() -> None:
    pynvml = pytest.importorskip("pynvml")
    named = {
        value: name.removeprefix("nvmlClocksThrottleReason")
        for name, value in vars(pynvml).items()
        if name.startswith("nvmlClocksThrottleReason") and not name.endswith(("None", "All", "UserDefinedClocks"))
    }
    assert {bit: name.replace("_", "") for bit, name in CLOCK_REASONS.items()} == {
        bit: name.lower() for bit, name in named.items()
    }


def sample_of(tmp_path: Path, functions: str) -> str:
    """Return the sample from a driver of our own making, behind the genuine module."""
    pytest.importorskip("pynvml")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "nvml.c").write_text(
        "#include <string.h>\n"
        "int nvmlInitWithFlags(unsigned f) { return 0; }\n"
        "int nvmlShutdown(void) { return 0; }\n"
        "int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }\n"
        "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)1; return 0; }\n" + functions
    )
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(tmp_path / "nvml.c")], check=True)
    code = "from perf_inference.telemetry.nvml import Nvml; print(Nvml().sample())"
    path = [str(Path(perf_inference.__file__).parents[1]), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_call_that_the_gpu_does_not_support_is_none(tmp_path: Path) -> None:
    printed = sample_of(
        tmp_path,  # it knows a name, a power and little else
        'int nvmlDeviceGetName(void *h, char *s, unsigned n) { strncpy(s, "Stub", n); return 0; }\n'
        "int nvmlDeviceGetPowerUsage(void *h, unsigned *mw) { *mw = 12345; return 0; }\n"
        "int nvmlDeviceGetUtilizationRates(void *h, void *u) { return 3; }\n"  # NVML_ERROR_NOT_SUPPORTED
        "int nvmlDeviceGetClockInfo(void *h, int t, unsigned *mhz) { *mhz = 0xffffffff; return 0; }\n"
        "int nvmlDeviceGetTemperature(void *h, int t, unsigned *c) { *c = 41; return 0; }\n"
        "int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, unsigned long long *r) { *r = 0x804; return 0; }\n",
    )
    expected = gpu(
        name="Stub", power_w=12.345, temperature_degc=41.0, clock_reasons=("sw_power_cap", "reason_0x800"),
    )  # fmt: skip
    assert printed == str((expected,))


@pytest.mark.parametrize("newer", [True, False])
def test_what_the_driver_reserves_is_not_in_use_where_it_says_so(newer: bool, tmp_path: Path) -> None:
    # an H200 on which nothing runs: nvidia-smi prints 4 MiB
    old = "int nvmlDeviceGetMemoryInfo(void *h, unsigned long long *m) "
    old += "{ m[0] = 150754820096; m[1] = 150106472448; m[2] = 648347648; return 0; }\n"
    new = (
        "int nvmlDeviceGetMemoryInfo_v2(void *h, unsigned long long *m) { if ((unsigned)m[0] != 0x2000028) return 25; "
    )
    new += "m[1] = 150754820096; m[2] = 644939776; m[3] = 150106472448; m[4] = 3407872; return 0; }\n"
    printed = sample_of(tmp_path, old + (new if newer else ""))
    assert f"memory_used_mb={3.407872 if newer else 648.347648}, memory_total_mb=150754.820096" in printed


def test_reasons_by_bit() -> None:
    assert clock_reasons(0) == ()
    assert clock_reasons(0x44) == ("sw_power_cap", "hw_thermal_slowdown")
    assert "gpu_idle" not in SLOWDOWNS


# -- the host


def test_shares_and_clocks_of_the_cores_keep_their_places(tmp_path: Path) -> None:
    cpu = tmp_path / "sys/devices/system/cpu"
    for core in (0, 1):  # 2 is off, 3 tells no clock
        (cpu / f"cpu{core}/cpufreq").mkdir(parents=True)
        (cpu / f"cpu{core}/cpufreq/scaling_cur_freq").write_text(f"{1_000_000 * (core + 1)}\n")
        (cpu / f"cpu{core}/cpufreq/scaling_governor").write_text("schedutil\n")
    (cpu / "present").write_text("0-3\n")
    stat = tmp_path / "stat"
    #         user nice system idle iowait irq softirq steal guest
    stat.write_text(
        "cpu 9 9 9 9 9\ncpu0 10 0 10 70 10 0 0 0 5 0\ncpu1 0 0 0 100 0 0 0 0\ncpu3 5 0 0 0 0 0 0 0\nintr 1\n"
    )
    host = Host(tmp_path, tmp_path / "sys")
    first = host.sample()
    assert (first.cpu_pct, first.cpu_per_core_pct) == (None, (None, None, None, None))
    stat.write_text("cpu 9 9 9 9 9\ncpu0 85 0 10 90 15 0 0 0 9 0\ncpu1 0 0 0 200 0 0 0 0\ncpu3 5 0 0 0 0 0 0 0\n")
    sample = host.sample()
    assert sample.cpu_per_core_pct == (75.0, 0.0, None, None)
    assert sample.cpu_pct == 37.5
    assert sample.cpu_per_core_mhz == (1000.0, 2000.0, None, None)
    assert (sample.cpu_mhz, sample.governor) == (1500.0, "schedutil")


def test_the_clocks_of_an_x86_come_from_cpuinfo(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\ncpu MHz\t\t: 2596.128\n\nprocessor\t: 1\ncpu MHz\t\t: 800.000\n")
    (tmp_path / "stat").write_text("cpu0 1 0 0 1 0\ncpu1 1 0 0 1 0\n")
    sample = Host(tmp_path, tmp_path).sample()
    assert sample.cpu_per_core_mhz == (2596.128, 800.0)
    assert sample.governor is None


@pytest.mark.timing
def test_this_process_and_others_are_charged_their_own_time() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper:
        host = Host()
        first = host.sample([sleeper.pid, 2**22 + 1])  # the second is beyond the highest process id
        assert [process.pid for process in first.processes] == [sleeper.pid]
        assert first.own is not None
        assert first.own.cpu_pct is None
        begin_s, used_s = time.monotonic(), time.process_time()
        while time.process_time() - used_s < 0.3:
            pass
        sample = host.sample([sleeper.pid])
        share = 100 * (time.process_time() - used_s) / (time.monotonic() - begin_s)
        assert sample.own is not None
        assert sample.own.cpu_pct == pytest.approx(share, rel=0.2)
        assert sample.processes[0].cpu_pct is not None
        assert sample.processes[0].cpu_pct < 50
        sleeper.kill()
        sleeper.wait()
        assert host.sample([sleeper.pid]).processes == ()


# -- a Jetson's settings


def test_the_power_mode_is_asked_once_a_minute(tmp_path: Path) -> None:
    clock = clock_at_50_s()
    script = tmp_path / "nvpmodel"
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/asked\necho 'NVPM WARN: fan'\necho 'NV Power Mode: MODE_15W'\necho 2\n"
    )
    script.chmod(0o755)
    jetson = Jetson([str(script), "-q"], clocks=clock.clocks())
    assert jetson.sample().nvpmodel is None  # asked, not waited for
    assert wait_until(lambda: jetson.sample().nvpmodel == "MODE_15W")
    clock.now_ns += 60 * S - 1
    jetson.sample()
    assert (tmp_path / "asked").read_text() == "x\n"
    clock.now_ns += 1
    jetson.sample()
    assert wait_until(lambda: (tmp_path / "asked").read_text() == "x\nx\n")
    jetson.close()
    jetson.close()


def test_without_the_tools_nothing_is_known() -> None:
    assert Jetson(["nvpmodel-that-is-nowhere"]).sample().nvpmodel is None


def test_what_nvpmodel_prints() -> None:
    assert power_mode("NV Power Mode: MAXN\n0\n") == "MAXN"
    assert power_mode("NVPM VERB: Current mode: NV Power Mode: MODE_15W_6CORE\r\n2\n") == "MODE_15W_6CORE"
    assert power_mode("NVPM ERROR: failed to read PARAM\n") is None


def test_clocks_are_fixed_when_lowest_is_highest(tmp_path: Path) -> None:
    assert clocks_fixed(tmp_path) is None
    policy = tmp_path / "devices/system/cpu/cpufreq/policy0"
    device = tmp_path / "class/devfreq/17000000.gpu"
    for folder, prefix in ((policy, "scaling_"), (device, "")):
        folder.mkdir(parents=True)
        for end in ("min", "max"):
            (folder / f"{prefix}{end}_freq").write_text("2201000\n")
    assert clocks_fixed(tmp_path) is True
    (device / "min_freq").write_text("306000\n")
    assert clocks_fixed(tmp_path) is False
    (device / "min_freq").unlink()
    assert clocks_fixed(tmp_path) is None, "the kernel does not say it of the GPU"
    (policy / "scaling_min_freq").write_text("729000\n")
    assert clocks_fixed(tmp_path) is False


@pytest.mark.parametrize(
    ("gpc", "nvd", "fixed"),
    [
        (("1575000000", "1575000000"), ("1692000000", "1692000000"), True),
        (("315000000", "1575000000"), ("1692000000", "1692000000"), False),
        (("1575000000", "1575000000"), ("315000000", "1692000000"), False),
        ((None, None), (None, None), None),
        ((None, "1575000000"), ("315000000", "1692000000"), False),
        (("", ""), ("0", "0"), None),
        (("1575000000", "1575000000"), (None, "1692000000"), None),
    ],
)
def test_fixed_clocks_of_thor_are_those_of_both_its_devices(
    tmp_path: Path, gpc: tuple[str | None, ...], nvd: tuple[str | None, ...], fixed: bool | None
) -> None:
    values = {"devices/system/cpu/cpufreq/policy0": ("scaling_", ("2601000", "2601000")),
              "class/devfreq/gpu-gpc-0": ("", gpc), "class/devfreq/gpu-nvd-0": ("", nvd)}  # fmt: skip
    for name, (prefix, bounds) in values.items():
        (tmp_path / name).mkdir(parents=True)
        for end, bound in zip(("min", "max"), bounds, strict=True):
            if bound is not None:
                (tmp_path / name / f"{prefix}{end}_freq").write_text(bound + "\n")
    assert clocks_fixed(tmp_path) is fixed


# -- windows


def powered(second: float, watts: float) -> MachineSample:
    return at(second, gpu(power_w=watts))


def test_energy_is_the_area_under_the_power() -> None:
    # t [s]    0    1    2    3
    # W       10   20   20   40      areas: 15, 20, 30 J
    timeline = [powered(0, 10), powered(1, 20), powered(2, 20), powered(3, 40)]
    whole = window(0, 3, *timeline)
    assert (whole.energy_j, whole.power_w, whole.power_source) == (65.0, 65 / 3, "gpu0")
    assert whole.samples == 4
    # from 0.5 (15 W) to 2.25 (25 W): 0.5 x 17.5 + 20 + 0.25 x 22.5 = 34.375 J
    part = window(0.5, 2.25, *timeline)
    assert part.energy_j == 34.375
    assert part.power_w == 34.375 / 1.75
    assert part.energy_per_inference_j(100) == 0.34375
    assert part.energy_per_inference_j(0) is None


def test_a_window_between_two_samples() -> None:
    # 10 W at 0 s, 20 W at 1 s: 12 W at 0.2 s and 14 W at 0.4 s, 13 W x 0.2 s
    found = window(0.2, 0.4, powered(0, 10), powered(1, 20))
    assert found.energy_j == pytest.approx(2.6, rel=1e-12)
    assert found.samples == 0


def test_a_sample_counts_for_two_and_a_half_seconds_beyond_itself() -> None:
    assert window(1, 3.5, powered(0, 10), powered(1, 20)).energy_j == 50.0  # the last is held
    beyond = window(1, 4, powered(0, 10), powered(1, 20))
    assert (beyond.energy_j, beyond.power_w) == (None, 20.0)  # not known to the end
    assert beyond.powers["gpu0"].known_s == 2.5
    assert window(-2.5, 0, powered(0, 10)).energy_j == 25.0
    assert window(10, 11, powered(0, 10)).power_w is None


def test_a_gap_in_the_power_is_not_bridged() -> None:
    found = window(0, 4, powered(0, 10), powered(1, 10), powered(4, 30))
    assert (found.energy_j, found.power_w) == (None, 10.0)
    assert found.powers["gpu0"].known_s == 1.0


def test_the_boards_input_is_the_power_and_not_the_sum_of_its_rails() -> None:
    lines = "RAM 1/2MB VDD_IN {}mW/9mW VDD_SOC 500mW/9mW"
    found = window(0, 1, at(0, gpu(power_w=7), line=lines.format(2000)), at(1, gpu(power_w=7), line=lines.format(4000)))
    assert (found.power_source, found.power_w, found.energy_j) == ("VDD_IN", 3.0, 3.0)
    assert (found.powers["VDD_SOC"].energy_j, found.powers["gpu0"].energy_j) == (0.5, 7.0)


def test_a_board_without_a_rail_for_its_input_has_no_total() -> None:
    line = "RAM 1/2MB VDD_GPU_SOC 2000mW/1mW VIN_SYS_5V0 4000mW/1mW"
    found = window(0, 1, at(0, line=line), at(1, line=line))
    assert (found.power_source, found.power_w, found.energy_j) == (None, None, None)
    assert found.powers["VIN_SYS_5V0"].mean_w == 4.0


def test_several_gpus_are_added_and_one_unknown_makes_the_sum_unknown() -> None:
    both = [at(second, gpu(0, power_w=10), gpu(1, power_w=30)) for second in (0, 1, 2)]
    assert window(0, 2, *both).as_dict()["energy_j"] == 80.0
    assert window(0, 2, *both).power_source == "gpu0+gpu1"
    one = [at(second, gpu(0, power_w=10), gpu(1)) for second in (0, 1, 2)]
    assert window(0, 2, *one).power_w is None


def test_a_line_of_tegrastats_counts_once() -> None:
    # the sampler ticks twice a second, a line comes once: the middle tick still holds the first line
    line = "RAM 1/2MB VDD_IN {}/1 GR3D_FREQ 5%@{}"
    first, last = at(0, line=line.format(1000, 300)), at(1, line=line.format(3000, 600))
    middle = MachineSample(S // 2, S // 2, first.host, None, first.tegrastats)
    found = window(0, 1, first, middle, last)
    assert found.energy_j == 2.0
    assert found.gpu is not None
    assert found.gpu.mean_mhz == 450


@pytest.mark.parametrize(
    ("clocks", "moved"),
    [
        ((1000, 1020), False),
        ((1020, 1000), False),
        ((1000, 1020.3), True),
        ((0, 306), True),
        ((0, 0), False),
        ((5,), None),
    ],
)
def test_a_clock_moved_by_more_than_two_percent(clocks: tuple[float, ...], moved: bool | None) -> None:
    samples = [at(second, gpu(sm_mhz=mhz), mhz=1000 + 500 * second) for second, mhz in enumerate(clocks)]
    found = window(0, 1, *samples)
    assert found.clock_moved is moved
    assert found.gpu is not None
    assert (found.gpu.min_mhz, found.gpu.mean_mhz, found.gpu.max_mhz) == (
        min(clocks), sum(clocks) / len(clocks), max(clocks),
    )  # fmt: skip


def test_without_a_gpu_the_processors_clock_counts() -> None:
    found = window(0, 1, at(0, mhz=1000), at(1, mhz=1500))
    assert found.gpu is None
    assert found.cpu is not None
    assert (found.cpu.min_mhz, found.cpu.mean_mhz, found.cpu.max_mhz) == (1000, 1250, 1500)
    assert found.clock_moved is True
    assert window(0, 1).clock_moved is None


def test_two_gpus_at_different_clocks_have_not_moved() -> None:
    samples = [at(second, gpu(0, sm_mhz=1000), gpu(1, sm_mhz=2000)) for second in (0, 1)]
    assert window(0, 1, *samples).clock_moved is False


def test_a_jetsons_clocks_come_from_tegrastats() -> None:
    line = "RAM 1/2MB CPU [1%@1000,off,1%@2000] GR3D_FREQ 5%@[{0},{0}] gpu@{1}C PMIC@100C"
    samples = [at(0, gpu(), line=line.format(306, 41.5)), at(1, gpu(), line=line.format(612, 43.25))]
    found = window(0, 1, *samples)
    assert found.gpu is not None
    assert found.cpu is not None
    assert (found.gpu.min_mhz, found.gpu.mean_mhz, found.gpu.max_mhz, found.gpu.moved) == (306, 459, 612, True)
    assert (found.cpu.mean_mhz, found.cpu.moved) == (1500, False)
    assert found.temperature_max_degc == 43.25


def test_what_was_before_the_window_does_not_count() -> None:
    # t [s]  0      1      2      3
    # MHz    300    1000   1000   300      the load comes and goes outside the window
    samples = [at(second, gpu(sm_mhz=mhz)) for second, mhz in enumerate((300, 1000, 1000, 300))]
    assert window(0.5, 2.5, *samples).clock_moved is False
    assert window(0.2, 0.8, *samples).clock_moved is True  # no sample inside: it moved from one neighbour to the other
    assert window(-3, -2.6, *samples).gpu is None  # too far away to tell
    assert window(5.6, 6, *samples).gpu is None


def test_temperature_reasons_and_settings_of_a_window() -> None:
    found = window(
        0,
        2,
        at(0, gpu(temperature_degc=70.0, clock_reasons=("gpu_idle",)), degc=60.0, jetson=JetsonSettings("15W", True)),
        at(1, gpu(temperature_degc=71.0, clock_reasons=("sw_power_cap", "gpu_idle")), degc=80.5),
        at(2, gpu(), jetson=JetsonSettings("MAXN", False)),
    )
    assert found.temperature_max_degc == 80.5
    assert found.clock_reasons == ("gpu_idle", "sw_power_cap")
    assert found.slowdowns == ("sw_power_cap",)
    assert (found.nvpmodel, found.jetson_clocks, found.governor) == (("15W", "MAXN"), False, "schedutil")


def test_what_is_not_known_is_null() -> None:
    nothing = window(0, 1, at(0), at(1)).as_dict()
    assert {name: value for name, value in nothing.items() if value is not None} == {
        "window_s": 1.0, "machine_samples": 2, "governor": "schedutil",
    }  # fmt: skip


def test_a_window_ends_after_it_begins() -> None:
    with pytest.raises(ValueError, match="from 2000000000 to 1000000000 ns"):
        window(2, 1)


# -- the sampler


def test_the_history_is_bounded() -> None:
    history = History(history_s=100.0)
    for second in range(1000):
        history.add(powered(second, 10))
    assert 100 <= history.window(0, 1000 * S).samples <= 100 + 64
    assert history.window(900 * S, 1000 * S).energy_j == 1000.0
    assert history.window(0, 1000 * S).energy_j is None  # its begin is forgotten


def test_the_sampler_takes_a_sample_of_everything(child: Child) -> None:
    clock = clock_at_50_s()
    command = child(f"echo '{LINE}'; exec sleep 60")
    machine = MachineSampler(command, period_s=1.0, clocks=clock.clocks())
    try:
        assert machine.newest() is None
        assert wait_until(machine.tegrastats.newest)
        machine.watch([os.getpid()])
        for _ in range(5):
            machine.tick()
            clock.now_ns += S
        newest = machine.newest()
        assert newest is not None
        assert (newest.monotonic_ns, newest.system_ns) == (54 * S, 154 * S)
        assert newest.tegrastats == TegrastatsReading(parse(LINE), 50 * S, 150 * S)  # type: ignore[arg-type]
        assert [process.pid for process in newest.host.processes] == [os.getpid()]
        assert machine.window(50 * S, 54 * S).samples == 5
        assert machine.window(50 * S, 51 * S).power_w == 4.067
        clock.now_ns += 10 * S
        assert machine.tick().tegrastats is None  # silent for too long
    finally:
        machine.close()
        machine.close()


def test_the_sampler_takes_samples_by_itself() -> None:
    machine = MachineSampler("", period_s=0.01)
    machine.start()
    machine.start()
    begin_ns = time.monotonic_ns()
    assert wait_until(lambda: machine.window(begin_ns, time.monotonic_ns()).samples >= 3)
    started_s = time.monotonic()
    machine.close()
    assert time.monotonic() - started_s < 30  # it does not wait for the 60 s
