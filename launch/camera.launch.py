"""Include a camera driver's launch file, with what its process needs to send images.

ros2 launch perf_inference camera.launch.py driver:=usb_cam/camera.launch.py
ros2 launch perf_inference camera.launch.py driver:=/path/to/driver.launch.py video_device:=/dev/video0

Arguments that this file does not know are the driver's. What you have set in the environment stays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.actions import SetEnvironmentVariable as Set
from launch.launch_description_sources import AnyLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from perf_inference.bringup import tuning


def generate_launch_description() -> LaunchDescription:
    """Return the argument, and what follows from it."""
    driver = DeclareLaunchArgument("driver", description="launch file of the driver: its path, or PACKAGE/FILE")
    return LaunchDescription([driver, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[Any]:
    file = _file(str(LaunchConfiguration("driver").perform(context)))
    chosen = tuning.choose(dict(os.environ), ["the camera"])
    own = {name: value for name, value in chosen.of(images=True).items() if name != tuning.TUNING}
    return [
        LogInfo(msg=chosen.line),
        *(Set(name, value) for name, value in own.items()),
        IncludeLaunchDescription(AnyLaunchDescriptionSource(str(file))),
    ]


def _file(driver: str) -> Path:
    """Return the launch file; of a package, where its launch files are."""
    path = Path(driver).expanduser()
    package, _, name = driver.partition("/")
    if not path.is_file() and package and name:
        try:
            share = Path(get_package_share_directory(package))
        except PackageNotFoundError:
            share = Path()
        path = next((found for found in (share / "launch" / name, share / name) if found.is_file()), path)
    if not path.is_file():
        raise RuntimeError(f"driver must be a launch file, or PACKAGE/FILE of an installed package, got '{driver}'")
    return path
