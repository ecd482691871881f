"""Addresses of cameras, which may have a password in them: how they are shown, and where the password comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from perf_inference.errors import ConfigError
from perf_inference.printable import printable

_HIDDEN = "***"
# Up to the last @ of the word: a password may hold one, or a slash, unescaped.
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_SECRET = re.compile(
    r"([\w.-]*(?:pass|pwd|pw|token|key|secret|auth|sig|credential|user)[\w.-]*\s*=\s*)"
    r"(\"[^\"]*\"?|'[^']*'?|[^\s&;!,\"']+)",
    re.IGNORECASE,
)
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def without_secrets(text: object) -> str:
    """Return an address or a pipeline, or what was said of one, without user, password, keys and tokens."""
    hidden = _USER_INFO.sub(rf"\1{_HIDDEN}@", str(text))
    return printable(_SECRET.sub(rf"\1{_HIDDEN}", hidden))


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
