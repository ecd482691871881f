"""ONNX Runtime's wheel for GPUs, where there is none: its own parser takes our options, and its own loader is quoted.

The parser of TensorRT's options is reached once the provider's library is loaded, so libraries that it links to stand
there with no more than the names that it asks for. No option goes through them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import perf_inference

WHEELS = ("onnxruntime-gpu==1.31.1", "nvidia-cuda-runtime==13.*")
_OBJECT = "static long zero(void) { return 0; }\nstatic void *table[64] = {[0 ... 63] = (void *)zero};\n"
_OBJECT += "static void *object = table;\nvoid *getPluginRegistry(void) { return &object; }\n"


def functions(name: str, *parts: str) -> str:
    return "".join(f"void *{name.format(part)}(void) {{ return 0; }}\n" for part in parts)


LIBRARIES = {  # source by soname
    "libnvinfer.so.10": _OBJECT
    + "int getInferLibVersion(void) { return 101400; }\n"
    + functions("createInfer{}_INTERNAL", "Builder", "Runtime", "Refitter"),
    "libnvonnxparser.so.10": functions("createNvOnnxParser{}_INTERNAL", "", "Refitter"),
    "libcublas.so.13": functions("cublas{}_v2", "Create", "Destroy", "SetStream"),
    "libcudnn.so.9": functions("cudnn{}", "Create", "Destroy", "SetStream"),
}
_VERSIONED = ("libcublas.so.13", "libcudnn.so.9")  # their names carry the soname

_OPTIONS = """
import sys
from dataclasses import replace
import onnxruntime
from perf_inference.engines import MODELS, Options
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.onnx.providers import CPU, TENSORRT, providers

model, refused = str(MODELS / "policy.onnx"), 0

def said(options):
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model, quiet, providers=[(TENSORRT, options), CPU], enable_fallback=0)
    except Exception as error:
        return str(error)
    return "taken"

for precision in ("fp32", "fp16", "bf16", "int8"):
    file = replace(read_onnx_file(MODELS / "policy.onnx"), precision=precision)
    options = providers(file, Options(providers=("tensorrt",)), onnxruntime.get_available_providers())[0].options
    text = said(options)
    assert "should be" not in text and "Invalid TensorRT EP option" not in text, text
    for name in [name for name, value in options.items() if value == "True"]:
        assert f"The value for the key '{name}' should be 'True' or 'False'" in said({**options, name: "1"})
        refused += 1
assert "Invalid TensorRT EP option: trt_no_such" in said({"trt_no_such": "True"})
print(refused, "options")
"""

_LOADING = """
from perf_inference.engines import Options, load
from perf_inference.errors import ConfigError

for options in (Options(device="cuda:0"), Options(providers=("cuda",)), Options(providers=("tensorrt",))):
    try:
        load("policy", "onnx", options)
    except ConfigError as error:
        print(error)
print(load("policy", "onnx").info.device)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime for GPUs beside, not in, the environment."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *WHEELS]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def run(code: str, wheel: Path, home: Path, libraries: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = [str(wheel), str(Path(perf_inference.__file__).parents[1]), *(entry for entry in sys.path if entry)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "XDG_CACHE_HOME": str(home)}
    if libraries is not None:
        env["LD_LIBRARY_PATH"] = str(libraries)
    return subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_tensorrts_parser_takes_our_options_and_no_others(wheel: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    for soname, source in LIBRARIES.items():
        (tmp_path / "library.c").write_text(source)
        (tmp_path / "names").write_text(f"{soname} {{ global: *; }};")
        names = [f"-Wl,--version-script={tmp_path / 'names'}"] if soname in _VERSIONED else []
        built = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{soname}", *names, "-o", str(tmp_path / soname)]
        subprocess.run([compiler, *built, str(tmp_path / "library.c")], check=True)
    (cudart,) = wheel.glob("nvidia/*/lib/libcudart.so.13")
    shutil.copy(cudart, tmp_path)
    done = run(_OPTIONS, wheel, tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "11 options"  # two of the caches, and one of each precision but fp32


@pytest.mark.long
def test_what_is_missing_is_named(wheel: Path, tmp_path: Path) -> None:
    done = run(_LOADING, wheel, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    named, cuda, tensorrt, auto = done.stdout.splitlines()
    assert "cannot be run on device 'cuda:0': libcublasLt.so.13: cannot open shared object file" in named
    assert "cannot be run by cuda on device 'auto': libcublasLt.so.13: cannot open shared object file" in cuda
    assert "cannot be run by tensorrt on device 'auto': libcublas.so.13: cannot open shared object file" in tensorrt
    assert "or build it for runtime tensorrt: perf-inference build " in tensorrt
    assert auto == "cpu"
    assert "CUDAExecutionProvider cannot be used: libcublasLt.so.13" in done.stderr
