"""Finds out whose file it is, and makes a contract of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perf_inference.engines.lerobot import contract as lerobot
from perf_inference.engines.policy_folder import is_config
from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.files.draft import as_yaml
from perf_inference.tasks.policy.importing import isaac_lab, rosetta

MOST_BYTES = 8 << 20
_LEROBOT, _ISAAC = "config.json", "*IO_descriptors.yaml"
_KNOWN = "a folder of a LeRobot policy (config.json), Isaac Lab's IO_descriptors.yaml, or a YAML contract of rosetta"


def contract_text(source: Path, dataset: Path | None = None) -> str:
    """Return the YAML of a contract.

    Args:
        source: a folder, or a file.
        dataset: of LeRobot: its folder, or `meta/info.json`.

    Raises:
        ConfigError: it cannot be read, or is nothing that is known.
    """
    file = _file_of(source)
    content = _content_of(file)
    if is_config(content):
        return lerobot.text_of(content, str(file), None if dataset is None else _info(dataset))
    if dataset is not None:
        raise ConfigError(f"--dataset goes with LeRobot's config.json alone, and '{file}' is none")
    if isaac_lab.is_descriptor(content):
        draft, kind = isaac_lab.draft_of(content, str(file)), "Isaac Lab's IO descriptors"
    elif rosetta.is_contract(content):
        draft, kind = rosetta.draft_of(content, str(file)), "rosetta's contract"
    else:
        raise ConfigError(f"'{file}' must be {_KNOWN}")
    return as_yaml(draft, [f"From {kind}, {file.name}. Values that start with REQUIRED are to be filled in."])


def _file_of(source: Path) -> Path:
    if not source.is_dir():
        return source
    if (source / _LEROBOT).is_file():
        return source / _LEROBOT
    for folder in (source, source / "io_descriptors", source / "params"):
        if found := sorted(folder.glob(_ISAAC)):
            return found[0]
    raise ConfigError(f"'{source}' must be {_KNOWN}; it has neither {_LEROBOT} nor {_ISAAC.removeprefix('*')}")


def _content_of(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"'{file}' cannot be read: {why}; it must be {_KNOWN}") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"'{file}' must have at most {MOST_BYTES} bytes")
    if file.suffix == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"'{file}' must be JSON: {error}") from error
    try:
        return read_yaml(text, MOST_BYTES)
    except YamlError as error:
        raise ConfigError(f"'{file}' must be YAML: {error}") from error


def _info(dataset: Path) -> dict[str, Any]:
    file = dataset / "meta" / "info.json" if dataset.is_dir() else dataset
    info = _content_of(file)
    if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
        raise ConfigError(f"'{file}' must be meta/info.json of a LeRobot data set, with its features")
    return info
