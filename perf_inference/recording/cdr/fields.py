"""The tree of fields that a message definition makes, as CDR and JSON need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from perf_inference.errors import InputError


class FieldError(InputError):
    """A value that does not fit its field; the path is completed on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, ""

    def within(self, name: str | int) -> FieldError:
        """Add the enclosing field or index."""
        step = f"[{name}]" if isinstance(name, int) else name
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{dot}{self.path}"
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


@dataclass(frozen=True)
class Number:
    """A fixed-size value: an integer, a float, a bool, a byte or a character."""

    name: str  # "float64"
    size_bytes: int
    code: str  # of struct
    dtype: str  # of NumPy

    @property
    def is_float(self) -> bool:
        return self.code in "fd"

    @property
    def is_bool(self) -> bool:
        return self.name == "bool"

    @property
    def min_bytes(self) -> int:
        return self.size_bytes


NUMBERS = {
    name: Number(name, size, code, dtype)
    for name, size, code, dtype in (
        ("bool", 1, "B", "|b1"),
        ("byte", 1, "B", "|u1"),
        ("char", 1, "B", "|u1"),
        ("wchar", 2, "H", "<u2"),
        ("uint8", 1, "B", "|u1"),
        ("int8", 1, "b", "|i1"),
        ("uint16", 2, "H", "<u2"),
        ("int16", 2, "h", "<i2"),
        ("uint32", 4, "I", "<u4"),
        ("int32", 4, "i", "<i4"),
        ("uint64", 8, "Q", "<u8"),
        ("int64", 8, "q", "<i8"),
        ("float32", 4, "f", "<f4"),
        ("float64", 8, "d", "<f8"),
    )
}


@dataclass(frozen=True)
class Text:
    """A string, or a wstring."""

    wide: bool = False
    bound: int = 0  # in bytes, or UTF-16 units; 0: unbounded
    min_bytes: int = 4


@dataclass(frozen=True, eq=False)
class Message:
    """A nested message, or the whole one."""

    type: str
    fields: tuple[tuple[str, Kind], ...]
    min_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        # without fields it has one byte (rosidl's structure_needs_at_least_one_member)
        object.__setattr__(self, "min_bytes", sum(kind.min_bytes for _, kind in self.fields) or 1)


@dataclass(frozen=True, eq=False)
class Array:
    """A fixed number of values."""

    item: Item
    length: int

    @property
    def min_bytes(self) -> int:
        return self.length * self.item.min_bytes


@dataclass(frozen=True, eq=False)
class Sequence:
    """A counted number of values."""

    item: Item
    bound: int = 0  # 0: unbounded
    min_bytes: int = 4


Item: TypeAlias = "Number | Text | Message"
Kind: TypeAlias = "Number | Text | Message | Array | Sequence"


def has_header(root: Message) -> bool:
    """Return whether the message begins with a `std_msgs/Header header`, hence with seconds and nanoseconds."""
    if not root.fields or root.fields[0][0] != "header":
        return False
    header = root.fields[0][1]
    if not isinstance(header, Message) or header.type != "std_msgs/msg/Header" or not header.fields:
        return False
    name, stamp = header.fields[0]
    if name != "stamp" or not isinstance(stamp, Message):
        return False
    return stamp.fields == (("sec", NUMBERS["int32"]), ("nanosec", NUMBERS["uint32"]))


def has_wide_text(kind: Kind) -> bool:
    """Return whether a wstring is in it."""
    return _has_wide_text(kind, set())


def _has_wide_text(kind: Kind, seen: set[Message]) -> bool:
    if isinstance(kind, (Array, Sequence)):
        return _has_wide_text(kind.item, seen)
    if isinstance(kind, Text):
        return kind.wide
    if isinstance(kind, Number) or kind in seen:
        return False
    seen.add(kind)
    return any(_has_wide_text(inner, seen) for _, inner in kind.fields)
