"""The names of a model's classes from a file beside it: a name a line, or the `names` of a YAML or JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.tasks.class_names import read_names

_YAML = (".yaml", ".yml", ".json")


def names_in(path: Path) -> tuple[str, ...]:
    """Return the names of the classes 0, 1, ... that a .txt, .yaml or .json file lists.

    Raises:
        ConfigError: it cannot be read, or lists none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of class names '{path}' cannot be read: {error}") from error
    names: tuple[str, ...] | None
    if path.suffix.lower() in _YAML:
        try:
            said = read_yaml(text)
        except YamlError as error:
            raise ConfigError(f"the file of class names '{path}' is no YAML: {error}") from error
        table = said.get("names") if isinstance(said, dict) and "names" in said else said
        names = read_names(json.dumps(table)) if isinstance(table, dict | list) else None
    else:
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise ConfigError(
            f"the file of class names '{path}' must have a name a line (.txt), or (.yaml) names: [a, b] or "
            "names: {0: a, 1: b}"
        )
    return names
