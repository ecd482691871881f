"""Versions: of this package (`setup.py` runs this file), and of what is installed."""

from __future__ import annotations

from importlib import import_module

VERSION = "0.1.0"


def installed(library: str) -> str | None:
    """Return the version of a package by its name on the index; None: it is not installed, or only on the path."""
    from importlib.metadata import PackageNotFoundError, version  # 30 ms, in every process

    try:
        return version(library)
    except PackageNotFoundError:
        return None


def version_of(library: str) -> str | None:
    """Return the version of a package, asked of the module of its name where the index's files are not here.

    JetPack's TensorRT may have none such. None: it is not installed, or does not say.
    """
    if found := installed(library):
        return found
    try:
        return str(import_module(library).__version__)
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError):
        return None
