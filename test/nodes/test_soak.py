"""An hour of the simulated robot at 60 images a second: the memory of each node levels off."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from support.processes import Process, wait_until

SOAK_S = float(os.environ.get("PERF_INFERENCE_SOAK_S", "3600"))
WARM_UP_S = min(900.0, SOAK_S / 4)
SAMPLE_S, SAID_S = min(5.0, SOAK_S / 200), 300.0
MOST_MB_PER_H = 5.0
NODES = ("sim_arm", "sim_camera", "policy_node", "yolo_node", "caption_node", "monitor_node", "recorder_node")
BLOCKS, T_975 = 10, 2.306  # Student's t for BLOCKS - 2 degrees of freedom


class Slope(NamedTuple):
    """How fast a node's memory grows."""

    mb_per_h: float
    margin: float  # half the width of the 95 % interval

    @property
    def upper(self) -> float:
        return self.mb_per_h + self.margin


def slope_of(times_s: Sequence[float], memory_mb: Sequence[float]) -> Slope:
    """Fit a line to the means of ten blocks of equal length.

    Samples 5 s apart say much the same; the means of blocks of minutes are nearly independent (batch means, as in Law
    and Kelton, Simulation Modeling and Analysis, 9.5.3), so that the usual interval of a fitted slope holds for them.
    """
    blocks = zip(
        np.array_split(np.asarray(times_s), BLOCKS), np.array_split(np.asarray(memory_mb), BLOCKS), strict=True
    )
    hours, means = np.array([(t.mean() / 3600, m.mean()) for t, m in blocks]).T
    spread = ((hours - hours.mean()) ** 2).sum()
    slope = float(((hours - hours.mean()) * means).sum() / spread)
    residuals = means - means.mean() - slope * (hours - hours.mean())
    error = math.sqrt(float((residuals**2).sum()) / (BLOCKS - 2) / spread)
    return Slope(slope, T_975 * error)


def test_the_slope_of_a_line_is_its_own() -> None:
    times_s = np.arange(0, 2700, 5.0)
    assert slope_of(times_s, 50 + 3.0 * times_s / 3600) == pytest.approx((3.0, 0.0))
    noise = np.random.default_rng(0).normal(0, 0.1, len(times_s))
    noisy = slope_of(times_s, 50 + 3.0 * times_s / 3600 + noise)
    assert abs(noisy.mb_per_h - 3.0) < noisy.margin < 0.5
    step = slope_of(times_s, np.where(times_s < 1350, 50.0, 51.0))
    assert step.margin > 0.3, "a step is no line, and the interval says so"


def private_mb(pid: int) -> float:
    """Return what a process has for itself: no file, no shared memory, which its neighbours have their part in."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, amount = line.split(":")
        values[key] = int(amount.split()[0]) * 1024 / 1e6
    return values["Anonymous"] + values.get("Swap", 0.0)


def nodes_of(demo: Process) -> dict[str, int]:
    """Return the process of each node, by name."""
    found = {}
    for process in psutil.Process(demo.pid).children(recursive=True):
        words = process.cmdline()
        names = [word.removeprefix("__node:=") for word in words if word.startswith("__node:=")]
        if names:
            found[names[0]] = process.pid
    return found


@pytest.mark.long
def test_soak_the_memory_of_each_node_levels_off(
    start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = start_command("demo", "--duration", "1e9", "--set", "sim_camera.camera_rate=60.0")
    demo.wait_for("[ACTION #1]", 60)
    pids = nodes_of(demo)
    assert set(pids) == set(NODES)
    print(
        f"soak: {SOAK_S:g} s, of which {WARM_UP_S:g} s are the warm-up; private memory each {SAMPLE_S:g} s", flush=True
    )
    times_s: list[float] = []
    memory_mb: dict[str, list[float]] = {name: [] for name in pids}
    began_s, said_s = time.monotonic(), 0.0
    while (now_s := time.monotonic() - began_s) < SOAK_S:
        times_s.append(now_s)
        for name, pid in pids.items():
            memory_mb[name].append(private_mb(pid))
        if now_s >= said_s:
            said_s += SAID_S
            print(f"{now_s:6.0f} s  " + "  ".join(f"{n} {m[-1]:.1f}" for n, m in memory_mb.items()) + " MB", flush=True)
        wait_until(lambda: not demo.alive, SAMPLE_S)
        assert demo.alive, demo.output()
        assert nodes_of(demo) == pids, f"a node was restarted: {demo.output()}"
    assert demo.stop() == 0, demo.output()
    first = next(index for index, t_s in enumerate(times_s) if t_s >= WARM_UP_S)
    slopes = {name: slope_of(times_s[first:], values[first:]) for name, values in memory_mb.items()}
    print(f"slope of {BLOCKS} block means over the last {SOAK_S - WARM_UP_S:g} s, with its 95 % interval:")
    for name, slope in slopes.items():
        print(f"  {name:14} {slope.mb_per_h:+6.2f} +- {slope.margin:.2f} MB/h, at {memory_mb[name][-1]:.1f} MB")
    shutil.rmtree(tmp_path / "runs")  # gigabytes
    assert {name: slope for name, slope in slopes.items() if slope.upper >= MOST_MB_PER_H} == {}
