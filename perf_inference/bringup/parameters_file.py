"""A ROS parameters file as the starters read it: its sections, which node each is for, and what it says of the start.

Patterns: https://docs.ros.org/en/rolling/p/rcl_yaml_param_parser/ (`*` is one part of a namespace, `**` any number).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import MOST_BYTES, YamlError, read_yaml
from perf_inference.files.private import open_to_everybody

_REMAPPING = re.compile(r"[^\s:=\0]+(:[^\s:=\0]+)?:=[^\s\0]+")
_ONE, _ANY = "*", "**"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 240  # a name with its namespace; DDS topics have 255 letters at most


def sections_of(config: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of each section.

    Raises:
        ConfigError: no such file, one that everybody can change, or no ROS parameters file.
    """
    _check_owner(config)
    try:
        with config.open("rb") as file:
            content = read_yaml(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"config must be a readable file, got {config}: {error.strerror}") from error
    except YamlError as error:
        raise ConfigError(f"config {config} is no YAML: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(section, dict) and isinstance(section.get("ros__parameters", ""), dict | None)
        for section in content.values()
    ):
        got = ", ".join(map(short, list(content)[:10])) if isinstance(content, dict) else type(content).__name__
        raise ConfigError(
            f"config {config} must be a ROS parameters file, sections with `ros__parameters:` in each and names and "
            f"values below it; got {got}"
        )
    return {str(key): dict(section["ros__parameters"] or {}) for key, section in content.items()}


def _check_owner(config: Path) -> None:
    """Refuse a file that everybody can change: it says what is started, and what runs as this user."""
    try:
        why = open_to_everybody(config)
        if not why and not config.is_file():
            why = "it is no regular file: the nodes read it again"
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        what = getattr(error, "strerror", None) or "its links lead in a circle"
        raise ConfigError(f"config must be a readable file, got {config}: {what}") from error
    if why:
        raise ConfigError(f"config {config} says what is started, but {why}")


def start_of(parameters: Mapping[str, Any], section: str, config: Path) -> Mapping[str, Any]:
    """Return what the starter reads of a section."""
    start = parameters.get("start", {})
    remap = start.get("remap", []) if isinstance(start, dict) else None
    if not isinstance(remap, list) or not all(isinstance(rule, str) and _REMAPPING.fullmatch(rule) for rule in remap):
        raise ConfigError(
            f"start in section '{section}' of {config} must be like {{remap: ['image:=/camera/image_raw']}}, "
            f"got {short(start)}"
        )
    enclave = start.get("enclave", "")
    if not isinstance(enclave, str) or not re.fullmatch(r"((/\w+)+)?", enclave):
        raise ConfigError(
            f"start.enclave in section '{section}' of {config} must be like /robot1/yolo, got {enclave!r}"
        )
    return dict(start)


def short(value: Any) -> str:
    """Return a value in at most a hundred letters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def absolute(namespace: str) -> str:
    """Return the namespace with its leading slash; of the root, nothing."""
    inner = namespace.strip("/")
    return f"/{inner}" if inner else ""


def namespace_of(key: str, wanted: str) -> str:
    """Return the namespace in which a section's node must start for the section to reach it; empty: the root.

    Args:
        key: `/**/yolo_node`, `yolo_node`, `/robot1/yolo_node`.
        wanted: namespace of all nodes; empty: none was asked for.

    Raises:
        ConfigError: started as it was asked for, the node would not get the section's parameters.
    """
    *parts, name = key.strip("/").split("/")
    for text, words in ((key, [part for part in parts if part not in (_ONE, _ANY)]), (wanted, _parts(wanted))):
        if len(text) > _LONGEST or not all(map(_WORD.fullmatch, words)):
            raise ConfigError(
                f"a namespace must be words of letters, digits and '_' with '/' between them, {_LONGEST} letters at "
                f"most; got {short(text)}"
            )
    if not wanted and not {_ONE, _ANY} & set(parts):
        return absolute("/".join(parts))
    namespace = absolute(wanted)
    if not _matches(parts, _parts(wanted)):
        hint = "" if {_ONE, _ANY} & set(parts) else f", or start without a namespace as {absolute(key)}"
        raise ConfigError(
            f"section '{key}' is not for {namespace}/{name}, as which its node would start: its parameters would not "
            f"reach it; call it /**/{name}{hint}"
        )
    return namespace


def _parts(namespace: str) -> list[str]:
    return namespace.strip("/").split("/") if namespace.strip("/") else []


def _matches(pattern: Sequence[str], namespace: Sequence[str]) -> bool:
    count = len(namespace)
    ends = {0}  # how much of the namespace the pattern so far can stand for
    for part in pattern:
        if part == _ANY:
            ends = set(range(min(ends, default=count + 1), count + 1))
        else:
            ends = {end + 1 for end in ends if end < count and part in (_ONE, namespace[end])}
    return count in ends
