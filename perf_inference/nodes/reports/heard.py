"""What a node hears of others, checked before it is used: anybody on the network may have sent it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from perf_inference.errors import InputError
from perf_inference.measure.heartbeat import Beat
from perf_inference.measure.record import check_timing, short
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.reports.messages import ERROR, OK, STALE, WARN, heartbeat_of, level, timing_record

MOST_NODES = 500  # that are watched; a robot has tens
MOST_VALUES, _MOST_LETTERS, _LONGEST_NAME = 1000, 60_000, 256
_LEVELS = (OK, WARN, ERROR, STALE)


def check_heartbeat(status: DiagnosticStatus) -> None:
    """Raise InputError where this is no heartbeat, or is too large to be kept."""
    _check_name(status)
    if level(status) not in _LEVELS:
        raise InputError(f"the level of a heartbeat must be 0 to 3, got {level(status)[0]}")
    _check_size(status)


def checked_beat(status: DiagnosticStatus, age_s: float = 0.0) -> Beat:
    """Return a heartbeat that has come just now.

    Args:
        age_s: how long before that it was said, where it was kept for those who come later.

    Raises:
        InputError: it is none, or is too large to be kept.
    """
    check_heartbeat(status)
    is_ok = level(status) == OK
    return Beat(time.monotonic() - age_s, status.hardware_id, is_ok, status.message, heartbeat_of(status))


def checked_timing(status: DiagnosticStatus) -> dict[str, Scalar]:
    """Return the flat record of one inference.

    Raises:
        InputError: a value is missing, of the wrong type, or outside of what can be.
    """
    _check_name(status)
    _check_size(status)
    record = timing_record(status)
    if record.get("node") != status.name:
        raise InputError(f"a timing's node must be its status' name, got {short(record.get('node'))}")
    check_timing(record)
    return record


def checked_record(record: Mapping[str, Scalar]) -> None:
    """Raise InputError where the flat record of an inference cannot be used; its node is its status' name."""
    if not 0 < len(str(record.get("node") or "")) <= _LONGEST_NAME:
        raise InputError(f"a timing's node must have a name of at most {_LONGEST_NAME} letters")
    check_timing(record)


def _check_name(status: DiagnosticStatus) -> None:
    longest = max(len(status.name), len(status.hardware_id))
    if not status.name or longest > _LONGEST_NAME:
        raise InputError(f"a status must have a name and a hardware_id of at most {_LONGEST_NAME} letters")


def _check_size(status: DiagnosticStatus) -> None:
    values: Iterable[KeyValue] = status.values
    letters = len(status.message) + sum(len(pair.key) + len(pair.value) for pair in values)
    if len(status.values) > MOST_VALUES or letters > _MOST_LETTERS:
        raise InputError(
            f"a status may have {MOST_VALUES} values and {_MOST_LETTERS} letters, got {len(status.values)}, {letters}"
        )
    if len({pair.key for pair in values}) < len(status.values):
        raise InputError("a status must have each key once")
