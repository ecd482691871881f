"""A model's files read once into a folder of our own, from which they are tried and loaded.

Between a check and a later read a file may become another one. So what is hashed, tried and loaded is one and the same
copy, which nobody else can write.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from perf_inference.engines.huggingface import folder
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.openvino.metadata import BESIDE
from perf_inference.engines.pytorch.checkpoint_parts import COMPANIONS
from perf_inference.engines.runtimes import RUNTIMES
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.model_build import cache, content
from perf_inference.model_build.allowed_models import AllowedModels, Permit
from perf_inference.model_build.ownership import who_can_change
from perf_inference.printable import shown

_PIECE_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20  # of the disk, that the copy leaves
_PLANS = {suffix for runtime in RUNTIMES.values() if runtime.made_for_device for suffix in runtime.suffixes}
_LOCK = ".lock"  # held while the copy is in use; the kernel frees it when its holder dies


@contextlib.contextmanager
def private_copy(
    model: str, allowed: AllowedModels, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, bool]]:
    """Yield what to load in the model's place, and whether its content is listed; the copy is gone afterwards.

    An embedded model and one on a server are themselves.

    Raises:
        ConfigError: it may not be loaded, cannot be read, or there is no room for a copy.
    """
    permit = allowed.check(model)
    if permit.real is None:
        yield model, False
        return
    own = _make_folder()
    given = Path(model).expanduser()
    copies: list[Path] = []
    try:
        with (own / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            listed = _copy_all(permit, own / "model" / given.name, allowed, copies, cancelled)
            yield str(own / "model" / given.name), listed
    except PerfInferenceError as error:  # in the words of who asked
        raise type(error)(str(error).replace(str(own / "model"), str(given.parent))) from error
    finally:
        for copy in copies:
            content.forget(copy, cache.hashes())
        shutil.rmtree(own, ignore_errors=True)


def remove_left_over() -> None:
    """Remove the copies of processes that were killed."""
    for lock in _root().glob(f"*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it is in use
            shutil.rmtree(lock.parent, ignore_errors=True)


def _root() -> Path:
    return cache.root() / "taken"


def _make_folder() -> Path:
    """Return a new folder that only this user can enter."""
    try:
        _root().mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=_root()))
        (made / "model").mkdir(mode=0o700)
        problem = who_can_change(made.resolve())
    except OSError as error:
        raise ConfigError(
            f"the cache {_root()} cannot be written ({error}); set PERF_INFERENCE_CACHE to a folder that can"
        ) from error
    if problem:
        shutil.rmtree(made, ignore_errors=True)
        raise ConfigError(f"the cache must be a folder of your own, but {problem}; set PERF_INFERENCE_CACHE to one")
    return made


def _copy_all(
    permit: Permit, target: Path, allowed: AllowedModels, copies: list[Path], cancelled: Callable[[], bool]
) -> bool:
    """Copy the model with the files that belong to it; return whether the model's own content is listed."""
    assert permit.real is not None
    if permit.real.is_dir():
        target.mkdir(mode=0o700)
        for file in folder.files_of(permit.real):
            real = Path(os.path.realpath(file))
            copies.append(target / file.name)
            copy_hashed(real, copies[-1], cancelled)
            if why := who_can_change(real):
                raise ConfigError(f"'{shown(real)}' may not be loaded at run time, for {why}; make it yours alone")
        return False
    folders = (permit.folder, permit.real.parent)

    def take(real: Path, copy: Path, why: str) -> str:
        copies.append(copy)
        sha256 = copy_hashed(real, copy, cancelled)
        try:
            why = why or who_can_change(real)
        except OSError as error:  # it has gone meanwhile
            raise ConfigError(f"'{shown(real)}' cannot be looked at: {error.strerror or error}") from error
        if why and sha256 not in allowed.hashes:
            raise allowed.refuse_content(permit, real, sha256, why)
        return sha256

    sha256 = take(permit.real, target, permit.only_if_listed)
    names, engine = _content(target, permit.folder)
    if engine and sha256 not in allowed.hashes:
        raise allowed.refuse_content(
            permit, permit.real, sha256, "it holds or names an engine that was built (EPContext)"
        )
    for name in names:
        real = Path(os.path.realpath(permit.folder / name))
        if not _is_plain(name, target) or not any(map(real.is_relative_to, folders)):
            raise ConfigError(
                f"'{target}' takes data from '{shown(name)}', which is not in its own folder; export it again"
            )
        (target.parent / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        take(real, target.parent / name, "" if permit.in_place else permit.only_if_listed)
    return sha256 in allowed.hashes


def _content(target: Path, place: Path) -> tuple[list[str], bool]:
    """Return the names of the files that the model takes data from, and whether it is or names a built engine."""
    if target.suffix == ".onnx":
        file = read_onnx_file(target, follow=False)
        return sorted(file.external), file.holds_engine
    if target.suffix == ".xml":
        beside = [BESIDE] if (place / BESIDE).is_file() else []
        return [target.with_suffix(".bin").name, *beside], False
    if target.suffix in (".pt", ".pth", ".safetensors"):
        return [name for name in COMPANIONS if (place / name).is_file()], False
    card = f"{target.name}.json"
    return [card] if target.suffix in _PLANS and (place / card).is_file() else [], False


def _is_plain(name: str, target: Path) -> bool:
    """Return whether it is the name of another file in the model's folder or below, without detours."""
    path = Path(name)
    return (
        name.isprintable()
        and path.parts != ()
        and not path.is_absolute()
        and ".." not in path.parts
        and path != Path(target.name)
    )


def copy_hashed(real: Path, target: Path, cancelled: Callable[[], bool]) -> str:
    """Copy a file without links in its path; return the SHA-256 of what was copied."""
    try:
        if not stat.S_ISREG(os.lstat(real).st_mode):  # to open a device can do something
            raise ConfigError(f"'{shown(real)}' must be a file")
        with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConfigError(f"'{shown(real)}' must be a file")
            _check_room(about.st_size, target)
            digest, left = hashlib.sha256(), about.st_size
            with target.open("xb") as copy:
                while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
                    if cancelled():
                        raise ConfigError("nobody waits for it any more")
                    digest.update(piece)
                    copy.write(piece)
                    left -= len(piece)
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    except OSError as error:
        raise ConfigError(f"'{shown(real)}' cannot be copied to be loaded: {error.strerror or error}") from error
    return digest.hexdigest()


def _check_room(size_bytes: int, target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if size_bytes + _SPARE_BYTES > free:
        raise ConfigError(
            f"a model is copied before it is loaded, and {size_bytes / 1e6:.0f} MB do not fit into the "
            f"{free / 1e6:.0f} MB that are free in {cache.root()}; make room, or set PERF_INFERENCE_CACHE"
        )
