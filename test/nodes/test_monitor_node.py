"""/diagnostics as a running monitor publishes it, and the rules behind its levels."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from support.onnx_models import slow_detector
from support.pace import start_s
from support.paths import ROOT
from support.processes import Process, Ros

from perf_inference.measure.alarm import Limits
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.monitor.machine_status import MachineLimits, MachineStatuses
from perf_inference.nodes.monitor.watched_node import NodeLimits, WatchedNode
from perf_inference.nodes.reports.messages import ERROR, OK, STALE, WARN, from_key_values, key_values, level
from perf_inference.telemetry.history import MachineSample
from perf_inference.telemetry.host import HostSample

PREFIX = "monitor_node: "
GREENWAVE = {"frame_rate_node", "frame_rate_msg", "current_delay_from_realtime_ms", "expected_frequency", "tolerance"}
LEDGER = {"received", "processed", "replaced", "rejected", "failed", "waiting", "in_work", "lost_before", "residual"}
TEGRASTATS = (
    "RAM 2448/15823MB (lfb 2x4MB) SWAP 0/7911MB (cached 0MB) CPU [12%@1190,9%@1190,off,off] EMC_FREQ 2%@2133 "
    "GR3D_FREQ 31%@522 CPU@47.5C GPU@44.25C AO@86.5C PMIC@100C VDD_IN 5203/5203 VDD_CPU_GPU_CV 1206/1206"
)
QUIET = ("-p", "load_warn:=10000.0", "-p", "memory_warn_pct:=100.0")  # this machine's own state is not of interest
FAKE_PYNVML = """
class NVMLError(Exception): pass
class Memory: used, total = 4_000_000_000, 16_000_000_000
class Rates: gpu = 37
NVML_CLOCK_SM = NVML_CLOCK_MEM = NVML_TEMPERATURE_GPU = 0
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return f"handle {index}"
def nvmlDeviceGetName(handle): return "A GPU"
def nvmlDeviceGetUUID(handle): return "GPU-" + handle[-1]
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetUtilizationRates(handle): return Rates
def nvmlDeviceGetTemperature(handle, sensor): return 61
def nvmlDeviceGetCurrentClocksEventReasons(handle): return 0x24
"""


class Diagnostics:
    """The newest /diagnostics, read by name."""

    def __init__(self, ros: Ros) -> None:
        self.ros = ros
        self.messages: list[DiagnosticArray] = ros.collect(DiagnosticArray, "/diagnostics")

    def __getitem__(self, name: str) -> DiagnosticStatus | None:
        newest = self.messages[-1].status if self.messages else ()
        return next((status for status in newest if status.name == PREFIX + name), None)

    def names(self) -> set[str]:
        return {status.name for status in self.messages[-1].status} if self.messages else set()

    def levels(self) -> dict[str, bytes]:
        return {status.name: level(status) for status in self.messages[-1].status} if self.messages else {}

    def values(self, name: str) -> dict[str, Any]:
        status = self[name]
        return {} if status is None else from_key_values(status.values)

    def says(self, name: str, wanted: bytes, text: str = "") -> bool:
        status = self[name]
        return status is not None and level(status) == wanted and text in status.message

    def wait(self, name: str, wanted: bytes, text: str = "", timeout_s: float = 20.0) -> None:
        assert self.ros.spin_until(lambda: self.says(name, wanted, text), timeout_s), self[name]


@pytest.fixture
def diagnostics(ros: Ros) -> Diagnostics:
    return Diagnostics(ros)


class Camera:
    """Publishes a small image at 20 Hz of the test's own spinning, while it is on."""

    def __init__(self, ros: Ros) -> None:
        self.on = True
        self._ros = ros
        self._message = from_bgr(np.zeros((48, 64, 3), np.uint8), Header(frame_id="camera"))
        self._publishers = [
            ros.node.create_publisher(Image, topic, qos_profile_sensor_data) for topic in ("image", "robot1/image")
        ]
        ros.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        if self.on:
            self._message.header.stamp = self._ros.node.get_clock().now().to_msg()
            for publisher in self._publishers:
                publisher.publish(self._message)


@pytest.fixture
def camera(ros: Ros) -> Camera:
    return Camera(ros)


@pytest.fixture
def tegrastats(tmp_path: Path) -> str:
    """A command that prints a line a second as a Jetson does."""
    script = tmp_path / "tegrastats"
    script.write_text(f"#!/bin/sh\nwhile true; do echo '{TEGRASTATS}'; sleep 1; done\n")
    script.chmod(0o755)
    return str(script)


def groups(config: Path, name: str) -> list[str]:
    """Return the paths of the analyzers that take a status, by the rule of GenericAnalyzer::match.

    https://github.com/ros/diagnostics, diagnostic_aggregator/src/generic_analyzer.cpp: a `regex` must match the whole
    name (std::regex_match), `expected` is the name, `startswith` begins it, `contains` is somewhere in it. What no
    analyzer takes goes to "Other".
    """
    analyzers = yaml.safe_load(config.read_text())["analyzers"]["ros__parameters"]
    found = []
    for settings in analyzers.values():
        if not isinstance(settings, dict):
            continue
        assert settings["type"] == "diagnostic_aggregator/GenericAnalyzer"
        assert set(settings) <= {"type", "path", "regex", "expected", "startswith", "contains", "remove_prefix",
                                 "num_items"}  # fmt: skip
        if (
            any(re.fullmatch(expression, name) for expression in settings.get("regex", ()))
            or name in settings.get("expected", ())
            or any(name.startswith(begin) for begin in settings.get("startswith", ()))
            or any(part in name for part in settings.get("contains", ()))
        ):
            found.append(settings["path"])
    return found


def test_every_status_is_there_and_in_one_group(
    diagnostics: Diagnostics,
    camera: Camera,
    start_node: Callable[..., Process],
    tegrastats: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "pynvml.py").write_text(FAKE_PYNVML)
    path = os.pathsep.join([str(tmp_path / "modules"), os.environ.get("PYTHONPATH", "")])
    log = tmp_path / "tegrastats.log"
    monitor = start_node(
        "monitor_node", *QUIET, "-p", f"tegrastats_command:={tegrastats}", "-p", f"tegrastats_log:={log}",
        "-r", "__ns:=/robot1", env={"PYTHONPATH": path},
    )  # fmt: skip
    for node in ("yolo_node", "policy_node"):
        start_node(node, "-p", "threads:=1", "-r", "__ns:=/robot1")
    start_node("recorder_node", "-p", f"output_dir:={tmp_path}", "-r", "__ns:=/robot1")
    expected = {
        "yolo_node/engine": "Inference",
        "yolo_node/image": "Inputs",
        "policy_node/engine": "Inference",
        "policy_node/image": "Inputs",
        "policy_node/joint_states": "Inputs",
        "policy_node/force": "Inputs",
        "policy_node_gate/node": "Inference",
        "policy_node_gate/joint_states": "Inputs",
        "recorder_node/recorder": "Recorder",
        "monitor_node/host": "Platform",
        "monitor_node/platform": "Platform",
        "monitor_node/gpu0": "GPU",
        "monitor_node/gpu1": "GPU",
    }
    wanted = {f"{PREFIX}robot1/{name}" for name in expected}
    assert diagnostics.ros.spin_until(lambda: diagnostics.names() == wanted, 30), (
        diagnostics.names(),
        monitor.output(),
    )
    config = ROOT / "config" / "analyzers.yaml"
    assert {name: groups(config, f"{PREFIX}robot1/{name}") for name in expected} == {
        name: [group] for name, group in expected.items()
    }
    assert {name: groups(config, f"{PREFIX}{name}") for name in expected} == {
        name: [group] for name, group in expected.items()
    }
    assert all(status.hardware_id for message in diagnostics.messages for status in message.status)

    def at_its_rate() -> bool:  # of a window that begins slow where the machine is busy
        seen = diagnostics.values("robot1/yolo_node/image")
        return all(
            seen[key] == pytest.approx(20, rel=0.25) for key in ("frame_rate_msg", "frame_rate_node") if seen[key]
        )

    assert diagnostics.ros.spin_until(lambda: diagnostics.values("robot1/yolo_node/image")["frame_rate_msg"], 30)
    assert diagnostics.ros.spin_until(at_its_rate, 30), diagnostics.values("robot1/yolo_node/image")
    image = diagnostics.values("robot1/yolo_node/image")
    assert set(image) > GREENWAVE | LEDGER
    assert image["topic"] == "/robot1/image"
    assert image["residual"] == 0
    assert 0 <= image["current_delay_from_realtime_ms"] < 1000
    assert (image["expected_frequency"], image["tolerance"]) == (None, 10)
    force = diagnostics.values("robot1/policy_node/force")
    assert diagnostics.says("robot1/policy_node/force", WARN, "no message yet on /robot1/force")
    assert [force[key] for key in ("frame_rate_node", "frame_rate_msg", "current_delay_from_realtime_ms")] == [None] * 3

    diagnostics.wait("robot1/monitor_node/platform", WARN, "86.5 degC")  # the PMIC's 100 degC is a constant
    board = diagnostics.values("robot1/monitor_node/platform")
    assert (board["power_w"], board["power_VDD_CPU_GPU_CV_mw"], board["gpu_pct"]) == (5.203, 1206, 31)
    assert board["temperature_GPU_degc"] == 44.25
    assert TEGRASTATS in log.read_text()
    gpu = diagnostics.values("robot1/monitor_node/gpu1")
    assert (gpu["utilisation_pct"], gpu["memory_used_pct"], gpu["temperature_degc"]) == (37, 25, 61)
    assert (gpu["power_w"], gpu["sm_mhz"]) == (None, None)  # this driver does not say
    assert gpu["held_back_by"] == "sw_power_cap sw_thermal_slowdown"
    status = diagnostics["robot1/monitor_node/gpu1"]
    assert status is not None
    assert status.hardware_id == "GPU-1"
    host = diagnostics.values("robot1/monitor_node/host")
    assert {"cpu_pct", "load_1min", "memory_used_pct", "cpu0_pct"} <= set(host)


def test_a_killed_node_is_stale_within_7_s(
    diagnostics: Diagnostics, camera: Camera, start_node: Callable[..., Process]
) -> None:
    start_node("monitor_node", *QUIET)
    yolo = start_node("yolo_node", "-p", "threads:=1")
    diagnostics.wait("yolo_node/engine", OK, "running", 30)
    yolo.stop(signal.SIGKILL)
    killed_s = time.monotonic()
    diagnostics.wait("yolo_node/engine", STALE, "silent for", 30)
    took_s = time.monotonic() - killed_s
    print(f"STALE {took_s:.2f} s after SIGKILL")
    assert took_s < max(7.0, 5 + 8 * start_s())
    assert diagnostics.says("yolo_node/image", STALE)
    assert diagnostics.says("monitor_node/host", OK)
    start_node("yolo_node", "-p", "threads:=1")
    diagnostics.wait("yolo_node/engine", OK, "running", 30)


@pytest.mark.long
def test_a_camera_that_falls_silent_is_a_warning_of_its_input(
    diagnostics: Diagnostics, camera: Camera, start_node: Callable[..., Process]
) -> None:
    start_node("monitor_node", *QUIET, "-p", "rate_tolerance_pct:=60.0")
    start_node("yolo_node", "-p", "threads:=1", "-p", "expected_frequency:=20.0")
    diagnostics.wait("yolo_node/image", OK, "receiving", 30)
    camera.on = False
    diagnostics.wait("yolo_node/image", WARN, "nothing on /image for", 5)
    assert diagnostics.says("yolo_node/engine", WARN, "nothing on /image for")
    camera.on = True
    diagnostics.wait("yolo_node/image", OK, "receiving", 15)
    assert diagnostics.values("yolo_node/image")["expected_frequency"] == 20


def test_a_camera_slower_than_promised_is_a_warning_of_its_input(
    diagnostics: Diagnostics, camera: Camera, start_node: Callable[..., Process]
) -> None:
    start_node("monitor_node", *QUIET)
    start_node("yolo_node", "-p", "threads:=1", "-p", "expected_frequency:=30.0")
    diagnostics.wait("yolo_node/image", WARN, "Hz where 30 Hz are expected", 30)


@pytest.mark.long
def test_an_engine_slower_than_its_rate_is_a_warning(
    diagnostics: Diagnostics, camera: Camera, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    # An image comes each 50 ms, an inference takes some 250 ms: all are late, and most of the images are replaced.
    model = slow_detector(tmp_path / "slow.onnx", size=1000, products=12)
    start_node("monitor_node", *QUIET)
    yolo = start_node("yolo_node", "-p", f"model:={model}", "-p", "expected_frequency:=20.0", "-p", "threads:=1")
    late = "100.0 % of the inferences came after the deadline of 50.0 ms"
    assert diagnostics.ros.spin_until(lambda: diagnostics.says("yolo_node/engine", WARN, late), 30), yolo.output()
    assert diagnostics.says("yolo_node/engine", WARN, "longer than the period of 50.0 ms")
    values = diagnostics.values("yolo_node/engine")
    assert values["deadline_miss_pct"] == 100
    assert values["deadline_misses"] == values["deadlines"] < values["inferences"]  # the warm-up does not count
    assert diagnostics.says("yolo_node/image", WARN, "of the messages were dropped")
    camera.on = False
    assert diagnostics.ros.spin_until(lambda: diagnostics.values("yolo_node/engine")["deadline_miss_pct"] is None, 15)
    assert not diagnostics.says("yolo_node/engine", WARN, "deadline")


def test_names_and_levels_do_not_depend_on_diagnostic_updater(
    diagnostics: Diagnostics, camera: Camera, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    pytest.importorskip("diagnostic_updater", reason="diagnostic_updater is not installed (it comes with a ROS 2)")
    (tmp_path / "diagnostic_updater.py").write_text("raise ImportError('hidden by the test')\n")
    path = os.environ.get("PYTHONPATH", "")
    seen = []
    start_node("yolo_node", "-p", "threads:=1")
    for hidden in (True, False):
        env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), path]) if hidden else path}
        imports = subprocess.call([sys.executable, "-c", "import diagnostic_updater"], env={**os.environ, **env}) == 0
        assert imports != hidden
        monitor = start_node("monitor_node", *QUIET, env=env)
        diagnostics.messages.clear()
        diagnostics.wait("yolo_node/engine", OK, "running", 30)
        assert diagnostics.ros.spin_until(lambda: len(diagnostics.names()) == 4, 30)
        seen.append(diagnostics.levels())
        monitor.stop()
    assert seen[0] == seen[1]
    assert set(seen[0]) == {
        f"{PREFIX}{name}" for name in ("yolo_node/engine", "yolo_node/image", "monitor_node/host",
                                       "monitor_node/platform")
    }  # fmt: skip


def test_limits_the_wrong_way_round_stop_the_start(start_node: Callable[..., Process]) -> None:
    monitor = start_node("monitor_node", "-p", "temperature_error_degc:=50.0")
    assert monitor.wait() == 78, monitor.output()
    assert "'temperature_error_degc' must be at least 85, the warning's, got 50" in monitor.output()


# Hand-made heartbeats -------------------------------------------------------------------------------------------------

LIMITS = NodeLimits(5.0, 2.0, Limits(5, None, 2), Limits(10, None, 2), Limits(90, None, 2, best=100), 10.0)


def heartbeat(start: int = 1, message: str = "running", **values: Any) -> DiagnosticStatus:
    said = {"engine": "e", "driven_by": "tick", "expected_hz": 10.0, "deadline_ms": 100.0, **values}
    keys = key_values({key.replace("__", "."): value for key, value in said.items()})
    return DiagnosticStatus(level=OK, name="n", message=message, hardware_id=f"box/{start}", values=keys)


def judged(node: WatchedNode, now_s: float, *beats: DiagnosticStatus) -> list[tuple[str, bytes, str]]:
    for beat in beats:
        node.heard(beat, now_s)
    return [(s.name.rpartition("/")[2], level(s), s.message) for s in node.statuses(now_s)]


def test_misses_of_the_window_raise_and_lower_the_engine() -> None:
    # t [s]        0   1   2    3    4    5
    # inferences   10  20  30   40   50   60
    # misses       0   0   1    1    1    1      window 2 s: 0, 5, 5, 0, 0 %; at 5 % it warns
    node = WatchedNode("n", LIMITS)
    levels = [
        judged(node, t, heartbeat(deadlines=10 * (t + 1), deadline_misses=int(t >= 2), rate_hz=10.0))[0]
        for t in range(6)
    ]
    late = "5.0 % of the inferences came after the deadline of 100.0 ms"
    assert [entry[1] for entry in levels] == [OK, OK, WARN, WARN, OK, OK]
    assert (levels[2][2], levels[4][2]) == (late, "running")


def test_a_restarted_node_has_no_alarms_of_its_predecessor() -> None:
    node = WatchedNode("n", LIMITS)
    judged(node, 0, heartbeat(deadlines=10, deadline_misses=0))
    assert judged(node, 1, heartbeat(deadlines=20, deadline_misses=10))[0][1] == WARN
    assert judged(node, 2, heartbeat(start=2, deadlines=30, deadline_misses=20))[0][1] == OK


@pytest.mark.parametrize(("driver", "share", "wanted"), [("image", 50.0, WARN), ("tick", 0.0, OK)])
def test_being_replaced_is_a_loss_where_the_engine_runs_on_each(driver: str, share: float, wanted: bytes) -> None:
    node = WatchedNode("n", LIMITS)
    for t in range(2):
        parts = judged(node, t, heartbeat(
            driven_by=driver, input__image__topic="/image", input__image__problem=None,
            ledger__image__received=20 * t, ledger__image__replaced=10 * t, ledger__image__lost_before=None,
        ))  # fmt: skip
    assert parts[1][:2] == ("image", wanted)
    values = from_key_values(node.statuses(1)[1].values)
    assert (values["drop_share_pct"], values["lost_before"], values["age_s"]) == (share, None, None)


def test_messages_lost_before_the_callback_count_as_offered() -> None:
    node = WatchedNode("n", LIMITS)
    for t in range(2):
        parts = judged(node, t, heartbeat(
            input__force__topic="/force", input__force__problem=None, ledger__force__received=90 * t,
            ledger__force__lost_before=10 * t,
        ))  # fmt: skip
    assert parts[1] == ("force", WARN, "10.0 % of the messages were dropped")


def test_ticks_that_found_the_engine_busy_are_the_engines_drops() -> None:
    node = WatchedNode("n", LIMITS)
    for t in range(2):
        parts = judged(node, t, heartbeat(ledger__tick__received=10 * t, ledger__tick__replaced=4 * t))
    assert parts == [("engine", WARN, "40.0 % of the messages were dropped")]


def test_a_silent_node_is_stale_from_5_s() -> None:
    node = WatchedNode("n", LIMITS)
    assert judged(node, 0, heartbeat(message="driving")) == [("engine", OK, "driving")]
    assert judged(node, 5.0)[0][1] == OK
    assert judged(node, 5.1) == [("engine", STALE, "silent for 5.1 s; it said before: driving")]


# Hand-made samples ----------------------------------------------------------------------------------------------------


def sample(degc: float | None, memory_used_mb: float = 500.0, monotonic_ns: int = 0) -> MachineSample:
    host = HostSample(None, (None, 12.5), None, (None, None), None, None, 2, memory_used_mb, 1000.0, degc)
    return MachineSample(monotonic_ns, 0, host)


def test_the_machine_warns_from_85_and_fails_from_95_degc() -> None:
    limits = MachineLimits(5.0, Limits(85, 95, 3), Limits(90, None, 2), Limits(2, None, 0.2))
    machine = MachineStatuses("robot1/monitor_node", limits)
    seen = [level(machine.of(sample(degc), 0)[1]) for degc in (84, 85, 83, 82, 95, 93, 92, 82, None)]
    assert seen == [OK, WARN, WARN, OK, ERROR, ERROR, WARN, OK, OK]
    host = [level(machine.of(sample(None, used), 0)[0]) for used in (899, 900, 890, 880)]
    assert host == [OK, WARN, WARN, OK]
    host_status, platform_status = machine.of(sample(None), 0)
    assert host_status.name == "monitor_node: robot1/monitor_node/host"
    assert {pair.key: pair.value for pair in platform_status.values} == {
        "temperature_degc": "null", "power_w": "null", "cpu_mhz": "null", "governor": "null", "nvpmodel": "null",
        "jetson_clocks": "null", "cpu0_mhz": "null", "cpu1_mhz": "null",
    }  # fmt: skip
    assert json.loads(next(p.value for p in host_status.values if p.key == "cpu1_pct")) == 12.5
    late = machine.of(sample(20.0, monotonic_ns=0), 6_000_000_000)
    assert [(level(s), s.message.startswith("no sample for 6.0 s")) for s in late] == [(STALE, True)] * 2
