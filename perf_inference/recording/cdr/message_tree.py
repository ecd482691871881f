"""Makes the tree of a message's fields from its definition, without running anything of it.

Definitions come out of recordings, so they may be anybody's: names are checked, sizes and nesting are limited.
"""

from __future__ import annotations

import re

from perf_inference.recording.cdr.declared import TYPE_NAME, Declared, DefinitionError, full_name
from perf_inference.recording.cdr.fields import NUMBERS, Array, Item, Kind, Message, Sequence, Text
from perf_inference.recording.cdr.idl_parser import parse_idl
from perf_inference.recording.cdr.interfaces import KNOWN, derived
from perf_inference.recording.cdr.msg_parser import parse_msg

MAX_TEXT_BYTES = 1 << 20
MAX_NESTING = 16  # messages in messages; Python's compiler allows loops within loops 20 deep
MAX_FIELDS = 10_000  # of a message, nested ones included

_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_DUMMY = "structure_needs_at_least_one_member"  # rosidl's, in messages without fields


def message_tree(type_name: str, encoding: str, text: str) -> Message:
    """Return the tree of a message.

    Raises:
        DefinitionError: it is no definition of this type, or too big.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise DefinitionError(f"a definition may have {MAX_TEXT_BYTES} characters, this one has {len(text)}")
    if not TYPE_NAME.fullmatch(type_name):
        raise DefinitionError(f"a type must be named like sensor_msgs/msg/Imu, got {type_name[:100]!r}")
    if encoding == "ros2msg":
        declared = parse_msg(full_name(type_name), text)
    elif encoding == "ros2idl":
        declared = parse_idl(text)
    else:
        raise DefinitionError(f"definitions must be ros2msg or ros2idl, got {encoding[:100]!r}")
    return _Tree(declared).message(full_name(type_name), 1)


class _Tree:
    """Puts declared types together; each type is one object, however often it is used."""

    def __init__(self, declared: dict[str, list[Declared]]) -> None:
        self._declared = {**KNOWN, **derived(declared), **declared}
        self._made: dict[str, tuple[Message, int, int]] = {}  # with the number of fields in it, and its nesting

    def message(self, name: str, depth: int) -> Message:
        if name not in self._made:
            self._made[name] = self._make(name, depth)
        message, _, nesting = self._made[name]
        if depth + nesting - 1 > MAX_NESTING:
            raise _too_deep(name)
        return message

    def _make(self, name: str, depth: int) -> tuple[Message, int, int]:
        if depth > MAX_NESTING:
            raise _too_deep(name)
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
        if count > MAX_FIELDS:
            raise DefinitionError(f"a message may have {MAX_FIELDS} fields, {name} has {count}")
        return made, count, 1 + max((nesting for _, _, nesting in inner), default=0)

    def _kind(self, field: Declared, depth: int) -> Kind:
        item: Item
        if field.base in NUMBERS:
            item = NUMBERS[field.base]
        elif field.base in ("string", "wstring"):
            item = Text(field.base == "wstring", field.bound)
        elif TYPE_NAME.fullmatch(field.base):
            item = self.message(field.base, depth + 1)
        else:
            raise DefinitionError(f"type {field.base[:100]!r} is not supported")
        if field.size >= 1 << 32 or (field.many == "array" and not field.size):
            raise DefinitionError(f"{field.name} must have a size from 1 to 2^32-1, got {field.size}")
        if field.many == "array":
            return Array(item, field.size)
        return Sequence(item, field.size) if field.many else item


def _too_deep(name: str) -> DefinitionError:
    return DefinitionError(f"messages may be nested {MAX_NESTING} deep; {name[:100]} is within itself or too deep")
