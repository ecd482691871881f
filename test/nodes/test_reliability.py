"""How images are read, and what is said of a camera in stock settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from support.paths import ROOT
from support.processes import Process, Ros, inherited

from perf_inference.bringup.middleware import profile
from perf_inference.bringup.tuning import ALLOCATOR
from perf_inference.nodes.bench import camera
from perf_inference.nodes.images.reliability import Counts, Judge
from perf_inference.nodes.reports.messages import from_key_values

S = 1_000_000_000


def test_reliable_is_tried_where_much_is_lost_and_kept_where_it_brings_more() -> None:
    # t [s]      0        2        4              6
    # received   0        6        6 + 50         6 + 50 + 55      of 60 in two seconds
    # lost       0       54
    judge = Judge("auto")
    assert not judge.look(Counts(0, 0, 0), offered=True)
    assert judge.look(Counts(6, 54, 2 * S), offered=True)
    assert judge.reliable
    assert judge.lost == 0.9
    assert not judge.look(Counts(6, 54, 2 * S), offered=True)  # the reader is made anew
    assert not judge.look(Counts(56, 64, 4 * S), offered=True)
    assert judge.reliable
    assert not judge.look(Counts(57, 130, 6 * S), offered=True)  # whatever comes now, it is not tried again
    assert judge.reliable


def test_best_effort_comes_back_where_it_brought_more() -> None:
    judge = Judge("auto")
    judge.look(Counts(0, 0, 0), offered=True)
    assert judge.look(Counts(40, 20, 2 * S), offered=True)
    judge.look(Counts(40, 20, 2 * S), offered=True)
    assert not judge.look(Counts(45, 20, 7 * S), offered=True)  # too few for a judgement yet
    assert judge.look(Counts(45, 20, 8 * S), offered=True)
    assert not judge.reliable
    judge.look(Counts(45, 20, 8 * S), offered=True)
    assert not judge.look(Counts(65, 60, 10 * S), offered=True)
    assert not judge.reliable
    judge.another_publisher("auto")
    judge.look(Counts(65, 60, 10 * S), offered=True)
    assert judge.look(Counts(75, 110, 12 * S), offered=True)


@pytest.mark.parametrize(("wanted", "offered"), [("auto", False), ("best_effort", True), ("reliable", True)])
def test_nothing_is_tried_that_is_not_offered_or_not_wanted(wanted: str, offered: bool) -> None:
    judge = Judge(wanted)
    judge.look(Counts(0, 0, 0), offered)
    assert not judge.look(Counts(6, 54, 2 * S), offered)
    assert judge.reliable == (wanted == "reliable")
    assert judge.lost == 0.9


def test_a_camera_of_which_nothing_arrives_is_tried_too() -> None:
    judge = Judge("auto")
    judge.look(Counts(0, 0, 0), offered=True)
    assert not judge.look(Counts(0, 0, 5 * S), offered=True)
    assert judge.look(Counts(0, 0, 6 * S), offered=True)
    assert judge.nothing


def environment_of(**given: str) -> dict[str, str]:
    """Return what a shell has after the script, of what concerns transport and allocator."""
    script = ROOT / "config" / "camera_env.sh"
    said = subprocess.run(
        ["bash", "-euc", f"source '{script}'; env"], env={"PATH": os.environ["PATH"], **given}, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    lines = (line.partition("=") for line in said.splitlines())
    kept = ("FASTDDS_", "FASTRTPS_", "CYCLONEDDS_", "ZENOH_", "MALLOC_")
    return {name: value for name, _, value in lines if name.startswith(kept)}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_sets_what_the_starters_set_and_leaves_what_the_user_has() -> None:
    found_soon = str(ROOT / "config" / "fastdds_discovery.xml")
    assert Path(found_soon).read_text() == profile("discovery")
    profiles = {"FASTRTPS_DEFAULT_PROFILES_FILE": found_soon, "FASTDDS_DEFAULT_PROFILES_FILE": found_soon}
    builtin = {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT?sockets_size=8MB"}
    assert environment_of() == {**builtin, **profiles, **ALLOCATOR}
    assert environment_of(ROS_DISTRO="jazzy") == {**builtin, **profiles, **ALLOCATOR}
    own = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "MALLOC_TRIM_THRESHOLD_": "1"}
    assert environment_of(**own) == own
    for given, kind in ({"ROS_DISTRO": "humble"}, "publisher"), ({"ROS_LOCALHOST_ONLY": "1"}, "this_host"):
        file = str(ROOT / "config" / f"fastdds_{kind}.xml")
        profiles = {"FASTRTPS_DEFAULT_PROFILES_FILE": file, "FASTDDS_DEFAULT_PROFILES_FILE": file}
        assert environment_of(**given) == {**profiles, **ALLOCATOR}
        assert Path(file).read_text() == profile(kind, 8)
    assert "CYCLONEDDS_URI" in environment_of(RMW_IMPLEMENTATION="rmw_cyclonedds_cpp")
    assert "ZENOH_CONFIG_OVERRIDE" in environment_of(RMW_IMPLEMENTATION="rmw_zenoh_cpp")


@pytest.mark.long
@pytest.mark.parametrize("offers", ["best_effort", "reliable"])
@pytest.mark.parametrize("reliability", ["best_effort", "auto"])
def test_a_camera_in_stock_settings(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, offers: str, reliability: str
) -> None:
    """`make prove PROVE=stock` prints how many of 600 images arrive."""
    np.save(tmp_path / "image.npy", np.zeros((480, 640, 3), np.uint8))
    beats: list[DiagnosticStatus] = ros.collect(DiagnosticStatus, "inference/status")
    diagnostics: list[DiagnosticArray] = ros.collect(DiagnosticArray, "/diagnostics")
    start_node("monitor_node")
    node = start_node("yolo_node", "-p", f"reliability:={reliability}", "-p", "threads:=1")
    ros.wait_until_active("yolo_node")
    more = ["--reliable"] if offers == "reliable" else []
    env = {name: value for name, value in inherited().items() if not name.startswith(("FASTDDS_", "MALLOC_"))}
    sender = Process([sys.executable, camera.__file__, str(tmp_path / "image.npy"), "--frames", "600", *more], env)
    try:
        said = "lost before they arrive: camera.py"
        told = ros.spin_until(lambda: any(said in beat.message for beat in beats), 60)
        also = ros.spin_until(
            lambda: any(said in status.message for array in diagnostics for status in array.status), 10
        )
        assert ros.spin_until(lambda: not sender.alive, 60)
    finally:
        sender.stop()
    last = from_key_values([beat for beat in beats if beat.name == "yolo_node"][-1].values)
    print(f"\n{offers} camera, reliability {reliability}: {last['ledger.image.received']} of 600 arrive, "
          f"read {last['input.image.reliability']}")  # fmt: skip
    assert told, node.output()
    assert also
    message = next(beat.message for beat in beats if said in beat.message)
    assert f"source {ROOT}/config/camera_env.sh" in message
    assert last["input.image.reliability"] == ("reliable" if (offers, reliability) == ("reliable", "auto")
                                               else "best_effort")  # fmt: skip
