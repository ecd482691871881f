"""The folder of built models.

    ~/.cache/perf_inference/
      built/3f9a.../          one entry; its name is the hash of what it was made of and for
        what.json             all of that in clear, and the sizes and hashes of its files
        detector.onnx
      built/3f9a....lock      held while it is made
      hashes/                 of big models (see content.py)

`PERF_INFERENCE_CACHE` or `XDG_CACHE_HOME` put it elsewhere. An entry is made under another name and renamed when it is
whole, so that whoever sees it sees all of it. All of the folder may be deleted at any time. It is its owner's alone
(0700): what lies in a folder that others can write to is not read.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files import private
from perf_inference.files.private import open_own, own_folder
from perf_inference.model_build.content import content_hash

WHAT = "what.json"
_FORMAT = 2  # of an entry; part of the key (2: it was run before it was kept)
_OUTSIDE = "perf_inference_built_"
_LOG = logging.getLogger("perf_inference")
_POLL_S = 0.05
_BUILT = "built"


@dataclass(frozen=True)
class Key:
    """All that a built model depends on; `name` and `source` are for people and the file's name."""

    name: str
    source_sha256: str
    runtime: str
    precision: str
    device: str  # device.identity
    versions: Mapping[str, str]  # of the runtime and of what converts
    shapes: Mapping[str, tuple[Any, ...]]  # free axes that were fixed, or (least, usual, most) of them
    calibration: str = ""  # hash of the inputs that int8 was calibrated with
    quantisation: str = ""  # of int8: with zero points or without
    image: str = ""  # the camera's, and what the graph does to it
    plan: str = ""  # how TensorRT was told to build it, where not as always

    @property
    def digest(self) -> str:
        """The entry's name."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def root() -> Path:
    """Return where the cache lies."""
    if chosen := os.environ.get("PERF_INFERENCE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "perf_inference"


def hashes() -> Path:
    """Return where the hashes of big models are kept."""
    return root() / "hashes"


def folder(name: str) -> Path:
    """Return a folder of the cache, made for its owner alone.

    The cache as a whole is made so too, but where the user has put it elsewhere: that folder may hold other things.

    Raises:
        OSError: it is another user's, or cannot be made.
    """
    if not os.environ.get("PERF_INFERENCE_CACHE"):
        own_folder(root())
    return own_folder(root() / name)


def is_trusted(name: str) -> bool:
    """Return whether nobody but this user, or root, can have put there what lies in a folder of the cache."""
    return private.is_trusted(root() / name)


def find(key: Key, suffix: str) -> Path | None:
    """Return the whole and undamaged file of an entry, or None."""
    folder = _folder(key)
    return folder / f"{key.name}{suffix}" if is_trusted(_BUILT) and _is_whole(folder, f"{key.name}{suffix}") else None


def calibrated(key: Key, suffix: str) -> Path | None:
    """Return the newest entry that differs from the key in its calibration alone, or None."""
    found = []
    for what in (root() / _BUILT).glob(f"*/{WHAT}") if is_trusted(_BUILT) else ():
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            parts = json.loads(what.read_text(encoding="utf-8"))["key"]
            other = Key(**{**parts, "shapes": {name: tuple(shape) for name, shape in parts["shapes"].items()}})
            if other.calibration and replace(other, calibration="").digest == key.digest:
                found.append((what.stat().st_mtime_ns, other))
    for _, other in sorted(found, key=lambda pair: -pair[0]):
        if path := find(other, suffix):
            return path
    return None


def get(
    key: Key, suffix: str, build: Callable[[Path], None], force: bool = False, timeout_s: float = 600.0
) -> tuple[Path, bool]:
    """Return the file of an entry and whether it was built now; of two who ask at once, one builds.

    Args:
        build: writes the model to the path that it is given; may put more files beside it.
        force: build it again.
        timeout_s: how long another one's build is waited for.

    Where the cache cannot be written, the file is made in a folder of its own, and a warning says so: `discard` it.

    Raises:
        ConfigError: there is no place for it at all, or another one builds for too long.
    """
    if not force and (found := find(key, suffix)):
        return found, False
    try:
        entry = folder(_BUILT) / key.digest
        with _locked(entry.with_suffix(".lock"), timeout_s):
            if not force and (found := find(key, suffix)):  # made while this one waited
                return found, False
            _make(key, suffix, entry, build)
    except OSError as error:
        if isinstance(error, PermissionError) and os.access(root() / _BUILT, os.W_OK):  # writable, and not trusted
            raise ConfigError(
                f"the cache {root()} cannot be used ({error}); set PERF_INFERENCE_CACHE to a folder of your own"
            ) from error
        return _without_cache(key, suffix, build, error), True
    return entry / f"{key.name}{suffix}", True


def discard(path: Path) -> None:
    """Remove a file that was made outside the cache; one in the cache stays."""
    if path.parent.name.startswith(_OUTSIDE) and path.parent.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(path.parent, ignore_errors=True)


def _without_cache(key: Key, suffix: str, build: Callable[[Path], None], error: OSError) -> Path:
    _LOG.warning(
        "the cache %s cannot be written (%s): '%s' is made again at each start; set PERF_INFERENCE_CACHE to a folder "
        "that can be written", root(), error.strerror or error, key.name,
    )  # fmt: skip
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=_OUTSIDE))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        build(folder / f"{key.name}{suffix}")
    except OSError as again:
        raise ConfigError(
            f"neither the cache {root()} nor {tempfile.gettempdir()} can be written ({again}); set "
            "PERF_INFERENCE_CACHE to a folder that can"
        ) from error
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / f"{key.name}{suffix}"


def _make(key: Key, suffix: str, folder: Path, build: Callable[[Path], None]) -> None:
    temporary = folder.with_suffix(".part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a build that was killed: the lock is ours, so it is dead
    temporary.mkdir()
    try:
        build(temporary / f"{key.name}{suffix}")
        files = {file.name: [file.stat().st_size, _hash(file)] for file in sorted(temporary.iterdir())}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        what = {"format": _FORMAT, "key": asdict(key), "files": files, "made": now}
        (temporary / WHAT).write_text(json.dumps(what, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_whole(folder: Path, name: str) -> bool:
    try:
        files = json.loads((folder / WHAT).read_text(encoding="utf-8"))["files"]
        return name in files and all(
            (folder / file).stat().st_size == size and _hash(folder / file) == sha256
            for file, (size, sha256) in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _hash(file: Path) -> str:
    return content_hash([file], hashes())


def _folder(key: Key) -> Path:
    return root() / _BUILT / key.digest


@contextlib.contextmanager
def _locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock; the kernel frees it when its holder dies."""
    deadline = time.monotonic() + timeout_s
    with open(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigError(
                        f"another process has been building {path.stem} for {timeout_s:.0f} s; wait until it is done"
                    ) from None
                time.sleep(_POLL_S)
        yield
