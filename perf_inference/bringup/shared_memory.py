"""Fast DDS' files in shared memory: what a process has mapped, and what dead processes have left behind.

A participant that is killed outright leaves its segment (17 MB where it publishes images) and its ports in /dev/shm
until the machine restarts. Each of its files stands beside a lock file (`_el`: held by its owner alone, `_sl`: shared)
whose lock the kernel drops when the process ends; what nobody has locked belongs to nobody (the rule of eProsima's own
`fastdds shm clean`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import NamedTuple

SHM = Path("/dev/shm")
_LOCK = re.compile(r"(fastdds_(?:[0-9a-z]{16}|port\d{1,5}))_(?:el|sl)")
_REMOVED = re.compile(r"/(fastdds_[0-9a-f]{16}) \(deleted\)\n")
_PORT = re.compile(r"fastdds_port\d{1,5}")
_MAPPED_PORT = re.compile(r"/(fastdds_port\d{1,5})\n")
_MAKING_S = 1.0  # a lock file so young may be about to be locked by who has just made it
_MAPPED = re.compile(r"/(fastdds_[0-9a-f]{16})(?: \(deleted\))?$")


class SharedSegment(NamedTuple):
    """A participant's segment that a process has mapped."""

    name: str
    size_bytes: int


class Leftover(NamedTuple):
    """A segment or port whose process is gone."""

    name: str  # fastdds_0123456789abcdef, fastdds_port7411
    files: tuple[Path, ...]
    size_bytes: int  # that they occupy


def mapped_segments(pid: int | str = "self") -> list[SharedSegment]:
    """Return the segments that the process has mapped: its own, and those of the participants that it reads from.

    Raises:
        OSError: there is no such process, or it is another user's.
    """
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        found = _MAPPED.search(line)
        if found:
            start, _, end = line.split(maxsplit=1)[0].partition("-")
            sizes[found[1]] = sizes.get(found[1], 0) + int(end, 16) - int(start, 16)
    return [SharedSegment(name, size) for name, size in sizes.items()]


def own_segments(pid: int | str = "self") -> list[SharedSegment]:
    """Return the segments of the process's own participants, which it holds the locks of.

    Raises:
        OSError: there is no such process, or it is another user's.
    """
    locks = _open_files(pid)
    return [segment for segment in mapped_segments(pid) if f"{segment.name}_el" in locks]


def keep_to_this_user(shm: Path = SHM) -> None:
    """Let no other user read what this process sends, its images above all.

    Fast DDS makes its segments readable by everybody, whatever the umask is. Who is to receive from one must be able to
    write to it, so a process of another user gets nothing through it either way.
    """
    with contextlib.suppress(OSError):
        for segment in own_segments():
            os.chmod(shm / segment.name, 0o600)


def is_cut_off(pid: int | str = "self") -> bool:
    """Return whether somebody has removed the process's own segment: who starts from now on cannot hear it.

    False for a process that has gone, or that may not be looked into.
    """
    try:
        locks = _open_files(pid)
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(f"{name}_el" in locks for name in _REMOVED.findall(maps))


def leftovers(shm: Path = SHM) -> list[Leftover]:
    """Return what dead processes have left, and leave it there."""
    return _dead(shm, remove=False)


def clean(shm: Path = SHM) -> list[Leftover]:
    """Remove what dead processes have left; return what is gone. What is in use is never touched."""
    return _dead(shm, remove=True)


def describe(removed: list[Leftover]) -> str:
    """Return one line on what processes that were killed have left; empty if that is nothing.

    Ports stay behind after a clean end too, some kilobytes each: not worth a line.
    """
    segments = [left for left in removed if not _PORT.fullmatch(left.name)]
    if not segments:
        return ""
    size_bytes = sum(left.size_bytes for left in removed)
    many = "1 process that was" if len(segments) == 1 else f"{len(segments)} processes that were"
    return f"freed {size_bytes / 1e6:.1f} MB of shared memory of {many} killed earlier"


def _dead(shm: Path, remove: bool) -> list[Leftover]:
    found = []
    try:
        names = sorted(os.listdir(shm))
    except OSError:
        return []
    for name in names:
        match = _LOCK.fullmatch(name)
        left = _look(shm, match[1], shm / name, remove) if match else None
        if left is not None:
            found.append(left)
    return found + _orphans(shm, set(names), remove)


def _orphans(shm: Path, names: set[str], remove: bool) -> list[Leftover]:
    """Return the ports of our own that have no lock and that nobody has mapped.

    A port stays behind when one of its writers was killed: the last user takes the lock away, and believes that others
    are left.
    """
    old = [shm / name for name in sorted(names) if _PORT.fullmatch(name) and not names & {f"{name}_el", f"{name}_sl"}]
    old = [file for file in old if _is_old(file)]
    mapped = _mapped_anywhere() if old else set()
    found = []
    for file in old:
        files = [each for each in (file, shm / f"sem.{file.name}_mutex") if each.exists()]
        if file.name in mapped or not files:
            continue
        size_bytes = sum(each.stat().st_blocks * 512 for each in files)
        if remove:
            for each in files:
                each.unlink(missing_ok=True)
        found.append(Leftover(file.name, tuple(files), size_bytes))
    return found


def _is_old(file: Path) -> bool:
    try:
        about = file.stat()
    except OSError:
        return False
    return about.st_uid == os.geteuid() and time.time() - about.st_mtime > _MAKING_S


def _mapped_anywhere() -> set[str]:
    """Return the names of all ports that a process has mapped (of those that may be looked into: ours)."""
    found: set[str] = set()
    for entry in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            found |= set(_MAPPED_PORT.findall(entry.read_text(encoding="utf-8", errors="replace")))
    return found


def _look(shm: Path, name: str, lock: Path, remove: bool) -> Leftover | None:
    """Return what belongs to the lock if nobody holds it; remove it while this process does."""
    try:
        # Anybody may put a link or a pipe there, which an ordinary `open` would follow or wait for.
        with open(os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode) or time.time() - found.st_mtime < _MAKING_S:
                return None
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock file goes last: whoever opens it meanwhile finds it taken, and makes another one.
            files = [file for file in (shm / name, shm / f"sem.{name}_mutex", lock) if file.exists()]
            size_bytes = sum(file.stat().st_blocks * 512 for file in files)
            if remove:
                for file in files:
                    file.unlink(missing_ok=True)
    except OSError:  # in use, or another user's
        return None
    return Leftover(name, tuple(files), size_bytes)


def _open_files(pid: int | str) -> set[str]:
    """Return the names of the files that the process has open, those that are removed too."""
    names = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.add(Path(os.readlink(entry)).name.removesuffix(" (deleted)"))
    return names
