"""Reads the fields of `.msg` definitions."""

from __future__ import annotations

import re

from perf_inference.recording.cdr.declared import SECTION, TYPE_NAME, Declared, DefinitionError, full_name
from perf_inference.recording.cdr.fields import NUMBERS

_FIELD = re.compile(
    r"(?P<base>[A-Za-z]\w*(?:/[A-Za-z]\w*){0,2})(?:<=(?P<bound>\d{1,10}))?(?P<array>\[(?P<most><=)?(?P<size>\d{0,10})\])?"
    r"[ \t]+(?P<name>[A-Za-z]\w*)(?P<rest>[ \t]*[=#].*|[ \t]+.*)?",
    re.ASCII,
)
_OLD_NAMES = {"time": "builtin_interfaces/msg/Time", "duration": "builtin_interfaces/msg/Duration"}


def parse_msg(type_name: str, text: str) -> dict[str, list[Declared]]:
    """Return the fields of a `.msg` text and of those that follow it, by type.

    Raises:
        DefinitionError: a line is neither a field nor a constant nor a comment.
    """
    own, *others = SECTION.split(text.replace("\r\n", "\n"))
    declared = {type_name: _fields(type_name, own)}
    for other in others:
        head, _, body = other.partition("\n")
        name = full_name(head.removeprefix("MSG:").strip())
        if not head.startswith("MSG:") or not TYPE_NAME.fullmatch(name):
            raise DefinitionError(f"after a separator 'MSG: package/Type' must follow, got {head[:100]!r}")
        declared.setdefault(name, _fields(name, body))
    return declared


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
    return full_name(base) if "/" in base else f"{type_name.rpartition('/')[0]}/{base}"
