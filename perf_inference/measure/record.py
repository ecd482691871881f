"""What a flat record of the timings file can hold: it may have come over the network, or out of a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from perf_inference.errors import InputError

_MOST_MS = 1e12  # 31 years
_MOST_NS = 2**63
_ALWAYS = ("node", "seq", "received_ns")
_COUNTS = ("seq", "dropped_before")
_LONGEST_SHOWN = 100


def check_timing(record: Mapping[str, Any]) -> None:
    """Raise InputError where a value is missing, of the wrong type, or outside of what can be."""
    missing = [key for key in _ALWAYS if record.get(key) is None]
    if missing:
        raise InputError(f"a timing must have {', '.join(missing)}")
    for key, value in record.items():
        if not _fits(key, value):
            raise InputError(f"a timing's {key[:_LONGEST_SHOWN]} cannot be {short(value)}")


def is_count(value: object) -> TypeGuard[int]:
    """Return whether this is a whole number from 0 on that 63 bits hold."""
    return _is_whole(value) and 0 <= value < _MOST_NS


def short(value: object) -> str:
    """Return a value as part of a sentence."""
    text = repr(value[: _LONGEST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _fits(key: str, value: Any) -> bool:
    if value is None:
        return True
    if key == "node":
        return isinstance(value, str) and value != ""
    if key in _COUNTS:
        return is_count(value)
    if key.endswith("_ns"):
        return _is_whole(value) and -_MOST_NS <= value < _MOST_NS
    if key.endswith("_ms"):
        return isinstance(value, int | float) and math.isfinite(value) and abs(value) < _MOST_MS
    return not isinstance(value, float) or math.isfinite(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
