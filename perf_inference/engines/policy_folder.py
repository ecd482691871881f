"""Whether a folder is of a LeRobot policy: its `config.json` tells it from one of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CONFIG = "config.json"


def sign_of(folder: Path) -> Path:
    """Return the file that says what a folder is."""
    return folder / _CONFIG


def is_config(content: Any) -> bool:
    """Return whether a JSON value is the `config.json` of a LeRobot policy."""
    return isinstance(content, Mapping) and isinstance(content.get("type"), str) and "input_features" in content
