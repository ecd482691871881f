"""What an .onnx file says of its weights, read without loading them and without the package onnx.

ONNX Runtime does not tell the weights' type, and 1.19 takes weights from any file that a model names.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perf_inference.engines.onnx.protobuf import fields, varints
from perf_inference.errors import ConfigError

# Message: {number of a field: the message in it}, as far as tensors lie below; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_INNER = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DIMS, _DATA_TYPE, _EXTERNAL = 1, 2, 13  # of a tensor
_OPERATOR, _BUILT = 4, b"EPContext"  # of a node; https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html
_KEY, _VALUE = 1, 2  # of an entry of its external data
_IN_MEMORY = "/_ORT_MEM_"  # a part of the name with which ONNX Runtime takes what an address holds
_PRECISIONS = {1: "fp32", 2: "int8", 3: "int8", 10: "fp16", 16: "bf16"}  # by data type; others are no weights
_MOST = 1 << 63
_FEW = 256  # elements
_QUANTISING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


@dataclass(frozen=True)
class OnnxFile:
    """The file of a model, and those beside it that it takes weights from."""

    path: Path
    precision: str | None  # of most weights; None: it has none
    external: frozenset[str]
    holds_engine: bool = False  # one of its nodes is, or names the file of, what an execution provider has built
    weights: Mapping[str, int] = field(default_factory=dict)  # how many elements are in which precision
    operators: frozenset[str] = frozenset()

    def labelled(self, said: str) -> str:
        """Return the precision that the file says it has, where it can be so; else that of most of its weights.

        What quantises at each run (QuantizeLinear) may keep its weights in fp32, and a few constants say nothing.
        """
        if sum(self.weights.values()) < _FEW:
            return said
        quantised = said == "int8" and not self.operators.isdisjoint(_QUANTISING)
        return said if said in self.weights or quantised else self.precision or said

    def digest(self) -> str:
        """Return a hash that another model, or other weights, would not have."""
        made = hashlib.sha256(self.path.read_bytes())
        for name in sorted(self.external):
            about = (self.path.parent / name).stat()
            made.update(f"{name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return made.hexdigest()[:24]


def read_onnx_file(path: Path, follow: bool = True) -> OnnxFile:
    """Return what the file says of its weights.

    Args:
        follow: the files that it takes weights from are there, and looked at.

    Raises:
        ConfigError: it cannot be read, is no protobuf message, or takes weights from outside its own folder.
    """
    try:
        # Not mapped into memory: a file that is overwritten meanwhile would end the process.
        found = _read(path, path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' is no ONNX model: {error}; copy or export it again") from error
    for name in found.external:
        if follow and not _beside(path, name):
            raise ConfigError(f"'{path}' takes weights from '{name}', which is not in its own folder; export it again")
    return found


def read_onnx_content(name: str, content: bytes) -> OnnxFile:
    """Return what a model in memory says of its weights.

    Raises:
        ConfigError: it is no protobuf message, takes weights from a file, or holds an engine that was built.
    """
    try:
        found = _read(Path(name), content)
    except ValueError as error:
        raise ConfigError(f"'{name}' is no ONNX model: {error}; copy or export it again") from error
    if found.external or found.holds_engine:
        had = f"takes weights from '{min(found.external)[:80]}'" if found.external else "holds an engine (EPContext)"
        raise ConfigError(f"'{name}' must hold all its weights itself, but {had}; export it as one file")
    return found


def _read(path: Path, content: bytes) -> OnnxFile:
    weights: Counter[str] = Counter()
    external: set[str] = set()
    operators: set[bytes] = set()
    for tensor in _tensors(memoryview(content), operators):
        _take(tensor, weights, external)
    precision = weights.most_common(1)[0][0] if weights else None
    named = frozenset(name.decode(errors="replace") for name in operators)
    return OnnxFile(path, precision, frozenset(external), _BUILT in operators, dict(weights), named)


def _tensors(content: memoryview, operators: set[bytes]) -> Iterator[memoryview]:
    """Yield all tensors; the operators of all nodes are added to the set."""
    left = [("model", content)]
    while left:
        kind, message = left.pop()
        inner = _INNER[kind]
        for number, value in fields(message):
            if kind == "node" and number == _OPERATOR and not isinstance(value, int):
                operators.add(bytes(value))
            if number not in inner or isinstance(value, int):
                continue
            if inner[number] == "tensor":
                yield value
            else:
                left.append((inner[number], value))


def _take(tensor: memoryview, weights: Counter[str], external: set[str]) -> None:
    """Count a tensor's elements, and note the file that it is in."""
    elements, data_type = 1, 0
    for number, value in fields(tensor):
        if number == _DIMS:
            for length in (value,) if isinstance(value, int) else varints(value):
                elements = min(_MOST, elements * length)
        elif number == _DATA_TYPE and isinstance(value, int):
            data_type = value
        elif number == _EXTERNAL and not isinstance(value, int):
            entry = {n: bytes(v) for n, v in fields(value) if not isinstance(v, int)}
            if entry.get(_KEY) == b"location":
                name = entry.get(_VALUE, b"").decode()
                if _IN_MEMORY in name:
                    raise ValueError("it takes weights from an address in the memory of who loads it")
                external.add(name)
    if data_type in _PRECISIONS:
        weights[_PRECISIONS[data_type]] += elements


def _beside(path: Path, name: str) -> bool:
    """Return whether the file lies in the model's folder, links followed."""
    target = (path.parent / name).resolve()
    return any(folder in target.parents for folder in (path.parent.resolve(), path.resolve().parent))
