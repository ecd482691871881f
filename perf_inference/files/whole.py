"""Files that are there whole or not at all: written under another name beside the old one, which stays until then.

    .model.onnx.4711.part    what process 4711 writes; locked as long as it lives
    .recording.claim         held by who makes `recording.part`, a file or a folder, and gives it its name at the end

What a killed process left is known by its name and by a lock that nobody holds, and the next one removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.files.private import real_path

_MOST_LETTERS = 80  # of the name, as part of another
_NEW = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file.

    Raises:
        PerfInferenceError: it cannot be written; what was there is as it was.
    """
    try:
        with whole_file(path) as file:
            file.write(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError | RuntimeError) -> PerfInferenceError:
    """Return the error to raise where a file could not be written."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0]
    was = "what was there is as it was" if path.exists() else "nothing is left of it"
    return PerfInferenceError(f"'{path}' cannot be written: {reason}; {was}")


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """Give a file to write to; it gets its name when the block ends, and is removed when that fails.

    A path that is no file, such as a pipe or a terminal, is written to as it is.

    Args:
        durable: wait for the disk; otherwise a power failure may leave less than the whole.

    Raises:
        OSError: it cannot be written.
    """
    path = real_path(path)
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    _remove_left(path)
    temporary = path.with_name(f".{path.name[:_MOST_LETTERS]}.{os.getpid()}.part")
    descriptor = os.open(temporary, _NEW | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim what is made beside `path` for this process; gives whether one that claimed it was killed.

    Raises:
        ConfigError: another process is at work.
        OSError: the folder cannot be written.
    """
    claim = path.with_name(f".{path.name[:_MOST_LETTERS]}.claim")
    descriptor, left = _locked(claim, path)
    try:
        yield left
    finally:
        claim.unlink(missing_ok=True)
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Hand a folder's names to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(claim: Path, path: Path) -> tuple[int, bool]:
    while True:
        left = os.path.lexists(claim)
        descriptor = os.open(claim, _NEW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.lexists(claim) and os.path.samestat(os.fstat(descriptor), os.lstat(claim)):
                return descriptor, left
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigError(f"another process is writing '{path}'; wait until it is done") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just removed it


def _remove_left(path: Path) -> None:
    """Remove what killed processes left of this file."""
    ours = re.compile(rf"\.{re.escape(path.name[:_MOST_LETTERS])}\.[0-9]+\.part")
    for name in os.listdir(path.parent):
        if ours.fullmatch(name):
            with suppress(OSError):
                descriptor = os.open(path.with_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.with_name(name).unlink()
                finally:
                    os.close(descriptor)
