"""The definitions of the message types that are installed here."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rosidl_parser.definition import (
    AbstractNestedType,
    AbstractString,
    AbstractWString,
    Array,
    BasicType,
    BoundedSequence,
    NamespacedType,
)

from perf_inference.errors import ConfigError
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.printable import shown
from perf_inference.recording.cdr.declared import DefinitionError, full_name
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.fields import NUMBERS
from perf_inference.recording.cdr.msg_parser import parse_msg

_TYPE = re.compile(r"(\w+)/(?:(msg|srv|action)/)?(\w+)", re.ASCII)
_SEPARATOR = "=" * 80
_BASIC = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}  # IDL's name, .msg's name


@cache
def installed_definition(type_name: str) -> Definition:
    """Return a type's definition: the installed `.msg` files, or what the Python classes tell where there are none.

    Raises:
        ConfigError: the type, or one that it uses, is not installed.
    """
    name = full_name(type_name)
    if not _TYPE.fullmatch(name):
        raise ConfigError(f"a message type must be named like sensor_msgs/msg/Imu, got '{shown(type_name)}'")
    texts: dict[str, str] = {}
    _collect(name, texts)
    sections = [f"{_SEPARATOR}\nMSG: {_short(used)}\n{text}" for used, text in texts.items() if used != name]
    return Definition(name, "ros2msg", "".join([texts[name], *sections]))


def _collect(name: str, texts: dict[str, str]) -> None:
    """Add the texts of a type and of all that it uses."""
    if name in texts:
        return
    text = _file_text(name)
    text = _class_text(name) if text is None else text
    texts[name] = text if text.endswith("\n") or not text else text + "\n"
    try:
        fields = parse_msg(name, text)[name]
    except DefinitionError as error:
        raise ConfigError(f"the installed definition of {name} cannot be used: {error}") from error
    for field in fields:
        if field.base not in NUMBERS and field.base not in ("string", "wstring"):
            _collect(field.base, texts)


def _file_text(name: str) -> str | None:
    package, kind, message = name.split("/")
    if kind != "msg":
        return None
    for share in _share_directories(package):
        path = share / "msg" / f"{message}.msg"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    return None


def _share_directories(package: str) -> list[Path]:
    found = [Path(sys.prefix) / "share" / package]  # of wheels, which have no AMENT_PREFIX_PATH
    with suppress(LookupError, OSError, ValueError):
        found.insert(0, Path(get_package_share_directory(package)))
    return found


def _class_text(name: str) -> str:
    cls = message_class(name)
    return "".join(
        f"{_type_text(slot)} {field}\n"
        for field, slot in zip(cls.get_fields_and_field_types(), cls.SLOT_TYPES, strict=True)
    )


def _type_text(slot: Any) -> str:
    """Return a type as `.msg` files have it."""
    if isinstance(slot, Array):
        return f"{_type_text(slot.value_type)}[{slot.size}]"
    if isinstance(slot, BoundedSequence):
        return f"{_type_text(slot.value_type)}[<={slot.maximum_size}]"
    if isinstance(slot, AbstractNestedType):
        return f"{_type_text(slot.value_type)}[]"
    if isinstance(slot, (AbstractString, AbstractWString)):
        word = "wstring" if isinstance(slot, AbstractWString) else "string"
        return f"{word}<={slot.maximum_size}" if slot.has_maximum_size() else word
    if isinstance(slot, NamespacedType):
        return _short("/".join(slot.namespaced_name()))
    assert isinstance(slot, BasicType)
    return _BASIC.get(slot.typename, str(slot.typename))


def _short(name: str) -> str:
    return name.replace("/msg/", "/")
