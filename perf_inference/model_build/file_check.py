"""Whether a file can be what its suffix says: its first bytes and its ends, without the library that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from perf_inference.engines.huggingface import folder
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.policy_folder import is_config, sign_of
from perf_inference.errors import ConfigError
from perf_inference.files.json_file import read_json

_LONGEST_HEADER = 100_000_000  # bytes, of a safetensors file (its specification)
_PICKLE = b"\x80\x02"  # torch.save before 1.6


def check_format(path: Path) -> None:
    """Raise ConfigError where the file is empty, damaged at its ends, or of another format than its suffix says."""
    if path.is_dir():
        if not is_config(read_json(sign_of(path))):
            folder.check(path)
        for weights in path.glob("*.safetensors"):
            check_format(weights)
        return
    try:
        with path.open("rb") as file:
            head = file.read(64)
            size = file.seek(0, 2)
            file.seek(0)
            problem = "is empty" if not head else _CHECKS.get(path.suffix, _no_check)(path, file, head, size)
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if problem:
        raise ConfigError(f"'{path}' {problem}; copy or export it again")


def _onnx(path: Path, file: BinaryIO, head: bytes, size: int) -> str:
    if head[0] != 0x08:  # ir_version comes first, whoever writes it
        return "is no ONNX model: it does not begin with a version"
    read_metadata(path)  # walks over all fields: a file that was cut does not end with one
    return ""


def _safetensors(path: Path, file: BinaryIO, head: bytes, size: int) -> str:
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or not 2 <= length <= min(_LONGEST_HEADER, size - 8):
        return "is no safetensors file: its header would be longer than the file"
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        missing = 8 + length + max(ends, default=0) - size
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "is no safetensors file: its header is no list of tensors"
    return f"was cut: {missing} bytes of its weights are missing" if missing > 0 else ""


def _archive(path: Path, file: BinaryIO, head: bytes, size: int) -> str:
    if path.suffix in (".pt", ".pth") and head.startswith(_PICKLE):
        return ""
    if not head.startswith(b"PK\x03\x04"):
        return "is no file of torch.save, torch.jit.save or torch.export.save: they are zip archives"
    import zipfile  # 4 ms, in every process with an engine

    try:
        with zipfile.ZipFile(file):
            return ""
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return f"is a damaged archive ({error})"


def _openvino(path: Path, file: BinaryIO, head: bytes, size: int) -> str:
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<net")):
        return "is no OpenVINO model: it is not XML"
    return "" if path.with_suffix(".bin").is_file() else f"has no weights beside it: '{path.with_suffix('.bin').name}'"


def _no_check(path: Path, file: BinaryIO, head: bytes, size: int) -> str:
    return ""


_CHECKS: dict[str, Callable[[Path, BinaryIO, bytes, int], str]] = {
    ".onnx": _onnx,
    ".safetensors": _safetensors,
    **dict.fromkeys((".pt", ".pth", ".torchscript", ".ts", ".pt2"), _archive),
    ".xml": _openvino,
}
