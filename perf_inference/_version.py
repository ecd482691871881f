"""Versions: of this package (`setup.py` runs this file), and of what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

VERSION = "0.1.0"


def installed(library: str) -> str | None:
    """Return the version of a package by its name on the index; None: it is not installed, or only on the path."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
