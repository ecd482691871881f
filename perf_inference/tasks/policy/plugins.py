"""Plug-ins of other packages, by entry point; looked up at the start and never while a robot is driven."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from perf_inference.entry_points import entry_points
from perf_inference.errors import ConfigError, in_one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@lru_cache(None)
def _found(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names that installed packages have registered in a group."""
    return tuple(sorted(_found(group)))


def plugin(group: str, name: str) -> Any:
    """Return what a package has registered.

    Raises:
        ConfigError: nobody has, or it cannot be imported.
    """
    entry = _found(group).get(name)
    if entry is None:
        raise ConfigError(f"no installed package registers '{name}' in the group {group}; it has "
                          f"{', '.join(plugin_names(group)) or 'none'}")  # fmt: skip
    try:
        return entry.load()
    except Exception as error:  # whatever a module does when it is imported
        raise ConfigError(
            f"plug-in '{name}' ({entry.value}) cannot be loaded: {type(error).__name__}: {in_one_line(error)}"
        ) from error
