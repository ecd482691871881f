"""What an OpenVINO model says of itself: in its rt_info, and in the metadata.yaml that Ultralytics writes beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.files.regular import open_regular

RT_INFO = ("perf_inference", "metadata")  # where a converted model carries the metadata of its source, as JSON
BESIDE = "metadata.yaml"
_FRAMEWORK, _MODEL_INFO = "framework", "model_info"  # of converters, and of OpenVINO's Model API
_LABELS = "labels"  # of model_info: the classes' names with blanks between them
_MOST_BYTES = 1 << 20


def read_metadata(model: Any, path: Path) -> dict[str, str]:
    """Return what the model says of itself, the file beside it last.

    Raises:
        ConfigError: the file beside it cannot be read.
    """
    if model.has_rt_info(list(RT_INFO)):  # of our own making: all of it
        return _text(json.loads(model.get_rt_info(list(RT_INFO)).value))
    labels = _section(model, _MODEL_INFO).get(_LABELS)
    return {**_beside(path), **_text({_LABELS: labels}), **_text(_section(model, _FRAMEWORK))}


def _section(model: Any, name: str) -> Mapping[str, Any]:
    if not model.has_rt_info([name]):
        return {}
    values = model.get_rt_info([name]).value
    return {key: getattr(value, "value", value) for key, value in values.items()} if isinstance(values, dict) else {}


def _beside(path: Path) -> dict[str, str]:
    file = path.with_name(BESIDE)
    if not file.exists():
        return {}
    try:
        with open_regular(file) as stream:
            said = read_yaml(stream.read(_MOST_BYTES + 1), _MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"'{file}' says what '{path.name}' is, and cannot be read: {error.strerror}") from error
    except YamlError as error:
        raise ConfigError(f"'{file}' says what '{path.name}' is, and is no YAML: {error}; export it again") from error
    return _text(said) if isinstance(said, dict) else {}


def _text(said: Mapping[Any, Any]) -> dict[str, str]:
    """Return values as text, as ONNX files have them: tables as Python writes them."""
    return {str(key): str(value) for key, value in said.items() if value is not None}
