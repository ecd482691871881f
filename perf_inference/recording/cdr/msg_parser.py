"""Reads the fields of `.msg` definitions."""

from __future__ import annotations

import re

from perf_inference.recording.cdr.declared import SECTION, TYPE_NAME, Declared, DefinitionError, full_name
from perf_inference.recording.cdr.fields import NUMBERS
from perf_inference.recording.cdr.interfaces import interface_of, is_divided, parts

_FIELD = re.compile(
    r"(?P<base>[A-Za-z]\w*(?:/[A-Za-z]\w*){0,2})(?:<=(?P<bound>\d{1,10}))?(?P<array>\[(?P<most><=)?(?P<size>\d{0,10})\])?"
    r"[ \t]+(?P<name>[A-Za-z]\w*)(?P<rest>[ \t]*[=#].*|[ \t]+.*)?",
    re.ASCII,
)
_HEAD = re.compile(r"(MSG|SRV|ACTION):[ \t]*([\w/]+)[ \t]*", re.ASCII)
_OLD_NAMES = {"time": "builtin_interfaces/msg/Time", "duration": "builtin_interfaces/msg/Duration"}


def parse_msg(type_name: str, text: str) -> dict[str, list[Declared]]:
    """Return the fields of a `.msg`, `.srv` or `.action` text and of those that follow it, by type.

    Raises:
        DefinitionError: a line is neither a field nor a constant nor a comment.
    """
    own, *others = SECTION.split(text.replace("\r\n", "\n"))
    declared: dict[str, list[Declared]] = {}
    if is_divided(own):
        declared |= parts(interface_of(type_name), own, _fields)
    elif own.strip() or not any(_HEAD.match(other) for other in others):
        declared[type_name] = _fields(type_name, own)
    for other in others:
        head, _, body = other.partition("\n")
        found = _HEAD.fullmatch(head)
        name = "" if found is None else _named(found[1].lower(), found[2])
        if found is None or not TYPE_NAME.fullmatch(name):
            raise DefinitionError(f"after a separator 'MSG: package/Type' must follow, got {head[:100]!r}")
        for part, fields in ({name: _fields(name, body)} if found[1] == "MSG" else parts(name, body, _fields)).items():
            declared.setdefault(part, fields)
    return declared


def _named(kind: str, name: str) -> str:
    """Return the full name; those of services and actions are written without their kind too."""
    package, *rest = name.split("/")
    return full_name(name) if kind == "msg" or len(rest) != 1 else f"{package}/{kind}/{rest[0]}"


def _fields(type_name: str, text: str) -> list[Declared]:
    lines = (line.strip() for line in text.split("\n"))
    fields = (_field(type_name, line) for line in lines if line and not line.startswith(("#", "@")))
    return [field for field in fields if field is not None]


def _field(type_name: str, line: str) -> Declared | None:
    """Return the field of a line; None: a constant."""
    parts = _FIELD.fullmatch(line)
    if parts is None:
        raise DefinitionError(f"a line of {type_name} must be 'type name', got {line[:100]!r}")
    base, array, size = parts["base"], parts["array"], int(parts["size"] or 0)
    if (parts["rest"] or "").lstrip().startswith("=") and not array:
        return None
    if parts["bound"] and base not in ("string", "wstring"):
        raise DefinitionError(f"only strings are bounded by '<=', got {line[:100]!r}")
    many = "" if not array else "sequence" if parts["most"] or not parts["size"] else "array"
    if base == "char":  # since ROS 2 an unsigned number
        base = "uint8"
    elif base not in NUMBERS and base not in ("string", "wstring"):
        base = _reference(type_name, base)
    return Declared(parts["name"], base, int(parts["bound"] or 0), many, size)


def _reference(type_name: str, base: str) -> str:
    if base in _OLD_NAMES:
        return _OLD_NAMES[base]
    if base == "Header" and not type_name.startswith("std_msgs/"):
        return "std_msgs/msg/Header"
    if "/" in base:
        return full_name(base)
    package, *_ = type_name.split("/")
    return f"{package}/msg/{base}"
