"""Who else could change a file: by its own mode, or by putting another one in its place."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

_ACL = "system.posix_acl_access"


def who_can_change(path: Path) -> str:
    """Return who beside this user and root can write the file or a folder that it is in, with that; empty: nobody.

    Args:
        path: absolute and without links. In a folder with the sticky bit (/tmp) nobody replaces what is not his.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    for place in (path, *path.parents):
        about = os.lstat(place)
        if who := _who(place, about):
            return f"{who} can write '{place}'"
    return ""


def _who(place: Path, about: os.stat_result) -> str:
    if about.st_uid not in (0, os.geteuid()):
        return f"user {_user(about.st_uid)}"
    if stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX:
        return ""
    if about.st_mode & stat.S_IWOTH:
        return "everybody"
    if about.st_mode & stat.S_IWGRP:
        if _has_acl(place):
            return "whom its access control list names"
        if _has_others(about.st_gid):
            return f"group {_group(about.st_gid)}"
    return ""


def _has_acl(place: Path) -> bool:
    try:
        return bool(os.getxattr(place, _ACL, follow_symlinks=False))
    except OSError:  # none, or a file system without
        return False


def _has_others(gid: int) -> bool:
    """Return whether anybody but this user and root is in the group, as far as this machine knows; else True."""
    try:
        members = set(grp.getgrgid(gid).gr_mem)
        uids = {pwd.getpwnam(name).pw_uid for name in members}
    except KeyError:  # of another machine: nobody here can tell
        return True
    uids |= {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    return not uids <= {0, os.geteuid()}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
