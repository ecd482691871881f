"""JSON files of anybody's, read within a bound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError, in_one_line
from perf_inference.files.regular import open_regular

_MOST_BYTES = 256 << 20  # a big tokenizer has some 20 MB


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a file holds.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        with open_regular(file) as stream:
            content = json.loads(stream.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{file}' must be a file of JSON: {in_one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"'{file}' must hold a JSON object, got {type(content).__name__}")
    return content
