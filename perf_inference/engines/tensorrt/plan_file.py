"""TensorRT's serialised engines (plans): what is said of one, and whether it fits this machine.

A plan itself tells neither its precision nor its task. What is built here has a header: four bytes (little-endian) with
the length of a JSON object, the object, the plan; Ultralytics writes its own metadata so, too. A plan of trtexec may
have such an object beside it, in a file of its name with `.json` behind it:

    {"metadata": {"task": "detect"}, "built": {"precision": "fp16", "tensorrt": "10.3.0", "gpu": "Orin",
     "compute_capability": "8.7", "source": "yolo.onnx", "shapes": {"images": [1, 3, 640, 640]}}}
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perf_inference.engines.engine import PRECISIONS
from perf_inference.errors import ConfigError

_LENGTH_BYTES, _MOST_BYTES = 4, 1 << 24


@dataclass(frozen=True)
class Machine:
    """What a plan is bound to."""

    tensorrt: str  # version
    gpu: str
    compute_capability: str
    multiprocessors: int = 0  # two Orins share name and capability; 0: not known


@dataclass(frozen=True)
class Built:
    """What a plan was built from and for."""

    precision: str
    tensorrt: str = ""  # version; an empty one is not known
    gpu: str = ""
    compute_capability: str = ""
    source: str = "MODEL"
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    multiprocessors: int = 0
    version_compatible: bool = False  # runs on later versions too
    hardware_compatible: bool = False  # runs on every GPU from Ampere on

    @property
    def command(self) -> str:
        """What builds it for this machine."""
        shapes = "".join(f" --shape {name}={','.join(map(str, shape))}" for name, shape in self.shapes.items())
        kinds = (" --version-compatible", self.version_compatible), (" --hardware-compatible", self.hardware_compatible)
        flags = "".join(flag for flag, wanted in kinds if wanted)
        source = shlex.quote(str(self.source))
        return f"perf-inference build {source} --runtime tensorrt --precision {self.precision}{shapes}{flags}"

    def require_fit(self, here: Machine, path: Path) -> None:
        """Raise ConfigError, with the command that builds it again, unless it was built for such a machine."""
        for what, was, now in (
            ("TensorRT", _release(self.tensorrt), _release(here.tensorrt)),
            ("a GPU of compute capability", self.compute_capability, here.compute_capability),
            ("GPU", self.gpu, here.gpu),
            ("a GPU whose multiprocessors (of its power mode) are", self.multiprocessors, here.multiprocessors),
        ):
            compatible = self.version_compatible if what == "TensorRT" else self.hardware_compatible
            if was and now and was != now and not compatible:
                raise ConfigError(
                    f"'{path}' was built for {what} {was}, but here is {now}; build it for this machine: {self.command}"
                )


@dataclass(frozen=True)
class PlanFile:
    """A plan and what is said of it."""

    plan: memoryview
    metadata: Mapping[str, str]
    built: Built | None  # None: nothing is said


def read_plan(path: Path) -> PlanFile:
    """Read a plan with its header, or with the file beside it.

    Raises:
        ConfigError: it cannot be read, or what is said of it is damaged.
    """
    try:
        content = memoryview(path.read_bytes())
        beside = path.with_name(f"{path.name}.json")
        said = json.loads(beside.read_bytes()) if beside.is_file() else None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' or what is said of it in '{path.name}.json' cannot be read: {error}") from error
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    header, rest = content[_LENGTH_BYTES : _LENGTH_BYTES + length], content[_LENGTH_BYTES + length :]
    if length <= _MOST_BYTES and bytes(header[:1]) == b"{":  # a plan begins with a mark that is a greater number
        try:
            said, content = json.loads(bytes(header)), rest
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the header of '{path}' is damaged ({error}); build it again") from error
    if len(content) == 0:
        raise ConfigError(f"'{path}' holds no TensorRT engine; build it again")
    try:
        if not isinstance(said, (dict, type(None))):
            raise TypeError("it must be a JSON object")
        return PlanFile(content, _metadata(said or {}), _built(said or {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"what is said of '{path}' is damaged ({error}); build it again") from error


def write_plan(path: Path, plan: bytes | memoryview, metadata: Mapping[str, str], built: Built) -> None:
    """Write a plan with its header; a reader finds the whole file or none."""
    header = json.dumps({"metadata": dict(metadata), "built": asdict(built)}).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(len(header).to_bytes(_LENGTH_BYTES, "little"))
            file.write(header)
            file.write(plan)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _metadata(said: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata; of Ultralytics' header, where the names' numbers are words, as its other formats have it."""
    if "built" in said or "metadata" in said:
        said = said.get("metadata", {})
    if isinstance(names := said.get("names"), dict):
        said = {**said, "names": {int(number): str(name) for number, name in names.items()}}
    return {str(key): value if isinstance(value, str) else str(value) for key, value in said.items()}


def _built(said: Mapping[str, Any]) -> Built | None:
    if isinstance(said.get("args"), dict):  # Ultralytics: what it was exported with
        arguments = said["args"]
        return Built("int8" if arguments.get("int8") else "fp16" if arguments.get("half") else "fp32")
    if "built" not in said:
        return None
    built = Built(**said["built"])
    if built.precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {built.precision!r}")
    numbers = (built.multiprocessors, built.version_compatible, built.hardware_compatible)
    texts = (built.tensorrt, built.gpu, built.compute_capability, built.source)
    shapes = [length for shape in built.shapes.values() for length in shape]
    if not all(isinstance(text, str) for text in texts) or not all(type(length) is int for length in shapes):
        raise ValueError("versions and names must be words, shapes whole numbers")
    if [type(value) for value in numbers] != [int, bool, bool]:
        raise ValueError("multiprocessors must be a whole number, and what it is compatible with true or false")
    return built


def _release(version: str) -> str:
    """Return the three numbers that a plan is bound to; the fourth is of the package."""
    return ".".join(version.split(".")[:3])
