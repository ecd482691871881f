"""From the words of a command line to the value of a parameter, by the type that its node says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from perf_inference.errors import InputError
from perf_inference.printable import OUTSIDE, printable

NOT_SET, BOOL, INTEGER, DOUBLE, STRING, BYTES, BOOLS, INTEGERS, DOUBLES, STRINGS = range(10)
"""As rcl_interfaces/msg/ParameterType has them."""
_NOUNS = {
    BOOL: "true or false",
    INTEGER: "a whole number",
    DOUBLE: "a number",
    STRING: "a text",
    BOOLS: "a list of true and false",
    INTEGERS: "a list of whole numbers",
    DOUBLES: "a list of numbers",
    STRINGS: "a list of texts",
}
_ITEMS = {BOOLS: BOOL, INTEGERS: INTEGER, DOUBLES: DOUBLE, STRINGS: STRING}
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_MOST = 2**63


def parse(words: Sequence[str], kind: int) -> Any:
    """Return the value that the words of a command line say.

    A text of several words is one text; a list is its elements, a word each, or one word as YAML has it: `[a, b]`.

    Args:
        kind: the parameter's type, as rcl_interfaces counts them.

    Raises:
        InputError: they say no value of this type.
    """
    if kind == STRING:
        return " ".join(words)
    if kind in _ITEMS:
        return [_one(item, _ITEMS[kind], kind) for item in _items(words)]
    if kind not in _NOUNS:
        raise InputError("a parameter of this type, or without one, cannot be set by words; use ros2 param set")
    if len(words) != 1:
        raise InputError(f"it must be {_NOUNS[kind]}, got {len(words)} words: {_shown(' '.join(words))}")
    return _one(words[0], kind, kind)


def text(value: Any) -> str:
    """Return a value as it is told."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value, OUTSIDE) or '""'
    return "[" + ", ".join(map(text, value)) + "]"


def _items(words: Sequence[str]) -> list[str]:
    if len(words) == 1 and words[0].startswith("["):
        try:
            listed = yaml.safe_load(words[0])
        except (yaml.YAMLError, RecursionError) as error:
            raise InputError(f"a list must be written as [a, b], got {_shown(words[0])}") from error
        if not isinstance(listed, list):
            raise InputError(f"a list must be written as [a, b], got {_shown(words[0])}")
        return [str(item).lower() if isinstance(item, bool) else str(item) for item in listed]
    return list(words)


def _one(word: str, kind: int, wanted: int) -> Any:
    try:
        return _READ[kind](word)
    except (ValueError, KeyError) as error:
        raise InputError(f"it must be {_NOUNS[wanted]}, got {_shown(word)}") from error


def _bool(word: str) -> bool:
    if word.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(word)
    return word.lower() in _TRUE


def _integer(word: str) -> int:
    value = int(word, 10)
    if not -_MOST <= value < _MOST:
        raise ValueError(word)
    return value


def _double(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(word)
    return value


_READ: dict[int, Callable[[str], Any]] = {BOOL: _bool, INTEGER: _integer, DOUBLE: _double, STRING: str}


def _shown(word: str) -> str:
    return f"'{printable(word, 80)}'"
