"""The source that a text names."""

from __future__ import annotations

from perf_inference.camera.address import with_environment
from perf_inference.camera.folder import FolderSource
from perf_inference.camera.opencv import VideoSource
from perf_inference.camera.source import FOLDER, NOTHING_ASKED, Asked, Source, kind_of
from perf_inference.errors import ConfigError
from perf_inference.printable import without_secrets


def open_source(source: str, asked: Asked = NOTHING_ASKED, timeout_s: float = 5.0) -> Source:
    """Return the source, not opened yet; its name is the text as it was given, without secrets.

    Args:
        source: a text with `${NAME}` for variables of the environment.

    Raises:
        ConfigError: the text names none, or one that cannot be read here.
    """
    if not source.strip():
        raise ConfigError("source must name a camera, got nothing")
    name, named = without_secrets(source), with_environment(source)
    try:
        kind = kind_of(named)
    except ConfigError as error:
        raise ConfigError(f"{error}; there is nothing at '{name[:300]}'") from None
    return FolderSource(name, named) if kind == FOLDER else VideoSource(kind, name, named, asked, timeout_s)
