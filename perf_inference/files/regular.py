"""Regular files of anybody's: nobody may ever write to a pipe, and a device can be without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file to be read, links followed; never wait for it.

    Raises:
        OSError: it is no regular file, or cannot be opened.
    """
    _check(os.stat(path), path)  # to open a device can do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), path)
        return open(descriptor, "rb", buffering)
    except BaseException:
        os.close(descriptor)
        raise


def _check(about: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
