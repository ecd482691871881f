"""Between the messages of diagnostic_msgs and the package's own values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from perf_inference.measure.heartbeat import TEXTS, Heartbeat
from perf_inference.measure.stamps import Scalar

TEXT_KEYS = frozenset({"node", "engine", "precision", "device", "camera"})
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


def stamp_ns(stamp: Time) -> int | None:
    """Return a header's stamp [ns]; None for one that was never set."""
    return (stamp.sec * 1_000_000_000 + stamp.nanosec) or None


def stamp_of(message: Any) -> int | None:
    """Return the stamp of a message's header [ns]; None: it has no header, or its stamp was never set.

    What was read from a message's bytes, and is none, may say it as `stamp_ns` without a header being made.
    """
    if not hasattr(message, "SLOT_TYPES") and hasattr(message, "stamp_ns"):
        stamp: int | None = message.stamp_ns
        return stamp
    header = getattr(message, "header", None)
    return None if header is None else stamp_ns(header.stamp)


def level(status: DiagnosticStatus) -> bytes:
    """Return a status' level as bytes, as Python's constants have it."""
    return status.level if isinstance(status.level, bytes) else bytes([status.level])


def key_values(values: Mapping[str, Scalar]) -> list[KeyValue]:
    """Return the values as diagnostic keys; numbers as JSON, None as `null`, floats with 6 digits."""
    return [KeyValue(key=key, value=_text(value)) for key, value in values.items()]


def from_key_values(values: Iterable[KeyValue], texts: frozenset[str] = frozenset()) -> dict[str, Scalar]:
    """Return what `key_values` was given; the keys in `texts` stay texts whatever they look like."""
    return {pair.key: pair.value if pair.key in texts else _scalar(pair.value) for pair in values}


def heartbeat_of(status: DiagnosticStatus) -> Heartbeat:
    """Return what a status on `inference/status` says."""
    return Heartbeat.of(from_key_values(status.values, TEXTS))


def timing_status(record: Mapping[str, Scalar], hardware_id: str) -> DiagnosticStatus:
    """Return the status of one inference for `inference/timing`."""
    return DiagnosticStatus(
        level=OK, name=str(record["node"]), message="", hardware_id=hardware_id, values=key_values(record)
    )


def timing_record(status: DiagnosticStatus) -> dict[str, Scalar]:
    """Return the flat record of a status on `inference/timing`."""
    return from_key_values(status.values, TEXT_KEYS)


def _text(value: Scalar) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(round(value, 6) if isinstance(value, float) else value).decode()


def _scalar(text: str) -> Scalar:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float | None) else text
