"""The environments with Ultralytics that the comparisons run in; made once, where PERF_INFERENCE_ULTRALYTICS says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = Path(os.environ.get("PERF_INFERENCE_ULTRALYTICS", Path.home() / ".cache/perf_inference/ultralytics"))
PACKAGES = [
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pyyaml",
    "requests",
    "scipy",
    "matplotlib",
    "psutil",
    "py-cpuinfo",
    "pandas",
    "tqdm",
    "seaborn",
    "onnx",
    "onnxruntime",
    "onnxslim",
    "onnxscript",
    "lap",
    "ultralytics-thop",
    "polars",
    "filelock",
    "typing-extensions",
    "sympy",
    "networkx",
    "jinja2",
    "fsspec",
    "setuptools",
    "contourpy",
    "cycler",
    "fonttools",
    "kiwisolver",
    "packaging",
    "pyparsing",
    "python-dateutil",
    "six",
    "pytz",
    "charset-normalizer",
    "idna",
    "urllib3",
    "certifi",
    "protobuf",
    "flatbuffers",
    "ml_dtypes",
    "onnx_ir",
    "polars-runtime-32",
    "mpmath",
    "markupsafe",
]


def environment(version: str) -> Path:
    """Return the Python of an environment with this Ultralytics, which is made once."""
    folder = ENVIRONMENTS / version
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--no-deps"]
        for packages in (["torch==2.13.0"], ["torchvision==0.28.0"], PACKAGES, [f"ultralytics=={version}"]):
            subprocess.run([*install, *packages], check=True)
        (folder / ".ready").touch()
    return python


def suppression_in_c(folder: Path) -> Path | None:
    """Return `nms.c`, compiled into this folder; None: there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "nms.so"
    source = Path(__file__).with_name("nms.c")
    subprocess.run([compiler, "-O3", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library
