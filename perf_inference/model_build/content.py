"""The hash of a model's content, and of the files that belong to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from perf_inference.engines.huggingface import folder
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.pytorch.checkpoint_parts import COMPANIONS
from perf_inference.errors import ConfigError
from perf_inference.files.private import is_own_file, is_trusted, own_folder, replace_file

SMALL_BYTES = 1 << 26  # hashed again each time: 64 MB take about 0.1 s
_SETTLED_NS = 2_000_000_000  # a file changed so shortly before may change again within one tick of its time stamp
_CHUNK_BYTES = 1 << 20


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the model's file and those beside it that hold its weights (an .xml's .bin, an .onnx's external data)."""
    if path.is_dir():
        return folder.files_of(path)
    beside: Iterable[Path] = ()
    if path.suffix == ".xml":
        beside = (path.with_suffix(".bin"),)
    elif path.suffix in (".pt", ".pth", ".safetensors"):  # a captioner's words and encoder
        beside = (path.parent / name for name in COMPANIONS)
    elif path.suffix == ".onnx":
        beside = (path.parent / name for name in _external(path))
    return (path, *(other for other in beside if other.is_file()))


def size_bytes(path: Path) -> int:
    """Return the size of the model with all that belongs to it [bytes]."""
    return sum(file.stat().st_size for file in files_of(path))


def content_hash(files: Iterable[Path], memory: Path) -> str:
    """Return the SHA-256 of the files' content, in this order.

    Args:
        memory: folder in which the hashes of big files are kept; one is used again only for the same path, inode,
            size and times of change (ctime too, which nobody can set back).
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(_remembered(file.resolve(), memory)))
    return digest.hexdigest()


def forget(file: Path, memory: Path) -> None:
    """Forget the hash of a file that is to be removed."""
    _note(file.resolve(), memory).unlink(missing_ok=True)


def _note(file: Path, memory: Path) -> Path:
    return memory / f"{hashlib.sha256(str(file).encode()).hexdigest()[:32]}.json"


def _remembered(file: Path, memory: Path) -> str:
    stat = file.stat()
    if stat.st_size <= SMALL_BYTES:
        return _sha256(file)
    state = [str(file), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    note = _note(file, memory)
    try:
        kept = json.loads(note.read_text(encoding="utf-8")) if is_trusted(memory) and is_own_file(note) else {}
        if kept["state"] == state:
            return str(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or torn: hashed again
    found = _sha256(file)
    if time.time_ns() - stat.st_ctime_ns > _SETTLED_NS:
        with contextlib.suppress(OSError):  # it is hashed again, then
            replace_file(own_folder(memory) / note.name, json.dumps({"state": state, "sha256": found}).encode())
    return found


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _external(path: Path) -> list[str]:
    """Return the names of the files that an .onnx takes weights from, as it names them."""
    try:
        return sorted(read_onnx_file(path, follow=False).external)
    except ConfigError:  # who loads it says why
        return []
