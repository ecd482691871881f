"""What is not installed, in one sentence with the command that installs it here."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys

NO_ROS = (
    "rclpy is not installed: source a ROS 2 (source /opt/ros/DISTRO/setup.bash), or use CPython 3.11 or 3.12 on x86-64 "
    "and run: pip install 'ros-rclpy[fastrtps]' ros-common-interfaces"
)
_ROS = re.compile(r"rclpy|ament_index_python|rcl_interfaces|builtin_interfaces|rosgraph_msgs|\w+_msgs|std_srvs")
_PACKAGES = {
    "aiohttp": "aiohttp",
    "cv2": "opencv-python-headless",
    "foxglove": "foxglove-sdk",
    "google": "protobuf",
    "grpc": "grpcio",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "orjson": "orjson",
    "psutil": "psutil",
    "pyarrow": "pyarrow",
    "rich": "rich",
    "rosbags": "rosbags",
    "mcap": "mcap",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "soundfile": "soundfile",
    "textual": "textual",
    "torch": "torch",
    "transformers": "transformers",
    "tritonclient": "tritonclient[grpc]",
    "yaml": "PyYAML",
    "zstandard": "zstandard",
}  # module: what installs it
_APT = {"cv2": "python3-opencv", "numpy": "python3-numpy", "yaml": "python3-yaml", "psutil": "python3-psutil"}
_WITH_NUMPY_1 = ("humble", "iron", "jazzy", "kilted")  # Ubuntu 22.04 and 24.04: cv_bridge was built against it
EXTRAS = {
    "audio": ("scipy", "soundfile"),
    "build": ("onnx",),
    "console": ("textual",),
    "cpu": ("onnxruntime",),
    "gpu": ("nvidia-ml-py",),
    "openvino": ("openvino",),
    "parquet": ("pyarrow",),
    "remote": ("grpcio", "protobuf", "tritonclient[grpc]"),
    "torch": ("safetensors", "torch"),
    "transformers": ("pillow", "safetensors", "transformers"),
    "view": ("aiohttp", "foxglove-sdk"),
}
"""What the extras of setup.py consist of."""


def sentence(error: ModuleNotFoundError) -> str:
    """Return what is to be installed; the empty text for a module that this package knows nothing of."""
    module = (error.name or "").partition(".")[0]
    if _ROS.fullmatch(module):
        if importlib.util.find_spec("rclpy") is None:
            return NO_ROS
        return f"{module} is not installed: sudo apt install ros-$ROS_DISTRO-{module.replace('_', '-')}"
    if module not in _PACKAGES:
        return ""
    if os.environ.get("ROS_DISTRO") and module in _APT:  # pip's would bring another NumPy than ROS was built with
        return f"{module} is not installed: sudo apt install {_APT[module]}"
    return f"{module} is not installed: {pip(_PACKAGES[module])}"


def extra(names: str) -> str:
    """Return the command that installs what extras of this package consist of: no index has the package itself."""
    return pip(*dict.fromkeys(package for name in names.split(",") for package in EXTRAS[name]))


def pip(*packages: str) -> str:
    """Return the command that installs these packages for this interpreter; see `install_line`."""
    return f"{shlex.quote(sys.executable or 'python3')} -m {install_line(*packages)}"


def install_line(*packages: str) -> str:
    """Return pip's line that installs these packages; a NumPy of version 1 stays one.

    Beside a ROS installation whose cv_bridge was built against NumPy 1 it keeps NumPy at that too: under another one
    cv_bridge does not import.
    """
    old = _numpy().startswith("1.") or os.environ.get("ROS_DISTRO") in _WITH_NUMPY_1
    return f"pip install {shlex.join([*packages, *(('numpy<2',) if old else ())])}"


def _numpy() -> str:
    if (loaded := sys.modules.get("numpy")) is not None:
        return str(getattr(loaded, "__version__", ""))
    from importlib.metadata import PackageNotFoundError, version  # 25 ms, in every process

    try:
        return version("numpy")
    except PackageNotFoundError:
        return ""
