"""Folders and files that nobody else reads, replaces or leads astray.

Anybody on a machine may put a folder, a link, a pipe or a hard link where a file of ours is to lie: in /tmp, in shared
memory, in a folder that was left open to all. What is not ours is refused, and no link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from pathlib import Path

PRIVATE = 0o700
_MOST_LINKS = 40  # one after the other, as the kernel has it
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def own_folder(path: Path, mode: int = PRIVATE) -> Path:
    """Make the folder, and those above it, or take the one that is there; return it with just this mode.

    Whatever the umask says, others get no more than `mode`.

    Raises:
        PermissionError: it is another user's, or a link of another user.
        OSError: it is no folder, or cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode)
    found = _behind_own_links(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "it is there and is no folder", str(path))
    if found.st_uid != os.geteuid() and not _owns_what_we_make(path, found.st_uid):
        raise PermissionError(13, f"it belongs to another user (uid {found.st_uid})", str(path))
    if found.st_mode & 0o777 != mode:
        with contextlib.suppress(OSError):  # a file system without modes
            os.chmod(path, stat.S_IMODE(found.st_mode) & ~0o777 | mode)
    return path


def is_trusted(folder: Path) -> bool:
    """Return whether only this user, or root, can have put there what lies in the folder."""
    try:
        found = _behind_own_links(folder)
        if found.st_uid == os.geteuid():
            own_folder(folder)
            return True
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & _OTHERS_WRITE


def is_own_file(path: Path) -> bool:
    """Return whether a regular file lies there that is this user's or, in root's folder, root's, under one name."""
    try:
        found, folder = os.lstat(path), os.stat(path.parent)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), folder.st_uid) and found.st_nlink == 1


def open_own(path: Path, flags: int) -> int:
    """Open a regular file of our own, as readable as its folder is; return its descriptor.

    Raises:
        OSError: it is a link, a pipe or another user's, has a second name, or cannot be opened.
    """
    folder = os.stat(path.parent)
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, folder.st_mode & 0o666)
    except OSError as error:
        if path.is_symlink():
            raise PermissionError(13, "it is a link, which is not followed", str(path)) from error
        raise
    found = os.fstat(descriptor)
    wrong = (
        "it is no regular file" if not stat.S_ISREG(found.st_mode)
        else f"it belongs to another user (uid {found.st_uid})" if found.st_uid not in (os.geteuid(), folder.st_uid)
        else "it has a second name (a hard link)" if found.st_nlink > 1
        else ""
    )  # fmt: skip
    if wrong:
        os.close(descriptor)
        raise PermissionError(13, wrong, str(path))
    return descriptor


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, as readable as its folder is.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    import tempfile  # 8 ms, in every process

    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # a file system without modes
                os.fchmod(descriptor, os.stat(path.parent).st_mode & 0o666)
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def real_path(path: Path) -> Path:
    """Return where a path leads, by no link that another user has put where everybody can (/tmp).

    The kernel refuses to follow such a link when a file is opened, but not when the path is looked up beforehand.

    Raises:
        OSError: it leads by such a link, or in a circle.
    """
    whole = Path.cwd() / path
    at, left, links = Path(whole.anchor), list(whole.parts[:0:-1]), 0
    while left:
        part = left.pop()
        place = at.parent if part == ".." else at / part
        if not place.is_symlink():
            at = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, "its links lead in a circle", str(path))
        _check_link(place)
        target = Path(os.readlink(place))
        at = at if not target.is_absolute() else Path(target.anchor)
        left += [part for part in reversed(target.parts) if part != target.anchor]
    return at


def share_no_more_than(source: Path) -> None:
    """Let what this process makes from now on be readable by nobody who cannot read the source."""
    with contextlib.suppress(OSError):
        os.umask(os.umask(0o077) | (~source.stat().st_mode & 0o077))


def open_to_everybody(path: Path) -> str:
    """Return why everybody on this machine can change what a path leads to, and the command against it; or nothing.

    Raises:
        OSError: it is not there.
    """
    real = path.resolve(strict=True)
    if os.stat(real).st_mode & stat.S_IWOTH:
        return f"everybody can write it: chmod o-w {shlex.quote(str(real))}"
    for folder in {real.parent, path.absolute().parent}:
        mode = os.stat(folder).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"everybody can replace it in its folder: chmod o-w {shlex.quote(str(folder))}"
    return ""


def _behind_own_links(path: Path) -> os.stat_result:
    """Return what the path leads to; its last part may be a link of this user's or root's, and of nobody else."""
    found = os.lstat(path)
    if not stat.S_ISLNK(found.st_mode):
        return found
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionError(13, f"it is a link of another user (uid {found.st_uid})", str(path))
    return os.stat(path)


def _check_link(link: Path) -> None:
    folder, uid = os.stat(link.parent), os.lstat(link).st_uid
    if folder.st_mode & stat.S_IWOTH and uid not in (os.geteuid(), folder.st_uid):
        raise PermissionError(errno.EACCES, f"a link of another user (uid {uid}) leads to it", str(link))


def _owns_what_we_make(folder: Path, uid: int) -> bool:
    """Return whether new files get this owner too: so it is on USB sticks and network file systems."""
    import tempfile

    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_uid == uid
