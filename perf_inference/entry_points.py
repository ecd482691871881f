"""Entry points of installed packages, without the 35 ms that `importlib.metadata` takes where there are none.

It is imported by every process that asks, and parses the files of all packages. Hardly any names a group of ours: so
their texts are looked through first, and it is asked only where one does, or where they cannot be looked through.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_SUFFIXES = (".dist-info", ".egg-info")
_FILE = "entry_points.txt"


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return what `importlib.metadata.entry_points(group=group)` does."""
    if not _may_be_named(group):
        return ()
    from importlib.metadata import entry_points as found

    return tuple(found(group=group))


def _may_be_named(group: str) -> bool:
    """Return false where no package names the group for certain."""
    if any(finder is not PathFinder and hasattr(finder, "find_distributions") for finder in sys.meta_path):
        return True  # packages that are elsewhere than on the path
    wanted = group.encode()
    return any(_names(folder or ".", wanted) for folder in sys.path)


def _names(folder: str, wanted: bytes) -> bool:
    """Return whether a package in this folder of the path may name it."""
    try:
        names = os.listdir(folder)
    except NotADirectoryError:
        return True  # an archive
    except OSError:
        return False
    # `importlib.metadata` takes EGG-INFO, and egg-info without a name, in the folder of an egg only; here everywhere.
    return any(
        _says(os.path.join(folder, name, _FILE), wanted)
        for name in names
        if name.lower().endswith(_SUFFIXES) or name.lower() in ("egg-info", ".egg-info")
    )


def _says(file: str, wanted: bytes) -> bool:
    try:
        with open(file, "rb", buffering=0) as stream:
            return wanted in (stream.read() or b"")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it cannot be read here: `importlib.metadata` shall say so
        return True
