"""Addresses of cameras, which may have a password in them, and where it comes from instead."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from perf_inference.errors import ConfigError
from perf_inference.printable import printable, without_secrets

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def has_secrets(text: str) -> bool:
    """Return whether something in it is not shown."""
    return without_secrets(text) != printable(text)


def with_environment(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the text with `${NAME}` replaced by that variable of the environment.

    Raises:
        ConfigError: there is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ConfigError(f"source has ${{{found[1]}}}, and the environment has no variable {found[1]}; export it")
        return environment[found[1]]

    return _NAME.sub(value, text)
