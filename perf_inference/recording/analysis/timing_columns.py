"""The timings of one node as columns, eight bytes a value, so that hours of them fit in memory and stay exact."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError

NULL = -(1 << 63)
_LIMIT, _LIMIT_MS = 1 << 63, 9e12
_MAX_COLUMNS, _MAX_ENGINES = 64, 16  # a file of anything must not fill the memory with names


@dataclass(frozen=True)
class TimingTable:
    """The inferences of one node in the order of the file, each once."""

    seq: NDArray[np.int64]
    received_ns: NDArray[np.int64]  # system time
    arrived_ns: NDArray[np.int64]  # monotonic, where the recording has it
    dropped_before: NDArray[np.int64]
    warmup: NDArray[np.bool_]
    durations_ns: Mapping[str, NDArray[np.int64]]  # by the field's name without _ms; NULL: none
    duplicates: int  # left out

    def __len__(self) -> int:
        return len(self.seq)

    def samples_ns(self, name: str) -> NDArray[np.int64]:
        """Return the durations that count in statistics: there, and not marked as warm-up."""
        column = self.durations_ns.get(name)
        return np.empty(0, np.int64) if column is None else column[(column != NULL) & ~self.warmup]


class TimingColumns:
    """Takes records one by one; `table` is made when it is asked for."""

    def __init__(self) -> None:
        self.engines: dict[tuple[str, str, str], None] = {}  # (engine, precision, device)
        self.policy = False
        self._synthesis_s = self._sound_s = 0.0  # of the texts that were spoken
        self._integers = {name: array("q") for name in ("seq", "received_ns", "arrived_ns", "dropped_before")}
        self._warmup = bytearray()
        self._durations: dict[str, array[int]] = {}

    def __len__(self) -> int:
        return len(self._warmup)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one flat record of a timings file, whole or not at all.

        Raises:
            InputError: it is no timing.
        """
        received_ns = _integer(record, "received_ns")
        arrived_ns = _integer(record, "arrived_ns") if record.get("arrived_ns") else received_ns
        dropped = _integer(record, "dropped_before") if record.get("dropped_before") else 0
        integers = {
            "seq": _integer(record, "seq"),
            "received_ns": received_ns,
            "arrived_ns": arrived_ns,
            "dropped_before": dropped,
        }
        durations = _durations(record)
        if len(durations.keys() | self._durations.keys()) > _MAX_COLUMNS:
            raise InputError(f"a node's timings have {_MAX_COLUMNS} durations at most")
        rows = len(self)
        for name, value in integers.items():
            self._integers[name].append(value)
        for name in durations.keys() - self._durations.keys():
            self._durations[name] = array("q", [NULL]) * rows
        for name, column in self._durations.items():
            column.append(durations.get(name, NULL))
        self._warmup.append(bool(record.get("warmup")))
        self.policy = self.policy or "robot_fill" in record
        sound_s = record.get("audio_s")
        if isinstance(sound_s, int | float) and 0 < sound_s < _LIMIT_MS and "infer" in durations:
            self._sound_s += sound_s
            self._synthesis_s += durations["infer"] / 1e9
        if len(self.engines) < _MAX_ENGINES:
            self.engines[_text(record, "engine"), _text(record, "precision"), _text(record, "device")] = None

    @property
    def real_time_factor(self) -> float | None:
        """All synthesis over all sound; None: the node makes none."""
        return self._synthesis_s / self._sound_s if self._sound_s > 0 else None

    def table(self) -> TimingTable:
        """Return the columns of now, duplicates (the same seq and received_ns) left out."""
        columns = {name: np.array(column, np.int64) for name, column in self._integers.items()}
        keep = _first_ones(columns["seq"], columns["received_ns"])
        return TimingTable(
            **{name: column[keep] for name, column in columns.items()},
            warmup=np.array(self._warmup, np.uint8).astype(bool)[keep],
            durations_ns={name: np.array(column, np.int64)[keep] for name, column in self._durations.items()},
            duplicates=int(len(keep) - keep.sum()),
        )


def _first_ones(seq: NDArray[np.int64], received_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    keep = np.ones(len(seq), bool)
    if np.all(received_ns[1:] > received_ns[:-1]):
        return keep
    order = np.lexsort((seq, received_ns))  # stable: the first of equal ones stays the first
    again = (np.diff(seq[order]) == 0) & (np.diff(received_ns[order]) == 0)
    keep[order[1:][again]] = False
    return keep


def _integer(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key)
    if type(value) is not int or not -_LIMIT < value < _LIMIT:
        raise InputError(f"{key} must be an integer of 64 bits, got {value!r}")
    return value


def _durations(record: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for key, value in record.items():
        if key.endswith("_ms") and isinstance(value, int | float) and not isinstance(value, bool):
            if not abs(value) < _LIMIT_MS:
                raise InputError(f"{key} must be a duration in milliseconds, got {value!r}")
            found[key[:-3]] = round(value * 1e6)
    return found


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else "-"
