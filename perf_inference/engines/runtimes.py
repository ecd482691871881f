"""The runtimes: a row says all about one, and `register` adds one from elsewhere.

Another package names its row as an entry point of the group `perf_inference.runtimes`:

    [project.entry-points."perf_inference.runtimes"]
    my_runtime = "my_package.my_runtime:RUNTIME"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from perf_inference import missing
from perf_inference.engines.policy_folder import is_config, sign_of
from perf_inference.entry_points import entry_points
from perf_inference.errors import ConfigError, in_one_line
from perf_inference.files.json_file import read_json
from perf_inference.printable import shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "perf_inference.runtimes"
AUTO = "auto"
AS_STORED, AT_LOADING, BUILT = "as the file is", "cast while it is loaded", "built once, kept in the cache"
"""How a runtime comes to a precision."""
ASYMMETRIC, SYMMETRIC = "asymmetric", "symmetric"
"""How int8 is calibrated: with zero points and quantised biases, or with neither, as TensorRT's parser takes it."""
_CUDA, _GPU, _DLA = "cuda[:N]", "gpu[:N]", "dla[:N]"


@dataclass(frozen=True)
class Runtime:
    """What runs models of some formats."""

    name: str
    module: str  # has `open_engine(model: str, options: Options) -> Engine`; imported when a model is loaded
    suffixes: tuple[str, ...]  # of the files that it takes as they are
    library: str  # what the module imports; `a or b`: one of them
    install: str  # the command that brings it
    precisions: Mapping[str, str]  # supported: how it is obtained; `auto` is always accepted and not listed
    devices: tuple[str, ...] = ("cpu", _CUDA)  # beside auto; [:N] is the number of one
    instead: Mapping[str, str] = field(default_factory=dict)  # not supported (empty: any): what works in its place
    files: str = ""  # what others can be made from its files: what they are called
    made_from: tuple[str, ...] = ()  # the runtimes of the files that its own can be made from
    made_suffix: str = ""  # of what is made
    converter: str = ""  # module that makes it of an ONNX file: `convert(source, target, job)`, `in_file(precision)`
    quantisation: str = ASYMMETRIC  # of int8; what must be SYMMETRIC cannot be made without calibration
    versions: tuple[str, ...] = ()  # the libraries that what is made depends on
    takes_minutes: bool = False  # to make: the user says when
    made_for_device: bool = False  # what is made runs on this GPU and this driver only
    shared_objects: tuple[str, ...] = ()  # big ones of the library, in the order in which they need each other

    @property
    def installed(self) -> bool:
        """Whether its library is here; found without importing it."""
        try:
            return any(find_spec(name) is not None for name in self.library.split(" or "))
        except ModuleNotFoundError:  # of a parent package
            return False


def _extra(name: str) -> str:
    return missing.extra(name)


_ENGINES, _CONVERTERS = "perf_inference.engines", "perf_inference.model_build.converters"
_ONNX_OR_TORCH = ("onnx", "torch", "transformers", "lerobot")
_TORCH = ("libc10.so", "libtorch_cpu.so", "libc10_cuda.so", "libtorch_cuda.so", "libtorch_python.so")
_ROWS = (
    Runtime(
        name="onnx",
        module=f"{_ENGINES}.onnx.engine",
        suffixes=(".onnx",),
        library="onnxruntime",
        install=_extra("cpu") + " (or [cuda])",
        precisions={"fp32": AS_STORED, "fp16": BUILT, "int8": BUILT},
        instead={"bf16": "ONNX Runtime's CPU kernels have no bf16; use precision fp16, or runtime torch or openvino"},
        files=".onnx file",
        made_from=_ONNX_OR_TORCH,
        made_suffix=".onnx",
        versions=("onnx", "onnxruntime"),
    ),
    Runtime(
        name="torch",
        module=f"{_ENGINES}.pytorch.torch",
        suffixes=(".safetensors", ".pt", ".pth"),
        library="torch",
        install=_extra("torch"),
        precisions={"fp32": AS_STORED, "fp16": AT_LOADING, "bf16": AT_LOADING, "int8": AT_LOADING},
        files="checkpoint (.safetensors or .pt)",
        shared_objects=_TORCH,
    ),
    Runtime(
        name="torchscript",
        module=f"{_ENGINES}.pytorch.torchscript",
        suffixes=(".torchscript", ".ts"),
        library="torch",
        install=_extra("torch"),
        precisions=dict.fromkeys(("fp32", "fp16", "bf16", "int8"), BUILT),
        made_from=("torch",),
        made_suffix=".torchscript",
        versions=("torch",),
        shared_objects=_TORCH,
    ),
    Runtime(
        name="torch_export",
        module=f"{_ENGINES}.pytorch.torch_export",
        suffixes=(".pt2",),
        library="torch",
        install=_extra("torch"),
        precisions=dict.fromkeys(("fp32", "fp16", "bf16"), BUILT),
        instead={"int8": "torch.export takes no module that is quantised while it runs; use runtime torchscript"},
        made_from=("torch",),
        made_suffix=".pt2",
        versions=("torch",),
        shared_objects=_TORCH,
    ),
    Runtime(
        name="tensorrt",
        module=f"{_ENGINES}.tensorrt.engine",
        suffixes=(".engine", ".plan", ".trt"),
        library="tensorrt or tensorrt_lean",
        install=missing.install_line("tensorrt")
        + "; on a Jetson take JetPack's, by a venv made with --system-site-packages",
        precisions=dict.fromkeys(("fp32", "fp16", "bf16", "int8"), BUILT),
        devices=(_CUDA, _DLA),
        made_from=_ONNX_OR_TORCH,
        made_suffix=".engine",
        converter=f"{_CONVERTERS}.tensorrt",
        quantisation=SYMMETRIC,
        versions=("tensorrt", "onnx"),
        takes_minutes=True,
        made_for_device=True,
    ),
    Runtime(
        name="openvino",
        module=f"{_ENGINES}.openvino.engine",
        suffixes=(".xml", ".onnx"),
        library="openvino",
        install=_extra("openvino"),
        precisions={"fp32": AS_STORED, "fp16": BUILT, "bf16": AT_LOADING, "int8": BUILT},
        devices=("cpu", _GPU, "npu"),
        made_from=_ONNX_OR_TORCH,
        made_suffix=".xml",
        converter=f"{_CONVERTERS}.openvino",
        versions=("openvino", "onnx", "onnxruntime"),
    ),
    Runtime(
        name="transformers",
        module=f"{_ENGINES}.huggingface.engine",
        suffixes=(),  # a folder
        library="transformers",
        install=_extra("torch,transformers"),
        precisions={"fp32": AS_STORED, "fp16": AT_LOADING, "bf16": AT_LOADING, "int8": AT_LOADING},
        files="Hugging Face folder of a network of sound",
        shared_objects=_TORCH,
    ),
    Runtime(
        name="lerobot",
        module=f"{_ENGINES}.lerobot.engine",
        suffixes=(),  # a folder
        library="subprocess",  # LeRobot itself is in an environment of its own
        install="",
        precisions={"fp32": AS_STORED},
        files="LeRobot policy folder",
    ),
    Runtime(
        name="remote",
        module=f"{_ENGINES}.remote.engine",
        suffixes=(),
        library="tritonclient",
        install=_extra("remote"),
        precisions={},
        devices=("cpu", _CUDA, _GPU, "npu"),  # its server has its own
        instead={"": "a remote model has the precision that its server gives it; set precision: auto"},
    ),
    Runtime(
        name="chat",
        module=f"{_ENGINES}.chat.engine",
        suffixes=(),
        library="http",  # the standard library's
        install="",
        precisions={},
        devices=("cpu", _CUDA, _GPU, "npu"),  # its server has its own
        instead={"": "a remote model has the precision that its server gives it; set precision: auto"},
    ),
)
RUNTIMES = {row.name: row for row in _ROWS}
_broken: dict[str, str] = {}  # those of other packages that cannot be imported, and why
CHAT = ("chat+http://", "chat+https://")  # of an OpenAI-compatible server: chat+http://host:8000/MODEL
SCHEMES = ("grpc://", "grpcs://", "http://", "https://", *CHAT)  # of a remote model: grpc://host:8081/MODEL


def register(runtime: Runtime) -> None:
    """Add a runtime to this process.

    Raises:
        ConfigError: there is another one of this name.
    """
    if RUNTIMES.setdefault(runtime.name, runtime) != runtime:
        raise ConfigError(f"runtime '{runtime.name}' is registered twice; give one of them another name")


def registered() -> tuple[str, ...]:
    """Return the names of all runtimes, those that other packages register too."""
    load_others()
    return tuple(RUNTIMES)


@cache
def load_others() -> None:
    """Register the runtimes of other packages, once."""
    for point in entry_points(group=GROUP):
        _load(point)


def _load(point: EntryPoint) -> None:
    try:
        register(point.load())
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        _broken[point.name] = in_one_line(error)


def check_device(runtime: Runtime, device: str) -> None:
    """Raise ConfigError unless the runtime has devices of this kind."""
    words = ", ".join((AUTO, *runtime.devices))
    if not re.fullmatch(words.replace(", ", "|").replace("[:N]", "(:[0-9]{1,3})?"), device):
        raise ConfigError(f"device must be one of {words} for runtime '{runtime.name}', got '{shown(device)}'")


def is_remote(model: str) -> bool:
    """Return whether the model is one that a server runs."""
    return model.startswith(SCHEMES)


def runtime_of(model: str | Path, wanted: str = AUTO) -> Runtime:
    """Return the runtime of this name, or with `auto` that which the model's file is for.

    Raises:
        ConfigError: no such runtime, or a file that none is for.
    """
    if wanted != AUTO:
        if wanted not in RUNTIMES and wanted not in registered():
            broken = "".join(f"; runtime '{name}' cannot be imported: {why}" for name, why in _broken.items())
            raise ConfigError(f"runtime must be one of {', '.join((AUTO, *RUNTIMES))}, got '{wanted}'{broken}")
        return RUNTIMES[wanted]
    if is_remote(str(model)):
        return RUNTIMES["chat" if str(model).startswith(CHAT) else "remote"]
    path = Path(model)
    if path.is_dir():
        return RUNTIMES["lerobot" if _is_lerobot(path) else "transformers"]
    if path.suffix in (".pt", ".pth") and _is_torchscript(path):
        return RUNTIMES["torchscript"]
    for names in (tuple(RUNTIMES), registered()):
        for name in names:
            if path.suffix in RUNTIMES[name].suffixes:
                return RUNTIMES[name]
    known = ", ".join(suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes)
    raise ConfigError(
        f"'{path}' must end in one of {known}, got '{path.suffix or 'no suffix'}'; rename it, or set runtime"
    )


def _is_lerobot(path: Path) -> bool:
    """Return whether a folder is of a LeRobot policy."""
    try:
        return is_config(read_json(sign_of(path)))
    except ConfigError:  # whoever reads it will say what is wrong
        return False


def _is_torchscript(path: Path) -> bool:
    """Return whether a .pt file was written by torch.jit.save: an archive that has code in it."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except Exception:  # of every kind, from a damaged one; the runtime will say what is wrong with it
        return False
