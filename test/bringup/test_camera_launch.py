"""`camera.launch.py` with the real launch, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("launch_ros", reason="needs launch and launch_ros, of a ROS 2 installation")

DRIVER = """
import sys
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

def generate_launch_description():
    say = "import os, sys; print('HAS', os.environ.get('FASTDDS_BUILTIN_TRANSPORTS'), sys.argv[1])"
    return LaunchDescription([
        DeclareLaunchArgument("video_device", default_value="none"),
        ExecuteProcess(cmd=[sys.executable, "-c", say, LaunchConfiguration("video_device")], output="screen"),
    ])
"""


def launched(*arguments: str, **environment: str) -> str:
    command = [
        sys.executable,
        str(shutil.which("ros2")),
        "launch",
        str(ROOT / "launch" / "camera.launch.py"),
        *arguments,
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("FASTDDS_")}
    ended = subprocess.run(
        command, env={**env, **environment}, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    return ended.stdout + ended.stderr


def test_the_driver_has_our_settings_and_its_own_arguments(tmp_path: Path) -> None:
    (tmp_path / "driver.launch.py").write_text(DRIVER)
    given = (f"driver:={tmp_path}/driver.launch.py", "video_device:=/dev/video7")
    assert "HAS DEFAULT?sockets_size=" in launched(*given)
    said = launched(*given, FASTDDS_BUILTIN_TRANSPORTS="UDPv4")
    assert "HAS UDPv4 /dev/video7" in said


def test_a_driver_that_is_not_there_is_named() -> None:
    assert "driver must be a launch file, or PACKAGE/FILE of an installed package, got 'no/such.py'" in launched(
        "driver:=no/such.py"
    )
