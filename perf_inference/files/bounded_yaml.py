"""YAML of anybody's, read within bounds: plain values only, and an error that names the line.

A value is made of the parser's events one by one, so that neither depth nor aliases cost more than the bounds allow.
What PyYAML's safe loader would make of a scalar it is here too, but for dates, which stay text as ROS has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.resolver import Resolver

MOST_BYTES = 4 << 20  # the metadata of a recording that was split into 20,000 files
_MOST_DEPTH = 64
_MOST_DIGITS = 400  # of a number; of more, the conversion alone takes its time
_INTEGERS = range(-(1 << 63), 1 << 64)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_VALUES = 300_000 if hasattr(yaml, "CSafeLoader") else 40_000  # with what aliases repeat; two seconds' work
_TAG = "tag:yaml.org,2002:"
_resolve: Callable[[Any, str, Any], str] = Resolver().resolve
_CONTAINERS = {"SequenceStartEvent": "seq", "MappingStartEvent": "map"}
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


class YamlError(ValueError):
    """The text is no YAML, or more than the bounds allow; says the line."""


def read_yaml(text: str | bytes, most_bytes: int = MOST_BYTES) -> Any:
    """Return what the text's one document says: None, bool, int, float, str, list or dict; None: it is empty.

    Raises:
        YamlError: it is no YAML, has values of other kinds, a key twice, or is too long, too deep or too much.
    """
    if len(text) > most_bytes:
        raise YamlError(f"it must have {most_bytes} bytes at most, got {len(text)}")
    reading = _Reading()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reading.take(event)
    except yaml.YAMLError as error:
        raise YamlError(_said(error)) from error
    except YamlError:
        raise
    except (ValueError, MemoryError, RecursionError) as error:  # a lone surrogate
        raise YamlError(f"it is no text that YAML can have: {type(error).__name__}") from error
    return reading.root


@dataclass
class _Open:
    """A list or mapping that has not ended yet."""

    value: Any
    anchor: str | None
    before: int  # values that were made before it
    key: Any = None
    has_key: bool = False


class _Reading:
    """What the events come to so far."""

    def __init__(self) -> None:
        self.root: Any = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, and how many values it is
        self._values = self._documents = 0

    def take(self, event: Any) -> None:
        """Take the next event."""
        kind = type(event).__name__
        if kind == "ScalarEvent":
            value = _scalar(event)
            self._count(1, event)
            self._keep(event.anchor, value, 1)
            self._add(value, event)
        elif kind in _CONTAINERS:
            self._begin(event, _CONTAINERS[kind])
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            done = self._open.pop()
            self._keep(done.anchor, done.value, self._values - done.before)
            self._add(done.value, event)
        elif kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise _error(event, f"*{_short(event.anchor)} refers to nothing that stands before it")
            value, values = self._anchors[event.anchor]
            self._count(values, event)
            self._add(value, event)
        elif kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise _error(event, "there must be one document, but another one begins")

    def _begin(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise _error(event, f"the tag {_short(event.tag)} is not read; leave it out")
        if len(self._open) >= _MOST_DEPTH:
            raise _error(event, f"it must be {_MOST_DEPTH} levels deep at most")
        self._anchors.pop(event.anchor, None)
        self._open.append(_Open([] if kind == "seq" else {}, event.anchor, self._values))
        self._count(1, event)

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > _MOST_VALUES:
            raise _error(event, f"it must have {_MOST_VALUES} values at most, with what its aliases repeat")

    def _keep(self, anchor: str | None, value: Any, values: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, values

    def _add(self, value: Any, event: Any) -> None:
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.has_key:
            top.value[top.key] = value
            top.has_key = False
        else:
            _check_key(value, top.value, event)
            top.key, top.has_key = value, True


def _check_key(value: Any, mapping: dict[Any, Any], event: Any) -> None:
    if isinstance(value, list | dict):
        raise _error(event, f"a key must be a word or a number, got a {type(value).__name__}")
    if value == "<<":
        raise _error(event, "merging with << is not read; write the values out")
    if value in mapping:
        raise _error(event, f"the key {_short(value)} is there twice; keep one")


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag = event.tag
    if tag in (None, "!"):
        tag = _resolve(yaml.ScalarNode, text, event.implicit) if tag is None else _TAG + "str"
    if tag.startswith(_TAG) and tag[len(_TAG) :] in ("str", "timestamp", "value", "merge"):
        return text
    convert = _CONVERSIONS.get(tag)
    if convert is None:
        raise _error(event, f"the tag {_short(tag)} is not read; leave it out")
    try:
        return convert(text)
    except (ValueError, OverflowError) as error:
        raise _error(event, f"{_short(text)} is no {tag[len(_TAG) :]}: {error}") from error


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"it must be one of {', '.join(_BOOLEANS)}")
    return _BOOLEANS[text.lower()]


def _integer(text: str) -> int:
    """Return an integer of YAML 1.1: 0b1, 017, 0x1f, 1_000, 1:30."""
    digits = _digits(text)
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if ":" in digits:
        value = 0
        for part in digits.split(":"):
            value = value * 60 + int(part)
    elif digits.startswith(("0b", "0x")):
        value = int(digits[2:], 2 if digits[1] == "b" else 16)
    else:
        value = int(digits, 8 if len(digits) > 1 and digits.startswith("0") else 10)
    if sign * value not in _INTEGERS:
        raise ValueError("it has more than 64 bits")
    return sign * value


def _real(text: str) -> float:
    """Return a number of YAML 1.1: 1.5, 1_0.0, 1:30.5, .inf, .nan."""
    digits = _digits(text).lower()
    sign = -1.0 if digits.startswith("-") else 1.0
    digits = digits.lstrip("+-")
    if digits in (".inf", ".nan"):
        return sign * float(digits[1:])
    value = 0.0
    for part in digits.split(":"):
        value = value * 60 + float(part)
    if not math.isfinite(value):
        raise ValueError("it is too large; write .inf for what has no end")
    return sign * value


def _digits(text: str) -> str:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"it has more than {_MOST_DIGITS} characters")
    return text.replace("_", "")


_CONVERSIONS = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": _boolean,
    _TAG + "int": _integer,
    _TAG + "float": _real,
}


def _error(event: Any, what: str) -> YamlError:
    return YamlError(f"line {event.start_mark.line + 1}: {what}")


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"line {mark.line + 1}: " if mark is not None else ""
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).partition("\n")[0]
    return f"{place}{_short(re.sub(r'[^ -~]', '?', str(said)), 200)}"


def _short(value: Any, most: int = 60) -> str:
    text = str(value)
    text = text if len(text) <= most else f"{text[:most]}..."
    return text if text.isprintable() else repr(text)
