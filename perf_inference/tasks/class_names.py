"""The names of a model's classes, in the forms in which exporters and tools leave them in a model's metadata.

{0: 'bolt', 1: 'nut'}    Ultralytics (a Python table), from OpenVINO's rt_info and metadata.yaml too
{"0": "bolt", "1": "nut"}, ["bolt", "nut"]    JSON
{1: 'bolt', 2: 'nut'}    counted from 1, as label maps are
{"bolt": 0, "nut": 1}    the other way round (label2id)
[{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]    COCO's categories
bolt,nut                 a line each, or with commas
bolt nut                 `labels` of OpenVINO's model_info, with `_` for a space within a name
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from perf_inference.errors import ConfigError

NAMES, LABELS = "names", "labels"
_ALSO = ("class_names", "classes", "id2label", "label2id", "label_names", "categories")  # taken where they are a table
_SHOWN = 80


def names_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the classes 0, 1, ...; none where the metadata say nothing of them.

    Raises:
        ConfigError: `names` is there and is none of the forms above.
    """
    if text := metadata.get(NAMES, "").strip():
        names = read_names(text)
        if names is None:
            raise ConfigError(
                f"the model's metadata have names that cannot be read, {text[:_SHOWN]!r}: they must be like "
                "{0: 'bolt', 1: 'nut'}, numbered from 0 or from 1 without a gap; set class_names"
            )
        return names
    for key in _ALSO:
        text = metadata.get(key, "").strip()
        if text[:1] in ("{", "[", "(") and (names := read_names(text)):
            return names
    labels = metadata.get(LABELS, "").strip()
    if labels[:1] in ("{", "[", "(") or "," in labels or "\n" in labels:
        return read_names(labels) or ()
    return tuple(word.replace("_", " ") for word in labels.split())


def read_names(text: str) -> tuple[str, ...] | None:
    """Return the names that a text holds, in the order of their classes; None where it holds none."""
    text = text.strip()
    if text[:1] in ("{", "[", "("):
        return _names(_parsed(text))
    words = text.splitlines() if "\n" in text else text.split(",")
    names = tuple(word.strip() for word in words)
    return names if all(names) and not names[0].isdigit() else None


def _parsed(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # Python's has them all
        return ast.literal_eval(text)
    return None


def _names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, dict) and {"id", "name"} <= item.keys() for item in value):
            return _numbered([(item["id"], item["name"]) for item in value])
        return tuple(map(str, value)) if all(map(_is_name, value)) else None
    if not isinstance(value, dict):
        return None
    if all(type(number) is int for number in value.values()) and not all(map(_is_number, value)):
        return _numbered([(number, name) for name, number in value.items()])
    return _numbered(list(value.items()))


def _numbered(pairs: list[tuple[Any, Any]]) -> tuple[str, ...] | None:
    """Return the names in the order of their numbers, which begin at 0 or at 1 and have no gap."""
    if not all(_is_number(number) and _is_name(name) for number, name in pairs):
        return None
    table = {int(number): str(name) for number, name in pairs}
    first = 0 if 0 in table else 1
    numbers = range(first, first + len(pairs))
    return tuple(table[number] for number in numbers) if table.keys() == set(numbers) else None


def _is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isdecimal())


def _is_name(value: Any) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or type(value) is int
