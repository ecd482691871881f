"""What a message type is: its definition, and its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from perf_inference.recording.cdr.declared import DefinitionError
from perf_inference.recording.cdr.fields import Array, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.message_tree import message_tree

# type_description_interfaces/msg/FieldType
_TYPE_IDS = {
    "int8": 2,
    "uint8": 3,
    "int16": 4,
    "uint16": 5,
    "int32": 6,
    "uint32": 7,
    "int64": 8,
    "uint64": 9,
    "float32": 10,
    "float64": 11,
    "char": 13,
    "wchar": 14,
    "bool": 15,
    "byte": 16,
}
_MESSAGE, _STRING, _WSTRING, _BOUNDED_STRING, _BOUNDED_WSTRING = 1, 17, 18, 21, 22
_ARRAY, _BOUNDED_SEQUENCE, _SEQUENCE = 48, 96, 144


@dataclass(frozen=True)
class Definition:
    """The text that says what a message type is, as MCAP files have it."""

    type: str  # "sensor_msgs/msg/Imu"
    encoding: str  # "ros2msg" or "ros2idl"
    text: str  # its own, then each dependency's after a separator; bytes that are no UTF-8 as single surrogates

    @classmethod
    def of_bytes(cls, type_name: str, encoding: str, data: bytes) -> Definition:
        """Return the definition of an MCAP schema, whose data may be no text (protobuf's are not)."""
        return cls(type_name, encoding, data.decode("utf-8", "surrogateescape"))

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")

    @property
    def is_text(self) -> bool:
        """Whether the data are UTF-8."""
        return self.text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in self.text)


def type_hash(definition: Definition) -> str | None:
    """Return the type's `RIHS01_...` hash (REP 2011); None where the definition cannot be used."""
    try:
        root = message_tree(definition.type, definition.encoding, definition.text)
    except DefinitionError:
        return None
    found: dict[str, Any] = {}
    _describe(root, found)
    own = found.pop(root.type)
    description = {"type_description": own, "referenced_type_descriptions": [found[name] for name in sorted(found)]}
    return "RIHS01_" + hashlib.sha256(json.dumps(description).encode()).hexdigest()


def _describe(message: Message, found: dict[str, Any]) -> None:
    if message.type in found:
        return
    fields = [{"name": name, "type": _field_type(kind)} for name, kind in message.fields]
    if not fields:
        fields = [{"name": "structure_needs_at_least_one_member", "type": _type(_TYPE_IDS["uint8"])}]
    found[message.type] = {"type_name": message.type, "fields": fields}
    for _, kind in message.fields:
        item = kind.item if isinstance(kind, (Array, Sequence)) else kind
        if isinstance(item, Message):
            _describe(item, found)


def _field_type(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Array):
        return _field_type(kind.item) | {"type_id": _field_type(kind.item)["type_id"] + _ARRAY, "capacity": kind.length}
    if isinstance(kind, Sequence):
        more = _BOUNDED_SEQUENCE if kind.bound else _SEQUENCE
        return _field_type(kind.item) | {"type_id": _field_type(kind.item)["type_id"] + more, "capacity": kind.bound}
    if isinstance(kind, Number):
        return _type(_TYPE_IDS[kind.name])
    if isinstance(kind, Text):
        unbounded, bounded = (_WSTRING, _BOUNDED_WSTRING) if kind.wide else (_STRING, _BOUNDED_STRING)
        return _type(bounded if kind.bound else unbounded, string_capacity=kind.bound)
    return _type(_MESSAGE, nested=kind.type)


def _type(number: int, string_capacity: int = 0, nested: str = "") -> dict[str, Any]:
    return {"type_id": number, "capacity": 0, "string_capacity": string_capacity, "nested_type_name": nested}
