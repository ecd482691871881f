"""What a message's fields are in Arrow: its types by the definition, and its values from decoded fields."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from perf_inference.recording.cdr.fields import Array, Kind, Message, Number, Sequence, Text


class Column(NamedTuple):
    """A field: its Arrow type, and what makes its value of the decoded one (docs/format.md, Values)."""

    type: Any
    value: Callable[[Any], Any]


def column(arrow: Any, kind: Kind) -> Column:
    """Return the column of a field.

    Numbers keep their type, arrays of unsigned bytes are binary, arrays of fixed length are lists of that length,
    messages are structs; a message without fields is null, since Parquet has no empty struct.
    """
    if isinstance(kind, Number):
        return Column(_number(arrow, kind), float if kind.is_float else _as_is)
    if isinstance(kind, Text):
        return Column(arrow.string(), _as_is)
    if isinstance(kind, Message):
        return _struct(arrow, kind)
    if isinstance(kind.item, Number):
        return _numbers(arrow, kind, kind.item)
    item = column(arrow, kind.item)
    return Column(_list(arrow, kind, item.type), lambda values: [item.value(value) for value in values])


def _struct(arrow: Any, message: Message) -> Column:
    if not message.fields:
        return Column(arrow.null(), lambda value: None)
    columns = [(name, column(arrow, kind)) for name, kind in message.fields]
    made = [(name, each.value) for name, each in columns]
    kind = arrow.struct([arrow.field(name, each.type) for name, each in columns])
    return Column(kind, lambda value: {name: make(value[name]) for name, make in made})


def _numbers(arrow: Any, kind: Array | Sequence, item: Number) -> Column:
    if item.dtype == "|u1":
        return Column(arrow.binary(), lambda value: b64decode(value["base64"]))
    of_list: Callable[[list[Any]], Any] = (lambda values: [float(v) for v in values]) if item.is_float else _as_is

    def value(given: Any) -> Any:
        if isinstance(given, dict):
            return np.frombuffer(b64decode(given["base64"]), item.dtype)
        return of_list(given)

    return Column(_list(arrow, kind, _number(arrow, item)), value)


def _list(arrow: Any, kind: Array | Sequence, item: Any) -> Any:
    return arrow.list_(item, kind.length) if isinstance(kind, Array) else arrow.list_(item)


def _number(arrow: Any, kind: Number) -> Any:
    return arrow.bool_() if kind.is_bool else arrow.from_numpy_dtype(np.dtype(kind.dtype))


def _as_is(value: Any) -> Any:
    return value
