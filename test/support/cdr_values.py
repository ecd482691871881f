"""Random fields for any message type, as the recording format has them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from perf_inference.recording.cdr.fields import Array, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.json_values import MAX_LISTED, to_json

_NO_SURROGATES = st.characters(exclude_categories=["Cs"])
_NO_NUL = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # C's strings end there


def fields(kind: Kind, nul: bool = True) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field, or the fields of a message."""
    if isinstance(kind, Number):
        return numbers(kind).map(lambda value: to_json(value) if kind.is_float else value)
    if isinstance(kind, Text):
        alphabet = _NO_SURROGATES if nul else _NO_NUL
        bounded = [text for text in ("", "a", "a" * kind.bound) if len(text) <= (kind.bound or 1)]
        return st.sampled_from(bounded) if kind.bound else st.text(alphabet, max_size=12) | st.just("long" * 20)
    if isinstance(kind, Message):
        return st.fixed_dictionaries({name: fields(field, nul) for name, field in kind.fields})
    low, high = (kind.length, kind.length) if isinstance(kind, Array) else (0, kind.bound or 5)
    if isinstance(kind.item, Number):
        return _arrays(kind.item, low, min(high, 70) if isinstance(kind, Sequence) else high)
    return st.lists(fields(kind.item, nul), min_size=low, max_size=min(high, 3) if low < high else high)


def numbers(kind: Number) -> st.SearchStrategy[Any]:
    """Return a strategy for one number; NaN, infinities, subnormals and the limits included."""
    if kind.is_bool:
        return st.booleans()
    if kind.is_float:
        special = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324 if kind.size_bytes == 8 else 1e-45]
        exact = [value for value in special if kind.size_bytes == 8 or value == _as_float32(value) or value != value]
        return st.floats(width=8 * kind.size_bytes, allow_nan=False) | st.sampled_from(exact)
    bits, signed = 8 * kind.size_bytes, kind.code.islower()
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.integers(low, high) | st.sampled_from([low, high])


def as_written(kind: Number, values: list[Any]) -> Any:
    """Return an array as the format has it."""
    if len(values) > MAX_LISTED or kind.dtype in ("|u1", "|i1"):
        raw = np.array(values, np.dtype(kind.dtype)).tobytes()
        return {"dtype": kind.dtype, "base64": base64.b64encode(raw).decode()}
    return [to_json(value) for value in values] if kind.is_float else values


def _arrays(item: Number, low: int, high: int) -> st.SearchStrategy[Any]:
    few = st.lists(numbers(item), min_size=low, max_size=max(low, min(high, 8)))
    if low == high or high <= 8:
        return few.map(lambda values: as_written(item, values))
    many = st.sampled_from([count for count in (9, 64, 65, 70) if count <= high])
    long = st.tuples(numbers(item), many).map(lambda pair: [pair[0]] * pair[1])
    return (few | long).map(lambda values: as_written(item, values))


def _as_float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])
