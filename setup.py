"""Build perf_inference: by colcon as an ament_python package, or by pip into a virtual environment."""

import sys
from glob import glob
from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

NAME = "perf_inference"
MODELS = ("onnx", "safetensors", "pt", "txt")
NODES = run_path(f"{NAME}/bringup/executables.py")["NODES"]

DATA_FILES = [
    ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
    (f"share/{NAME}", ["package.xml"]),
    (f"share/{NAME}/launch", sorted(glob("launch/*.py"))),
    (f"share/{NAME}/config", sorted(glob("config/*.*"))),
]
# An editable install would copy these files once and serve them stale ever after.
if "editable_wheel" in sys.argv:
    DATA_FILES = []

# What rosdep lacks, and the lowest versions it installs of the rest (Ubuntu 22.04), above known holes.
# docs/dependencies.md says why each, and why not lower.
REQUIRES = [
    "mcap>=1.4",
    "numpy>=1.22.4",
    "orjson>=3.11.6",
    "psutil>=5.9",
    "PyYAML>=5.4",
    "rich>=11",
    "rosbags>=0.11",
    "zstandard>=0.19",
]

EXTRAS = {
    # ONNX Runtime, one of the two: both fill one folder, and pip knows nothing of it. A Jetson has builds of its own.
    "cpu": ["onnxruntime>=1.19"],
    "cuda": ["nvidia-ml-py>=12", "onnxruntime-gpu[cuda,cudnn]>=1.23"],
    # Where no ROS 2 is sourced: rclpy and the messages as wheels (CPython 3.11 and 3.12 on x86-64), and OpenCV.
    "standalone": [
        "aiohttp>=3.14.3",
        "onnx>=1.21",
        "opencv-python-headless>=4.12",
        "ros-common-interfaces>=5.5",
        "ros-rclpy[fastrtps]>=9.1",
        "textual>=8",
    ],
    # The same on Jazzy's wheels (CPython 3.12 on x86-64), and without any ROS: `make test-jazzy`, `make test-310`.
    "standalone-jazzy": [
        "aiohttp>=3.14.3",
        "opencv-python-headless>=4.12",
        "ros-common-interfaces>=5.3,<5.4",
        "ros-rclpy[fastrtps]>=7.1,<7.2",
    ],
    "without-ros": ["opencv-python-headless>=4.12"],
    # `perf-inference view`, and its `--foxglove`.
    "view": ["aiohttp>=3.14.3", "foxglove-sdk>=0.30"],
    "torch": ["safetensors>=0.4", "torch>=2.10"],
    # Captioners and networks of sound from Hugging Face folders, with `torch`; torchvision is not needed.
    "transformers": ["pillow>=11.3", "safetensors>=0.4", "transformers>=5"],
    "audio": ["scipy>=1.8", "soundfile>=0.12"],
    "gpu": ["nvidia-ml-py>=12"],
    "openvino": ["openvino>=2024.4"],
    "parquet": ["pyarrow>=14.0.1"],
    "console": ["textual>=8"],
    "remote": ["grpcio>=1.67.1", "protobuf>=6.33.5", "tritonclient[grpc]>=2.40"],
    "serve": ["mlserver>=1.7.1"],
    "build": ["onnx>=1.21"],
    "test": [
        "aiohttp>=3.14.3",
        "duckdb>=1.1",
        "foxglove-sdk>=0.30",
        "hypothesis>=6.80",
        "nvidia-ml-py>=12",
        "grpcio>=1.67.1",
        "mlserver>=1.7.1",
        "onnx>=1.21",
        "openvino>=2024.4",
        "pandas>=1.3",
        "protobuf>=6.33.5",
        "pyarrow>=14.0.1",
        "pytest>=6.2.5",
        "textual>=8",
        'pytest-retry>=1.7; python_version >= "3.11"',  # needs a pytest newer than Humble's
        "pytest-xdist>=3.3",
        "scipy>=1.8",
        "soundfile>=0.12",
        "tritonclient[grpc]>=2.40",
    ],
    "dev": [
        "colcon-common-extensions>=0.3",
        "mypy>=1.15",
        "ruff>=0.17.5,<0.18",  # a minor release may format differently
        "setuptools>=78.1.1,<80",  # from 80 on, colcon's `setup.py develop` is gone
        "types-psutil",
        "types-PyYAML",
    ],
}

setup(
    name=NAME,
    version=run_path(f"{NAME}/_version.py")["VERSION"],
    description="Truthful performance figures for learned policies, captioners and detectors on ROS 2 robots",
    author="The perf_inference developers",
    maintainer="The perf_inference developers",
    maintainer_email="perf-inference@users.noreply.github.com",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: [
            "py.typed",
            *(f"models/*.{kind}" for kind in MODELS),
            "bench/gpu_check/*.md",
            "bench/contention/networks/*.onnx",
        ]
    },
    data_files=DATA_FILES,
    python_requires=">=3.10",
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    zip_safe=False,
    entry_points={
        # Networks whose checkpoints the runtime `torch` takes; other packages add theirs to the same group.
        "perf_inference.architectures": [
            *Path(f"{NAME}/models/networks.txt").read_text().splitlines(),
        ],
        "console_scripts": [
            f"perf-inference = {NAME}.cli:entry",
            f"container = {NAME}.nodes.container:main",
            *(f"{node} = {NAME}.nodes.{node}:main" for node in NODES),
        ],
    },
)
