"""Reads the fields of message definitions (`.msg` text, and IDL through rosbags) without running anything of them.

Definitions come out of recordings, so they may be anybody's: names are checked, sizes and nesting are limited.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from perf_inference.recording.fields import NUMBERS, Array, Item, Kind, Message, Sequence, Text

MAX_TEXT_BYTES = 1 << 20
MAX_NESTING = 16  # messages in messages; Python's compiler allows loops within loops 20 deep
_MAX_FIELDS = 10_000  # of a message, nested ones included

_TYPE_NAME = re.compile(r"[A-Za-z]\w*(?:/[A-Za-z]\w*){1,2}", re.ASCII)
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_SECTION = re.compile(r"^={80}\n", re.MULTILINE)
_FIELD = re.compile(
    r"(?P<base>[A-Za-z]\w*(?:/[A-Za-z]\w*){0,2})(?:<=(?P<bound>\d{1,9}))?(?P<array>\[(?P<most><=)?(?P<size>\d{0,9})\])?"
    r"[ \t]+(?P<name>[A-Za-z]\w*)[ \t]*(?P<rest>[^\w].*)?",
    re.ASCII | re.DOTALL,
)
_IDL_LEFT_OUT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|^[ \t]*#[^\n]*', re.MULTILINE | re.DOTALL)
_DUMMY = "structure_needs_at_least_one_member"  # rosidl's, in messages without fields
_TIME = {
    "builtin_interfaces/msg/Time": ("int32 sec", "uint32 nanosec"),
    "builtin_interfaces/msg/Duration": ("int32 sec", "uint32 nanosec"),
}
_OLD_NAMES = {"time": "builtin_interfaces/msg/Time", "duration": "builtin_interfaces/msg/Duration"}


class DefinitionError(Exception):
    """A definition that cannot be used; says why."""


class Declared(NamedTuple):
    """A field as its definition has it."""

    name: str
    base: str  # "float64", "string", "std_msgs/msg/Header"
    bound: int = 0  # of a string
    many: str = ""  # "", "array" or "sequence"
    size: int = 0  # of the array; the sequence's bound


def message_tree(type_name: str, encoding: str, text: str) -> Message:
    """Return the tree of a message.

    Raises:
        DefinitionError: it is no definition of this type, or too big.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise DefinitionError(f"a definition may have {MAX_TEXT_BYTES} characters, this one has {len(text)}")
    if not _TYPE_NAME.fullmatch(type_name):
        raise DefinitionError(f"a type must be named like sensor_msgs/msg/Imu, got {type_name[:100]!r}")
    if encoding == "ros2msg":
        declared = parse_msg(full_name(type_name), text)
    elif encoding == "ros2idl":
        declared = _parse_idl(text)
    else:
        raise DefinitionError(f"definitions must be ros2msg or ros2idl, got {encoding[:100]!r}")
    return _Tree(declared).message(full_name(type_name))


def full_name(name: str) -> str:
    """Return `sensor_msgs/msg/Imu` for `sensor_msgs/Imu`."""
    package, *rest = name.split("/")
    return name if len(rest) != 1 else f"{package}/msg/{rest[0]}"


def parse_msg(type_name: str, text: str) -> dict[str, list[Declared]]:
    """Return the fields of a `.msg` text and of those that follow it, by type."""
    own, *others = _SECTION.split(text.replace("\r\n", "\n"))
    declared = {type_name: _fields(type_name, own)}
    for other in others:
        head, _, body = other.partition("\n")
        name = full_name(head.removeprefix("MSG:").strip())
        if not head.startswith("MSG:") or not _TYPE_NAME.fullmatch(name):
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
    if (parts["rest"] or "").startswith("=") and not array:
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


def _parse_idl(text: str) -> dict[str, list[Declared]]:
    from rosbags.interfaces import Nodetype  # the import takes its time
    from rosbags.typesys import get_types_from_idl

    declared: dict[str, list[Declared]] = {}
    for section in _SECTION.split(text.replace("\r\n", "\n")):
        body = section.partition("\n")[2] if section.startswith("IDL:") else section
        if not body.strip():
            continue
        types = _parsed(lambda body=body: get_types_from_idl(_plain_idl(body)))
        for name, (_, fields) in types.items():
            declared.setdefault(name, [_from_rosbags(field, desc, Nodetype) for field, desc in fields])
    return declared


def _parsed(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except Exception as error:  # whatever the parser stumbles over, it is not a definition
        reason = str(error).rpartition("\n")[2][:100]
        raise DefinitionError(f"cannot be read as IDL: {type(error).__name__} {reason}") from error


def _plain_idl(text: str) -> str:
    """Return it without comments, includes and text; with nothing that would take the parser for ever."""
    plain = _IDL_LEFT_OUT.sub(lambda found: '""' if found[0].startswith('"') else " ", text)
    # constants are not needed, and computing them could take for ever: 1 << (1 << 40)
    if re.search(r"<<|\*", plain) or re.search(r"\([^()]*\([^()]*\(", plain) or re.search(r"\d{20}", plain):
        raise DefinitionError("arithmetic with <<, * or nested brackets is not supported in IDL definitions")
    return plain


def _from_rosbags(name: str, desc: Any, node: Any) -> Declared:
    many, size = "", 0
    if desc[0] in (node.ARRAY, node.SEQUENCE):
        many = "array" if desc[0] == node.ARRAY else "sequence"
        desc, size = desc[1]
    if desc[0] == node.BASE:
        return Declared(name, desc[1][0], desc[1][1], many, size)
    return Declared(name, full_name(desc[1]), 0, many, size)


class _Tree:
    """Puts declared types together."""

    def __init__(self, declared: dict[str, list[Declared]]) -> None:
        for name, lines in _TIME.items():
            declared.setdefault(name, [Declared(line.split()[1], line.split()[0]) for line in lines])
        self._declared = declared
        self._made: dict[str, tuple[Message, int, int]] = {}  # with the number of its fields, and its nesting

    def message(self, name: str, depth: int = 1) -> Message:
        if name not in self._made:
            self._made[name] = self._make(name, depth)
        message, _, nesting = self._made[name]
        if depth + nesting - 1 > MAX_NESTING:
            raise DefinitionError(f"messages may be nested {MAX_NESTING} deep; {name} is within itself or too deep")
        return message

    def _make(self, name: str, depth: int) -> tuple[Message, int, int]:
        if depth > MAX_NESTING:
            raise DefinitionError(f"messages may be nested {MAX_NESTING} deep; {name} is within itself or too deep")
        if name not in self._declared:
            raise DefinitionError(f"it uses {name[:100]}, whose definition is missing")
        fields = self._declared[name]
        if [field.name for field in fields] == [_DUMMY]:
            fields = []
        names = {field.name for field in fields}
        if len(names) < len(fields) or not all(map(_NAME.fullmatch, names)):
            raise DefinitionError(f"the fields of {name} must be different names, got {sorted(names)}"[:300])
        made = Message(name, tuple((field.name, self._kind(field, depth)) for field in fields))
        inner = [self._made[field.base] for field in fields if field.base in self._made]
        count = len(fields) + sum(inner_count for _, inner_count, _ in inner)
        if count > _MAX_FIELDS:
            raise DefinitionError(f"a message may have {_MAX_FIELDS} fields, {name} has {count}")
        return made, count, 1 + max((nesting for _, _, nesting in inner), default=0)

    def _kind(self, field: Declared, depth: int) -> Kind:
        item: Item
        if field.base in NUMBERS:
            item = NUMBERS[field.base]
        elif field.base in ("string", "wstring"):
            item = Text(field.base == "wstring", field.bound)
        elif _TYPE_NAME.fullmatch(field.base):
            item = self.message(field.base, depth + 1)
        else:
            raise DefinitionError(f"type {field.base[:100]!r} is not supported")
        if not 0 <= field.size < 1 << 32 or (field.many == "array" and not field.size):
            raise DefinitionError(f"{field.name} must have a size from 1 to 2^32-1, got {field.size}")
        if field.many == "array":
            return Array(item, field.size)
        return Sequence(item, field.size) if field.many else item
