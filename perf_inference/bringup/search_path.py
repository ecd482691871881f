"""Where Python looks for modules: never in the working directory of whoever started the process.

`python -m` puts the working directory before everything else, and an empty entry in PYTHONPATH does so too. A module
that lies there by chance, or that somebody put there, would be run with the rights of the node.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import perf_inference

_SAFE_PATH = "PYTHONSAFEPATH"  # as `python -P`, from Python 3.11 on


def leave_working_directory() -> None:
    """Take the working directory out of `sys.path`; call it before anything is imported by a name from outside.

    One that PYTHONPATH names in full stays, and so does one that an installed package put behind the standard library
    (an editable install). The modules of this package are found by its own path and not by `sys.path`.
    """
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    kept: list[str] = []
    installed = False  # what comes behind the standard library was installed
    for entry in sys.path:
        installed = installed or entry == os.path.dirname(os.__file__)
        if os.path.isabs(entry) and (installed or not _is_here(entry) or any(map(_is_here, named))):
            kept.append(entry)
    sys.path[:] = kept


def of_children(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to a child's environment so that it looks where this process does, not where it was started.

    An entry of PYTHONPATH that is empty or relative would be the working directory again, and is left out. Where this
    package is only on the path and not installed, its folder is named in full.
    """
    root = Path(perf_inference.__file__).resolve().parents[1]
    named = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    if root.name not in ("site-packages", "dist-packages"):
        named = list(dict.fromkeys([str(root), *named]))
    added = {_SAFE_PATH: "1"}
    if named or environment.get("PYTHONPATH"):
        added["PYTHONPATH"] = os.pathsep.join(named)
    return added


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:
        return False
